//! What other processes changed since a revision, by the log that triggers write.

use super::columns::Columns;
use super::{Result, Store, StoreError};
use crate::domain::id::{AppId, GrantId, UserId};

/// One thing that was made, changed or removed: read it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// An account.
    User(UserId),
    /// A grant or its tokens.
    Grant(GrantId),
    /// An app or its keys.
    App(AppId),
}

/// What happened since a revision.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The newest revision that these changes lead to.
    pub revision: i64,
    /// What changed, each once; `None` when the log no longer reaches back and everything must be read again.
    pub changes: Option<Vec<Change>>,
}

impl Store {
    /// The newest revision.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn revision(&self) -> Result<i64> {
        // The sequence is read, not the rows: it never goes back when old rows are swept.
        let newest: Option<i64> = sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'changes'")
            .fetch_optional(&self.read)
            .await?;
        Ok(newest.unwrap_or(0))
    }

    /// What changed after `since`.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn changes_since(&self, since: i64) -> Result<Changes> {
        let revision = self.revision().await?;
        if revision == since {
            return Ok(Changes { revision, changes: Some(Vec::new()) });
        }
        let oldest: Option<i64> = sqlx::query_scalar("SELECT min(revision) FROM changes").fetch_one(&self.read).await?;
        if revision < since || oldest.is_none_or(|oldest| oldest > since + 1) {
            return Ok(Changes { revision, changes: None });
        }
        let rows = sqlx::query("SELECT DISTINCT entity, id FROM changes WHERE revision > $1 AND revision <= $2")
            .bind(since)
            .bind(revision)
            .fetch_all(&self.read)
            .await?;
        let changes = rows
            .iter()
            .map(|row| {
                let row = Columns(row);
                Ok(match row.text("entity")?.as_str() {
                    "user" => Change::User(row.id("id")?),
                    "grant" => Change::Grant(row.id("id")?),
                    "app" => Change::App(row.id("id")?),
                    other => return Err(StoreError::Damaged(format!("a change of a {other}"))),
                })
            })
            .collect::<Result<_>>()?;
        Ok(Changes { revision, changes: Some(changes) })
    }
}
