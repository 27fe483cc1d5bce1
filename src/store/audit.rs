//! The audit trail: written in batches by one writer, and read by pages.

use std::collections::HashMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite};

use super::columns::{Columns, bits, key};
use super::{Result, Store, Tx};
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::id::{AppId, GrantId, UserId};
use crate::domain::scope::ScopeSet;
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

/// Rows of one statement: SQLite takes 32,766 variables, and a statement of this size is prepared once.
const ROWS: usize = 128;

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
    for chunk in events.chunks(ROWS) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT INTO audit (at, kind, user, app, grant_id, method, template, path, scope, decision, status, duration_ms, count, bytes_up, bytes_down) ",
        );
        query.push_values(chunk, |mut row, event| {
            row.push_bind(event.at.millis())
                .push_bind(event.kind)
                .push_bind(event.user.as_ref().map(key))
                .push_bind(event.app.as_ref().map(key))
                .push_bind(event.grant.as_ref().map(key))
                .push_bind(event.method.as_deref())
                .push_bind(event.template.as_deref())
                .push_bind(event.path.as_deref())
                .push_bind(event.scope.map(crate::domain::scope::Scope::as_str))
                .push_bind(&*event.decision)
                .push_bind(event.status.map(i64::from))
                .push_bind(event.duration_ms)
                .push_bind(event.count)
                .push_bind(event.bytes_up)
                .push_bind(event.bytes_down);
        });
        query.build().persistent(chunk.len() == ROWS).execute(&mut **tx).await?;
    }
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
        }
        if let Some(app) = &filter.app {
            query.push(" AND app = ").push_bind(app.as_bytes().to_vec());
        }
        if let Some(user) = &filter.user {
            query.push(" AND user = ").push_bind(user.as_bytes().to_vec());
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

    /// Sweeps events older than `before`, and the oldest beyond `rows`; at most ten thousand a time, so that writers never wait long.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn sweep_audit(&self, before: Timestamp, rows: i64) -> Result<u64> {
        let mut tx = self.begin().await?;
        let swept = sqlx::query(
            "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 ORDER BY at LIMIT 10000) \
             OR id IN (SELECT id FROM audit WHERE id <= (SELECT max(id) FROM audit) - $2 ORDER BY id LIMIT 10000)",
        )
        .bind(before.millis())
        .bind(rows)
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
