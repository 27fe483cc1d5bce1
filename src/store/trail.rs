//! The audit trail as pages read it.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite};

use super::columns::Columns;
use super::{Result, Store, packed};
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::id::{AppId, GrantId, UserId};
use crate::domain::time::Timestamp;

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

/// By how much the time of rows may be out of their numbers' order: they are written in batches, by several processes.
const OUT_OF_ORDER: Duration = Duration::from_secs(300);

/// The smallest and the largest number are asked for one by one: both at once are found by reading every row.
const FIRST_ROW: &str = "WITH RECURSIVE halves (low, high) AS ( \
    SELECT coalesce((SELECT min(id) FROM audit), 0), coalesce((SELECT max(id) FROM audit), 0) + 1 \
    UNION ALL SELECT iif(a.at < $1, a.id + 1, low), iif(a.at < $1, high, (low + high) / 2) FROM halves \
    LEFT JOIN audit a ON a.id = (SELECT id FROM audit WHERE id >= (low + high) / 2 ORDER BY id LIMIT 1) \
    WHERE low < high) SELECT low FROM halves WHERE low >= high";

/// The row itself; of one that stands for several calls, what these share.
pub(super) fn event(row: &SqliteRow) -> Result<AuditEvent> {
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

/// What a row stands for, the newest first: one event, or calls that share it. Calls that can't be read hide no other row:
/// the row is shown as one event that says how many they are, and what they share.
fn events(row: &SqliteRow) -> Result<Vec<AuditEvent>> {
    let shared = event(row)?;
    let columns = Columns(row);
    let Some(first) = columns.int_or_none("first_id")? else { return Ok(vec![shared]) };
    let calls = columns.text_or_none("calls").map(Option::unwrap_or_default);
    match calls.and_then(|calls| packed::unpack(&shared, first, &calls)) {
        Ok(mut calls) => {
            calls.reverse();
            Ok(calls)
        }
        Err(cause) => {
            tracing::error!(audit.id = shared.id, error = %cause, "calls in the audit trail are damaged in the database; they are shown as one row");
            Ok(vec![shared])
        }
    }
}

/// One row more than a page has events: each has one that the page shows, but for one that reaches over the page's
/// beginning, where those below may be too old.
fn most_rows(filter: &AuditFilter) -> i64 {
    i64::from(filter.limit) + 1
}

impl Store {
    /// A page of events, newest first.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn list_audit(&self, filter: &AuditFilter) -> Result<AuditPage> {
        let first = match filter.since {
            Some(since) => Some(self.first_row_from(since.minus(OUT_OF_ORDER)).await?),
            None => None,
        };
        let of_a_change = filter.kind.is_some_and(|kind| kind != kind::CALL);
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT *, iif(first_id IS NULL, NULL, (SELECT calls FROM audit_calls c WHERE c.id = audit.id)) AS calls FROM audit",
        );
        if of_a_change {
            query.push(" INDEXED BY audit_of_changes");
        }
        query.push(" WHERE true");
        within(&mut query, filter, first);
        if let Some(app) = &filter.app {
            query.push(" AND app = ").push_bind(app.as_bytes().to_vec());
        }
        if let Some(grant) = &filter.grant {
            query.push(" AND grant_id = ").push_bind(grant.as_bytes().to_vec());
        }
        match &filter.user {
            Some(user) if of_a_change || filter.app.is_some() || filter.grant.is_some() => {
                query.push(" AND user = ").push_bind(user.as_bytes().to_vec());
            }
            Some(user) => {
                // The newest of what is no call and the newest of each app, of no more apps than a page has rows: few rows of
                // two indexes, instead of one more index on every call's row.
                let user = user.as_bytes().to_vec();
                query.push(" AND id IN (SELECT id FROM (SELECT id FROM audit WHERE app IS NULL AND user = ");
                query.push_bind(user.clone());
                newest(&mut query, filter, first);
                query.push(") UNION ALL SELECT a.id FROM (SELECT p.id AS app, (SELECT id FROM audit WHERE app = p.id");
                within(&mut query, filter, first);
                query.push(" ORDER BY id DESC LIMIT 1) AS newest FROM apps p WHERE p.user = ").push_bind(user);
                query.push(" ORDER BY newest DESC LIMIT ").push_bind(most_rows(filter));
                query.push(") b CROSS JOIN audit a ON a.id IN (SELECT id FROM audit WHERE app = b.app");
                newest(&mut query, filter, first);
                query.push("))");
            }
            None => {}
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(most_rows(filter));
        let mut rows = query.build().fetch(&self.read);
        let mut page = Vec::new();
        // As rows come: those that the page has no more room for are never read.
        while page.len() < filter.limit as usize
            && let Some(row) = rows.try_next().await?
        {
            let events = events(&row)?.into_iter().filter(|event| {
                filter.before.is_none_or(|before| event.id < before)
                    && filter.since.is_none_or(|since| event.at >= since)
            });
            page.extend(events.take(filter.limit as usize - page.len()));
        }
        Ok(page)
    }

    /// The number of the first row from a moment on, by halving; one beyond the last when all are older.
    pub(super) async fn first_row_from(&self, at: Timestamp) -> Result<i64> {
        Ok(sqlx::query_scalar(FIRST_ROW).bind(at.millis()).fetch_one(&self.read).await?)
    }
}

/// The conditions that every part of a listing shares.
fn within(query: &mut QueryBuilder<Sqlite>, filter: &AuditFilter, first: Option<i64>) {
    if let Some(since) = filter.since {
        query.push(" AND at >= ").push_bind(since.millis());
    }
    if let Some(first) = first {
        query.push(" AND id >= ").push_bind(first);
    }
    if let Some(before) = filter.before {
        // Also the row that reaches over it: the only one, since no number is in two rows.
        query.push(" AND id < ").push_bind(before.saturating_add(i64::from(packed::MOST) - 1));
        query.push(" AND (id < ").push_bind(before).push(" OR first_id < ").push_bind(before).push(")");
    }
    if let Some(kind) = filter.kind {
        query.push(" AND kind = ").push_bind(kind);
        if kind != kind::CALL {
            query.push(" AND kind <> 'call'");
        }
    }
}

/// The newest rows, no more than a page holds.
fn newest(query: &mut QueryBuilder<Sqlite>, filter: &AuditFilter, first: Option<i64>) {
    within(query, filter, first);
    query.push(" ORDER BY id DESC LIMIT ").push_bind(most_rows(filter));
}

#[cfg(test)]
mod tests;
