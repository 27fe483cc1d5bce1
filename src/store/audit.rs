//! The audit trail: written in batches by one writer, and read by pages.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite};

use super::columns::{Columns, bits, key};
use super::{Result, Store, Tx};
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::id::{AppId, GrantId, UserId};
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

/// Which events a page shows.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// From this moment on.
    pub since: Option<Timestamp>,
    /// Of this app.
    pub app: Option<AppId>,
    /// Of this user.
    pub user: Option<UserId>,
    /// With this grant.
    pub grant: Option<GrantId>,
    /// Of this kind.
    pub kind: Option<&'static str>,
    /// Older than this event.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

/// A page of events, newest first.
pub type AuditPage = Vec<AuditEvent>;

/// Rows of one statement. Its text is made once, and so is what SQLite prepares of it.
const ROWS: usize = 128;
/// Rows of the statement for what is left.
const FEW: usize = 8;
/// By how much the time of rows may be out of their numbers' order: they are written in batches, by several processes.
const OUT_OF_ORDER: Duration = Duration::from_secs(300);

static INSERT_MANY: LazyLock<String> = LazyLock::new(|| insertion(ROWS));
static INSERT_FEW: LazyLock<String> = LazyLock::new(|| insertion(FEW));
static INSERT_ONE: LazyLock<String> = LazyLock::new(|| insertion(1));

fn insertion(rows: usize) -> String {
    let columns = "at, kind, user, app, grant_id, method, template, path, scope, decision, status, duration_ms, count, bytes_up, bytes_down";
    let row = format!("({})", vec!["?"; columns.split(',').count()].join(","));
    format!("INSERT INTO audit ({columns}) VALUES {}", vec![row.as_str(); rows].join(","))
}

fn event(row: &SqliteRow) -> Result<AuditEvent> {
    let row = Columns(row);
    let kept_kind = row.text("kind")?;
    let status = row.int_or_none("status")?.and_then(|status| u16::try_from(status).ok());
    Ok(AuditEvent {
        id: row.int("id")?,
        at: row.time("at")?,
        kind: kind::ALL.into_iter().find(|known| *known == kept_kind).unwrap_or("unknown"),
        user: row.id_or_none("user")?,
        app: row.id_or_none("app")?,
        grant: row.id_or_none("grant_id")?,
        method: row.text_or_none("method")?.map(Into::into),
        template: row.text_or_none("template")?.map(Into::into),
        path: row.text_or_none("path")?.map(Into::into),
        scope: row.parsed_or_none("scope")?,
        decision: row.text("decision")?.into(),
        status,
        duration_ms: row.int_or_none("duration_ms")?,
        count: row.int("count")?,
        bytes_up: row.int("bytes_up")?,
        bytes_down: row.int("bytes_down")?,
    })
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

impl Store {
    /// Keeps a batch of events, and what they say about the use of apps and grants, in one transaction.
    ///
    /// # Errors
    /// [`super::StoreError`]; then none of the batch is kept.
    pub async fn record(&self, events: &[AuditEvent]) -> Result<()> {
        let mut apps = HashMap::<AppId, Usage>::new();
        let mut grants = HashMap::<GrantId, Usage>::new();
        for event in events.iter().filter(|event| event.kind == kind::CALL && event.decision == "allowed") {
            let scopes = event.scope.map_or(ScopeSet::EMPTY, ScopeSet::of);
            merge(&mut apps, event.app, event.at, scopes);
            merge(&mut grants, event.grant, event.at, scopes);
        }
        let mut tx = self.begin().await?;
        insert(&mut tx, events).await?;
        for (statement, usages) in [
            (
                "UPDATE apps SET last_used_at = max(coalesce(last_used_at, 0), $2), scopes_used = scopes_used | $3 WHERE id = $1",
                apps.iter().map(|(id, usage)| (key(id), usage)).collect::<Vec<_>>(),
            ),
            (
                "UPDATE grants SET last_used_at = max(coalesce(last_used_at, 0), $2), scopes_used = scopes_used | $3 WHERE id = $1",
                grants.iter().map(|(id, usage)| (key(id), usage)).collect(),
            ),
        ] {
            for (id, usage) in usages {
                sqlx::query(statement)
                    .bind(id)
                    .bind(usage.at.millis())
                    .bind(bits(usage.scopes))
                    .execute(&mut *tx)
                    .await?;
            }
        }
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
        let mut tx = self.begin().await?;
        for event in events {
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
            let scopes = bits(event.scope.map_or(ScopeSet::EMPTY, ScopeSet::of));
            for (statement, id) in [
                (
                    "UPDATE apps SET last_used_at = max(coalesce(last_used_at, 0), $2), scopes_used = scopes_used | $3 WHERE id = $1",
                    event.app.as_ref().map(key),
                ),
                (
                    "UPDATE grants SET last_used_at = max(coalesce(last_used_at, 0), $2), scopes_used = scopes_used | $3 WHERE id = $1",
                    event.grant.as_ref().map(key),
                ),
            ] {
                sqlx::query(statement).bind(id).bind(event.at.millis()).bind(scopes).execute(&mut *tx).await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// A page of events, newest first.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn list_audit(&self, filter: &AuditFilter) -> Result<AuditPage> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM audit WHERE true");
        if let Some(since) = filter.since {
            query.push(" AND at >= ").push_bind(since.millis());
            query.push(" AND id >= ").push_bind(self.first_row_from(since.minus(OUT_OF_ORDER)).await?);
        }
        if let Some(app) = &filter.app {
            query.push(" AND app = ").push_bind(app.as_bytes().to_vec());
        }
        if let Some(user) = &filter.user {
            // Two ranges of two indexes instead of one more index on every call's row.
            query
                .push(" AND id IN (SELECT id FROM audit WHERE app IS NULL AND user = ")
                .push_bind(user.as_bytes().to_vec());
            query.push(" UNION ALL SELECT a.id FROM apps p JOIN audit a ON a.app = p.id WHERE p.user = ");
            query.push_bind(user.as_bytes().to_vec()).push(")");
        }
        if let Some(grant) = &filter.grant {
            query.push(" AND grant_id = ").push_bind(grant.as_bytes().to_vec());
        }
        if let Some(kind) = filter.kind {
            query.push(" AND kind = ").push_bind(kind);
        }
        if let Some(before) = filter.before {
            query.push(" AND id < ").push_bind(before);
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(filter.limit));
        let rows = query.build().fetch_all(&self.read).await?;
        rows.iter().map(event).collect()
    }

    /// The number of the first row from a moment on, by halving; one beyond the last when all are older.
    async fn first_row_from(&self, at: Timestamp) -> Result<i64> {
        let (mut low, mut high): (i64, i64) =
            sqlx::query_as("SELECT coalesce(min(id), 0), coalesce(max(id), 0) + 1 FROM audit")
                .fetch_one(&self.read)
                .await?;
        while low < high {
            let middle = low + (high - low) / 2;
            let next: Option<(i64, i64)> =
                sqlx::query_as("SELECT id, at FROM audit WHERE id >= $1 ORDER BY id LIMIT 1")
                    .bind(middle)
                    .fetch_optional(&self.read)
                    .await?;
            match next {
                Some((id, next)) if next < at.millis() => low = id + 1,
                _ => high = middle,
            }
        }
        Ok(low)
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
mod tests {
    use super::*;
    use crate::domain::id::Id;

    async fn filled(times: impl Iterator<Item = i64>) -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("k.db")).await.unwrap();
        let events: Vec<AuditEvent> =
            times.map(|secs| AuditEvent::change(Timestamp::from_secs(secs), kind::CALL, None)).collect();
        store.record(&events).await.unwrap();
        (directory, store)
    }

    #[tokio::test]
    async fn a_moment_is_found_among_rows_with_gaps() {
        let (_directory, store) = filled((0..300).map(|n| n * 10)).await;
        sqlx::query("DELETE FROM audit WHERE id % 3 = 0").execute(&store.write).await.unwrap();
        for secs in [-5, 0, 5, 1_499, 1_500, 2_990, 9_999] {
            let found = store.first_row_from(Timestamp::from_secs(secs)).await.unwrap();
            let expected: Option<i64> = sqlx::query_scalar("SELECT min(id) FROM audit WHERE at >= $1")
                .bind(secs * 1_000)
                .fetch_one(&store.write)
                .await
                .unwrap();
            let before: Option<i64> = sqlx::query_scalar("SELECT max(id) FROM audit WHERE at < $1")
                .bind(secs * 1_000)
                .fetch_one(&store.write)
                .await
                .unwrap();
            assert!(expected.is_none_or(|id| found <= id), "{secs}: {found} {expected:?}");
            assert!(before.is_none_or(|id| found > id), "{secs}: {found} {before:?}");
        }
    }

    #[tokio::test]
    async fn old_rows_and_rows_beyond_the_count_are_swept() {
        let (_directory, store) = filled(0..100).await;
        assert_eq!(store.sweep_audit(Timestamp::from_secs(40), 1_000).await.unwrap(), 40);
        assert_eq!(store.sweep_audit(Timestamp::from_secs(0), 25).await.unwrap(), 35);
        let left = store.list_audit(&AuditFilter { limit: 100, ..AuditFilter::default() }).await.unwrap();
        assert_eq!((left.len(), left[0].at, left[24].at), (25, Timestamp::from_secs(99), Timestamp::from_secs(75)));
    }

    #[tokio::test]
    async fn a_users_events_are_those_of_their_apps_and_their_own_changes() {
        let (_directory, store) = filled(0..3).await;
        let (mine, other) = (Id::from_bytes([1; 16]), Id::from_bytes([2; 16]));
        let events = [
            AuditEvent::change(Timestamp::from_secs(900), kind::SIGNED_IN, Some(mine)),
            AuditEvent::change(Timestamp::from_secs(901), kind::SIGNED_IN, Some(other)),
        ];
        store.record(&events).await.unwrap();
        let filter = AuditFilter {
            user: Some(mine),
            since: Some(Timestamp::from_secs(800)),
            limit: 10,
            ..AuditFilter::default()
        };
        let found = store.list_audit(&filter).await.unwrap();
        assert_eq!(found.iter().map(|event| event.user).collect::<Vec<_>>(), [Some(mine)]);
    }
}
