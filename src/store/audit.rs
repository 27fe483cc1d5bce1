//! The audit trail: written in batches by one writer, and read by pages.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::columns::{bits, key};
use super::{Result, Store, Tx};
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::id::{AppId, GrantId};
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::time::Timestamp;

/// What a batch of calls says about the use of one app or grant.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// When it was last used.
    pub at: Timestamp,
    /// Which scopes the calls needed.
    pub scopes: ScopeSet,
}

/// Rows of one statement. Its text is made once, and so is what SQLite prepares of it.
const ROWS: usize = 128;
/// Rows of the statement for what is left.
const FEW: usize = 8;

static INSERT_MANY: LazyLock<String> = LazyLock::new(|| insertion(ROWS));
static INSERT_FEW: LazyLock<String> = LazyLock::new(|| insertion(FEW));
static INSERT_ONE: LazyLock<String> = LazyLock::new(|| insertion(1));

fn insertion(rows: usize) -> String {
    let columns = "at, kind, user, app, grant_id, method, template, path, scope, decision, status, duration_ms, count, bytes_up, bytes_down";
    let row = format!("({})", vec!["?"; columns.split(',').count()].join(","));
    format!("INSERT INTO audit ({columns}) VALUES {}", vec![row.as_str(); rows].join(","))
}

async fn insert(tx: &mut Tx, events: &[AuditEvent]) -> Result<()> {
    let (many, rest) = events.as_chunks::<ROWS>();
    for chunk in many {
        insert_rows(tx, INSERT_MANY.as_str(), chunk).await?;
    }
    let (few, rest) = rest.as_chunks::<FEW>();
    for chunk in few {
        insert_rows(tx, INSERT_FEW.as_str(), chunk).await?;
    }
    for event in rest {
        insert_rows(tx, INSERT_ONE.as_str(), std::slice::from_ref(event)).await?;
    }
    Ok(())
}

async fn insert_rows(tx: &mut Tx, statement: &'static str, events: &[AuditEvent]) -> Result<()> {
    let mut query = sqlx::query(statement);
    for event in events {
        query = query
            .bind(event.at.millis())
            .bind(event.kind)
            .bind(event.user.as_ref().map(key))
            .bind(event.app.as_ref().map(key))
            .bind(event.grant.as_ref().map(key))
            .bind(event.method.as_deref())
            .bind(event.template.as_deref())
            .bind(event.path.as_deref())
            .bind(event.scope.map(Scope::as_str))
            .bind(&*event.decision)
            .bind(event.status.map(i64::from))
            .bind(event.duration_ms)
            .bind(event.count)
            .bind(event.bytes_up)
            .bind(event.bytes_down);
    }
    query.execute(&mut **tx).await?;
    Ok(())
}

/// Keeps when apps and grants were last used, and for what.
async fn keep_use(tx: &mut Tx, apps: &HashMap<AppId, Usage>, grants: &HashMap<GrantId, Usage>) -> Result<()> {
    let of_apps = apps.iter().map(|(id, usage)| (USE_OF_APP, key(id), usage));
    let of_grants = grants.iter().map(|(id, usage)| (USE_OF_GRANT, key(id), usage));
    for (statement, id, usage) in of_apps.chain(of_grants) {
        sqlx::query(statement).bind(id).bind(usage.at.millis()).bind(bits(usage.scopes)).execute(&mut **tx).await?;
    }
    Ok(())
}

const USE_OF_APP: &str =
    "UPDATE apps SET last_used_at = max(coalesce(last_used_at, 0), $2), scopes_used = scopes_used | $3 WHERE id = $1";
const USE_OF_GRANT: &str =
    "UPDATE grants SET last_used_at = max(coalesce(last_used_at, 0), $2), scopes_used = scopes_used | $3 WHERE id = $1";

impl Store {
    /// Keeps a batch of events, and what they say about the use of apps and grants, in one transaction.
    ///
    /// # Errors
    /// [`super::StoreError`]; then none of the batch is kept.
    pub async fn record(&self, events: &[AuditEvent]) -> Result<()> {
        let (mut apps, mut grants) = (HashMap::new(), HashMap::new());
        let mut tx = self.begin().await?;
        // Little by little: a caller's thread is never kept for longer than the rows of one statement take.
        for chunk in events.chunks(ROWS) {
            for event in chunk.iter().filter(|event| event.kind == kind::CALL && event.decision == "allowed") {
                let scopes = event.scope.map_or(ScopeSet::EMPTY, ScopeSet::of);
                merge(&mut apps, event.app, event.at, scopes);
                merge(&mut grants, event.grant, event.at, scopes);
            }
            insert(&mut tx, chunk).await?;
            // Statement after statement would keep the runtime from its sockets for as long as the batch takes.
            tokio::task::yield_now().await;
        }
        keep_use(&mut tx, &apps, &grants).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Keeps the row of a command before it is sent, and gives its number.
    ///
    /// # Errors
    /// [`super::StoreError`]; then the command must not be sent.
    pub async fn record_command(&self, event: &AuditEvent) -> Result<i64> {
        let mut tx = self.begin().await?;
        insert(&mut tx, std::slice::from_ref(event)).await?;
        let id: i64 = sqlx::query_scalar("SELECT last_insert_rowid()").fetch_one(&mut *tx).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Completes the rows of commands, each once, and what they say about use.
    ///
    /// # Errors
    /// [`super::StoreError`]; then none is completed.
    pub async fn complete_commands(&self, events: &[AuditEvent]) -> Result<()> {
        let (mut apps, mut grants) = (HashMap::new(), HashMap::new());
        let mut tx = self.begin().await?;
        for (n, event) in events.iter().enumerate() {
            sqlx::query(
                "UPDATE audit SET status = $2, duration_ms = $3, bytes_up = $4, bytes_down = $5, grant_id = coalesce($6, grant_id), decision = $7 \
                 WHERE id = $1 AND status IS NULL AND duration_ms IS NULL",
            )
            .bind(event.id)
            .bind(event.status.map(i64::from))
            .bind(event.duration_ms)
            .bind(event.bytes_up)
            .bind(event.bytes_down)
            .bind(event.grant.as_ref().map(key))
            .bind(&*event.decision)
            .execute(&mut *tx)
            .await?;
            let scopes = event.scope.map_or(ScopeSet::EMPTY, ScopeSet::of);
            merge(&mut apps, event.app, event.at, scopes);
            merge(&mut grants, event.grant, event.at, scopes);
            if (n + 1).is_multiple_of(ROWS) {
                tokio::task::yield_now().await;
            }
        }
        keep_use(&mut tx, &apps, &grants).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Sweeps events older than `before`, and the oldest beyond `rows`; at most ten thousand a time, so that writers never wait long.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn sweep_audit(&self, before: Timestamp, rows: i64) -> Result<u64> {
        let first_kept = self.first_row_from(before).await?;
        let mut tx = self.begin().await?;
        let swept = sqlx::query(
            "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id < max($1, (SELECT max(id) FROM audit) - $2 + 1) \
             AND (at < $3 OR id <= (SELECT max(id) FROM audit) - $2) ORDER BY id LIMIT 10000)",
        )
        .bind(first_kept)
        .bind(rows)
        .bind(before.millis())
        .execute(&mut *tx)
        .await?
        .rows_affected();
        tx.commit().await?;
        Ok(swept)
    }
}

fn merge<K: std::hash::Hash + Eq>(usages: &mut HashMap<K, Usage>, id: Option<K>, at: Timestamp, scopes: ScopeSet) {
    if let Some(id) = id {
        let usage = usages.entry(id).or_insert(Usage { at, scopes });
        usage.at = usage.at.max(at);
        usage.scopes = usage.scopes.union(scopes);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::AuditFilter;

    pub(in crate::store) async fn filled(times: impl Iterator<Item = i64>) -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("k.db")).await.unwrap();
        let events: Vec<AuditEvent> =
            times.map(|secs| AuditEvent::change(Timestamp::from_secs(secs), kind::CALL, None)).collect();
        store.record(&events).await.unwrap();
        (directory, store)
    }

    #[tokio::test]
    async fn old_rows_and_rows_beyond_the_count_are_swept() {
        let (_directory, store) = filled(0..100).await;
        assert_eq!(store.sweep_audit(Timestamp::from_secs(40), 1_000).await.unwrap(), 40);
        assert_eq!(store.sweep_audit(Timestamp::from_secs(0), 25).await.unwrap(), 35);
        let left = store.list_audit(&AuditFilter { limit: 100, ..AuditFilter::default() }).await.unwrap();
        assert_eq!((left.len(), left[0].at, left[24].at), (25, Timestamp::from_secs(99), Timestamp::from_secs(75)));
    }
}
