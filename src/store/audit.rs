//! The audit trail as it is written: in batches, calls that are alike in one row.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use sqlx::Sqlite;
use sqlx::sqlite::SqliteArguments;

use super::columns::{bits, key};
use super::packed::{self, Packed};
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

/// Fewer calls than these are rows of their own.
const FEWEST: usize = 8;

/// A row of the audit trail as it is written, but for its number: an event, or calls that are alike.
pub struct AuditRow {
    /// Of calls that are alike, the oldest.
    event: AuditEvent,
    packed: Option<Packed>,
}

impl AuditRow {
    /// So many events may be packed together.
    pub const MOST: usize = packed::MOST as usize;

    /// What becomes of events, the oldest first, in the order of the newest of each row.
    #[must_use]
    pub fn of(events: &[AuditEvent]) -> Vec<Self> {
        events.chunks(Self::MOST).flat_map(rows_of).collect()
    }

    /// How many events it stands for.
    #[must_use]
    pub fn count(&self) -> usize {
        self.packed.as_ref().map_or(1, |packed| usize::try_from(packed.count).unwrap_or(usize::MAX))
    }

    /// When the newest of them was.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.packed.as_ref().map_or(self.event.at, |packed| packed.at)
    }

    /// What they needed.
    fn scopes(&self) -> ScopeSet {
        let scope = self.event.scope.map_or(ScopeSet::EMPTY, |scope| ScopeSet::EMPTY.with(scope));
        self.packed.as_ref().map_or(scope, |packed| packed.scopes)
    }
}

/// What becomes of at most [`AuditRow::MOST`] events. A full chunk is of a busy time: its calls go with those that are like
/// them, and then stand out of order by moments. In a smaller one only neighbours do, so that whoever made a few calls sees
/// them in the order in which they were made.
fn rows_of(chunk: &[AuditEvent]) -> Vec<AuditRow> {
    let looked_at = if chunk.len() == AuditRow::MOST { chunk.len() } else { 1 };
    let mut groups: Vec<Vec<(usize, &AuditEvent)>> = Vec::new();
    for event in chunk.iter().enumerate() {
        match groups.iter_mut().rev().take(looked_at).find(|group| packed::are_alike(group[0].1, event.1)) {
            Some(group) => group.push(event),
            None => groups.push(vec![event]),
        }
    }
    let mut rows = Vec::with_capacity(groups.len());
    for group in groups {
        match *group {
            [(_, first), .., (last, _)] if group.len() >= FEWEST => {
                let events: Vec<_> = group.into_iter().map(|(_, event)| event).collect();
                rows.push((last, AuditRow { event: first.clone(), packed: Some(packed::pack(&events)) }));
            }
            _ => rows.extend(
                group.into_iter().map(|(place, event)| (place, AuditRow { event: event.clone(), packed: None })),
            ),
        }
    }
    rows.sort_unstable_by_key(|(place, _)| *place);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// So many rows a statement takes. Its text is made once, and so is what SQLite prepares of it.
const SIZES: [usize; 4] = [32, 16, 4, 1];
type Statements = LazyLock<[String; SIZES.len()]>;
static INSERT_ROWS: Statements = LazyLock::new(|| {
    insertion(
        "audit (id, first_id, kind, user, app, grant_id, decision, at, count, bytes_up, bytes_down, method, template, path, scope, status, duration_ms)",
    )
});
static INSERT_CALLS: Statements = LazyLock::new(|| insertion("audit_calls (id, calls)"));

fn insertion(into: &str) -> [String; SIZES.len()] {
    let row = format!("({})", vec!["?"; into.split(',').count()].join(","));
    SIZES.map(|rows| format!("INSERT INTO {into} VALUES {}", vec![row.as_str(); rows].join(",")))
}

type Query = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

fn bind(query: Query, (id, row): &(i64, &AuditRow)) -> Query {
    let event = &row.event;
    let query = query
        .bind(*id)
        .bind(row.packed.as_ref().map(|packed| id - packed.count + 1))
        .bind(event.kind)
        .bind(event.user.as_ref().map(|id| key(id).to_vec()))
        .bind(event.app.as_ref().map(|id| key(id).to_vec()))
        .bind(event.grant.as_ref().map(|id| key(id).to_vec()))
        .bind(event.decision.to_string());
    if let Some(packed) = &row.packed {
        let query = query.bind(packed.at.millis()).bind(packed.count).bind(packed.bytes_up).bind(packed.bytes_down);
        let nothing = None::<i64>;
        return query.bind(nothing).bind(nothing).bind(nothing).bind(nothing).bind(nothing).bind(nothing);
    }
    query
        .bind(event.at.millis())
        .bind(event.count)
        .bind(event.bytes_up)
        .bind(event.bytes_down)
        .bind(event.method.clone())
        .bind(event.template.clone())
        .bind(event.path.clone())
        .bind(event.scope.map(Scope::as_str))
        .bind(event.status.map(i64::from))
        .bind(event.duration_ms)
}

async fn insert_each<T: Sync>(
    tx: &mut Tx,
    statements: &'static Statements,
    mut rows: &[T],
    bind: impl Fn(Query, &T) -> Query + Send + Sync,
) -> Result<()> {
    for (statement, size) in statements.iter().zip(SIZES) {
        while let Some((now, later)) = rows.split_at_checked(size) {
            now.iter().fold(sqlx::query(statement.as_str()), &bind).execute(&mut **tx).await?;
            rows = later;
        }
    }
    Ok(())
}

/// From so many events in one batch on it is a busy time.
const BUSY: usize = 1_024;

/// In a busy time, lets calls that have the same processor go on before the next statement: for what SQLite does in one go,
/// all of them wait.
async fn breathe(busy: bool) {
    if busy {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Writes rows under the numbers after the last, and gives the last of these.
async fn insert(tx: &mut Tx, rows: &[AuditRow], busy: bool) -> Result<i64> {
    let mut last = last_number(tx).await?;
    let mut numbered = Vec::with_capacity(rows.len());
    for row in rows {
        last += row.packed.as_ref().map_or(1, |packed| packed.count);
        numbered.push((last, row));
    }
    breathe(busy).await;
    insert_each(tx, &INSERT_ROWS, &numbered, bind).await?;
    breathe(busy).await;
    let calls: Vec<_> = numbered.iter().filter_map(|(id, row)| Some((*id, &row.packed.as_ref()?.calls))).collect();
    insert_each(tx, &INSERT_CALLS, &calls, |query, (id, calls)| query.bind(*id).bind((*calls).clone())).await?;
    Ok(last)
}

/// The last number that was given. Sweeps remember it beside the rows: none is given twice.
pub(super) async fn last_number(tx: &mut Tx) -> Result<i64> {
    let last = "SELECT max(coalesce((SELECT max(id) FROM audit), 0), \
                coalesce((SELECT CAST(CAST(value AS TEXT) AS INTEGER) FROM meta WHERE name = 'last_audit_id'), 0))";
    Ok(sqlx::query_scalar(last).fetch_one(&mut **tx).await?)
}

const USE_OF_APP: &str =
    "UPDATE apps SET last_used_at = max(coalesce(last_used_at, 0), $2), scopes_used = scopes_used | $3 WHERE id = $1";
const USE_OF_GRANT: &str =
    "UPDATE grants SET last_used_at = max(coalesce(last_used_at, 0), $2), scopes_used = scopes_used | $3 WHERE id = $1";

impl Store {
    /// Keeps a batch of rows, and what they say about the use of apps and grants, in one transaction. It is on disk at once
    /// where it tells of a change; calls alone are not worth a wait for the disk, and wear, four times a second for years.
    ///
    /// # Errors
    /// [`super::StoreError`]; then none of the batch is kept.
    pub async fn record(&self, rows: &[AuditRow]) -> Result<()> {
        let mut uses = Uses::default();
        for row in rows {
            uses.note(&row.event, row.at(), row.scopes());
        }
        let calls = rows.iter().all(|row| row.event.kind == kind::CALL);
        let mut tx = if calls { self.begin_soon().await? } else { self.begin().await? };
        let busy = rows.iter().map(AuditRow::count).sum::<usize>() >= BUSY;
        insert(&mut tx, rows, busy).await?;
        breathe(busy).await;
        uses.keep(&mut tx).await?;
        breathe(busy).await;
        tx.commit().await?;
        Ok(())
    }

    /// Keeps the row of a command before it is sent, and gives its number.
    ///
    /// # Errors
    /// [`super::StoreError`]; then the command must not be sent.
    pub async fn record_command(&self, event: &AuditEvent) -> Result<i64> {
        let mut tx = self.begin().await?;
        let id = insert(&mut tx, &[AuditRow { event: event.clone(), packed: None }], false).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Completes the rows of commands, each once, and what they say about use.
    ///
    /// # Errors
    /// [`super::StoreError`]; then none is completed.
    pub async fn complete_commands(&self, events: &[AuditEvent]) -> Result<()> {
        let mut tx = self.begin().await?;
        for (n, event) in events.iter().enumerate() {
            sqlx::query(
                "UPDATE audit SET status = $2, duration_ms = $3, bytes_up = $4, bytes_down = $5, grant_id = coalesce($6, grant_id), decision = $7 \
                 WHERE id = $1 AND first_id IS NULL AND status IS NULL AND duration_ms IS NULL",
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
            if (n + 1).is_multiple_of(packed::MOST.into()) {
                tokio::task::yield_now().await;
            }
        }
        let mut uses = Uses::default();
        for event in events {
            uses.note(event, event.at, event.scope.map_or(ScopeSet::EMPTY, |scope| ScopeSet::EMPTY.with(scope)));
        }
        uses.keep(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// When apps and grants were last used, and for what.
#[derive(Default)]
struct Uses {
    apps: HashMap<AppId, Usage>,
    grants: HashMap<GrantId, Usage>,
}

impl Uses {
    /// A call that went through uses what it needed.
    fn note(&mut self, event: &AuditEvent, at: Timestamp, scopes: ScopeSet) {
        if event.kind == kind::CALL && event.decision == "allowed" {
            merge(&mut self.apps, event.app, at, scopes);
            merge(&mut self.grants, event.grant, at, scopes);
        }
    }

    async fn keep(&self, tx: &mut Tx) -> Result<()> {
        let of_apps = self.apps.iter().map(|(id, usage)| (USE_OF_APP, key(id), usage));
        let of_grants = self.grants.iter().map(|(id, usage)| (USE_OF_GRANT, key(id), usage));
        for (statement, id, usage) in of_apps.chain(of_grants) {
            sqlx::query(statement).bind(id).bind(usage.at.millis()).bind(bits(usage.scopes)).execute(&mut **tx).await?;
        }
        Ok(())
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
pub(super) mod tests;
