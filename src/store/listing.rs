//! Listings page by page, each page read by the place of the last item of the page before, so that the cost of a page does
//! not grow with its number.

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite};

use super::columns::{Columns, bits};
use super::grants::grant;
use super::{Result, Store};
use crate::domain::grant::{Grant, GrantStatus};
use crate::domain::id::{GrantId, UserId};
use crate::domain::scope::{Scope, ScopeSet};

/// Which grants a page holds, in the order of their making.
#[derive(Clone, Debug, Default)]
pub struct GrantsAfter {
    /// Of this user.
    pub user: Option<UserId>,
    /// Whose granted scopes hold this one.
    pub scope: Option<Scope>,
    /// With this status.
    pub status: Option<GrantStatus>,
    /// From after this one.
    pub after: Option<GrantId>,
    /// At most so many.
    pub limit: u32,
}

const GRANTS: &str = "SELECT g.*, u.name AS user_name FROM grants g JOIN users u ON u.id = g.user";

fn with_user_name(row: &SqliteRow) -> Result<(Grant, String)> {
    Ok((grant(row)?, Columns(row).text("user_name")?))
}

impl Store {
    /// A page of grants with their users' names; the status is the kept one.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn list_grants_after(&self, page: &GrantsAfter) -> Result<Vec<(Grant, String)>> {
        let mut query = QueryBuilder::<Sqlite>::new(GRANTS);
        query.push(" WHERE g.id > ").push_bind(page.after.map_or_else(Vec::new, |id| id.as_bytes().to_vec()));
        if let Some(user) = &page.user {
            query.push(" AND g.user = ").push_bind(user.as_bytes().to_vec());
        }
        if let Some(scope) = page.scope {
            query.push(" AND g.scopes_granted & ").push_bind(bits(ScopeSet::of(scope))).push(" <> 0");
        }
        if let Some(status) = page.status {
            query.push(" AND g.status = ").push_bind(status.as_str());
        }
        query.push(" ORDER BY g.id LIMIT ").push_bind(i64::from(page.limit));
        let rows = query.build().fetch_all(&self.read).await?;
        rows.iter().map(with_user_name).collect()
    }

    /// These grants with their users' names, in the order of their making; those that are gone are left out.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn list_grants_of(&self, ids: &[GrantId]) -> Result<Vec<(Grant, String)>> {
        let mut found = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(500) {
            let mut query = QueryBuilder::<Sqlite>::new(GRANTS);
            query.push(" WHERE g.id IN (");
            let mut list = query.separated(", ");
            for id in chunk {
                list.push_bind(id.as_bytes().to_vec());
            }
            query.push(") ORDER BY g.id");
            let rows = query.build().fetch_all(&self.read).await?;
            found.extend(rows.iter().map(with_user_name).collect::<Result<Vec<_>>>()?);
        }
        Ok(found)
    }
}
