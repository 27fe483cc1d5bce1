//! The audit trail: written in batches by one writer, and read by pages.

use std::collections::HashMap;
use std::sync::LazyLock;

use sqlx::Sqlite;
use sqlx::sqlite::SqliteArguments;

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

/// All rows of one app's calls: what they have in common is bound once, which takes a third off their cost.
static INSERT_ALIKE: LazyLock<String> = LazyLock::new(|| {
    format!("INSERT INTO audit ({SHARED}, {OWN}) SELECT {}, * FROM ({})", places(SHARED), values(OWN, ROWS))
});
static INSERT_MANY: LazyLock<String> = LazyLock::new(|| insertion(ROWS));
static INSERT_FEW: LazyLock<String> = LazyLock::new(|| insertion(FEW));
static INSERT_ONE: LazyLock<String> = LazyLock::new(|| insertion(1));

/// What the calls of one busy app have in common.
const SHARED: &str = "kind, user, app, grant_id, decision";
/// What each row has of its own.
const OWN: &str = "at, method, template, path, scope, status, duration_ms, count, bytes_up, bytes_down";

fn places(columns: &str) -> String {
    vec!["?"; columns.split(',').count()].join(",")
}

fn values(columns: &str, rows: usize) -> String {
    format!("VALUES {}", vec![format!("({})", places(columns)); rows].join(","))
}

fn insertion(rows: usize) -> String {
    let columns = format!("{SHARED}, {OWN}");
    format!("INSERT INTO audit ({columns}) {}", values(&columns, rows))
}

fn are_alike(events: &[AuditEvent; ROWS]) -> bool {
    let [one, others @ ..] = events;
    let shared = |event: &AuditEvent| (event.kind, event.user, event.app, event.grant);
    others.iter().all(|other| shared(other) == shared(one) && other.decision == one.decision)
}

async fn insert(tx: &mut Tx, events: &[AuditEvent]) -> Result<()> {
    let (many, rest) = events.as_chunks::<ROWS>();
    for chunk in many {
        if are_alike(chunk) {
            insert_alike(tx, chunk).await?;
        } else {
            insert_rows(tx, INSERT_MANY.as_str(), chunk).await?;
        }
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

type Query = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

fn bind_shared(query: Query, event: &AuditEvent) -> Query {
    query
        .bind(event.kind)
        .bind(event.user.as_ref().map(|id| key(id).to_vec()))
        .bind(event.app.as_ref().map(|id| key(id).to_vec()))
        .bind(event.grant.as_ref().map(|id| key(id).to_vec()))
        .bind(event.decision.to_string())
}

fn bind_own(query: Query, event: &AuditEvent) -> Query {
    query
        .bind(event.at.millis())
        .bind(event.method.clone())
        .bind(event.template.clone())
        .bind(event.path.clone())
        .bind(event.scope.map(Scope::as_str))
        .bind(event.status.map(i64::from))
        .bind(event.duration_ms)
        .bind(event.count)
        .bind(event.bytes_up)
        .bind(event.bytes_down)
}

async fn insert_rows(tx: &mut Tx, statement: &'static str, events: &[AuditEvent]) -> Result<()> {
    let mut query = sqlx::query(statement);
    for event in events {
        query = bind_own(bind_shared(query, event), event);
    }
    query.execute(&mut **tx).await?;
    Ok(())
}

async fn insert_alike(tx: &mut Tx, events: &[AuditEvent; ROWS]) -> Result<()> {
    let mut query = bind_shared(sqlx::query(INSERT_ALIKE.as_str()), &events[0]);
    for event in events {
        query = bind_own(query, event);
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
            note_use(&mut apps, &mut grants, chunk);
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
            if (n + 1).is_multiple_of(ROWS) {
                tokio::task::yield_now().await;
            }
        }
        note_use(&mut apps, &mut grants, events);
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

/// Calls that went through use what they needed.
fn note_use(apps: &mut HashMap<AppId, Usage>, grants: &mut HashMap<GrantId, Usage>, events: &[AuditEvent]) {
    for event in events.iter().filter(|event| event.kind == kind::CALL && event.decision == "allowed") {
        let scopes = event.scope.map_or(ScopeSet::EMPTY, ScopeSet::of);
        merge(apps, event.app, event.at, scopes);
        merge(grants, event.grant, event.at, scopes);
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
    use crate::domain::id::Id;
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

    fn call(n: i64, app: AppId) -> AuditEvent {
        let event = AuditEvent::change(Timestamp::from_secs(n), kind::CALL, Some(Id::from_bytes([1; 16])));
        AuditEvent {
            grant: (n % 3 == 0).then(|| Id::from_bytes([2; 16])),
            method: Some("GET".into()),
            template: Some(format!("/template/{n}").into()),
            path: Some(format!("/path/{n}").into()),
            scope: (n % 2 == 0).then_some(Scope::Vehicles),
            status: Some(200),
            duration_ms: Some(n + 1),
            count: n + 2,
            bytes_up: n + 3,
            bytes_down: n + 4,
            ..event.of_app(app).decided("allowed")
        }
    }

    #[test]
    fn rows_that_differ_in_one_thing_that_is_bound_once_are_not_alike() {
        let (one, other) = (Id::from_bytes([3; 16]), Id::from_bytes([4; 16]));
        let alike = || -> [AuditEvent; ROWS] { std::array::from_fn(|n| call(i64::try_from(3 * n).unwrap(), one)) };
        assert!(are_alike(&alike()));
        for at in [0, 1, ROWS - 1] {
            let odd: [fn(&mut AuditEvent); 5] = [
                |event| event.kind = kind::APP_CHANGED,
                |event| event.user = None,
                |event| event.app = None,
                |event| event.grant = None,
                |event| event.decision = "no_grant".into(),
            ];
            for (which, make_odd) in odd.into_iter().enumerate() {
                let mut events = alike();
                make_odd(&mut events[at]);
                assert!(!are_alike(&events), "{which} at {at}");
            }
        }
        let mut events = alike();
        events[5].app = Some(other);
        assert!(!are_alike(&events));
    }

    #[tokio::test]
    async fn rows_come_back_as_they_went_in_whoever_they_are_of() {
        let (_directory, store) = filled(std::iter::empty()).await;
        let (one, other) = (Id::from_bytes([3; 16]), Id::from_bytes([4; 16]));
        let rows = i64::try_from(ROWS).unwrap();
        let alike = (0..rows).map(|n| AuditEvent { grant: None, ..call(n, one) });
        let odd_one_out = (rows..2 * rows).map(|n| {
            let event = AuditEvent { grant: None, ..call(n, one) };
            match n - rows {
                3 => event.decided("no_grant"),
                _ => event,
            }
        });
        let mixed = (2 * rows..3 * rows + 11).map(|n| call(n, if n % 5 == 0 { one } else { other }));
        let events: Vec<_> = alike.chain(odd_one_out).chain(mixed).collect();
        let (chunks, _) = events.as_chunks();
        assert!(are_alike(&chunks[0]) && !are_alike(&chunks[1]));
        store.record(&events).await.unwrap();
        let mut found = store.list_audit(&AuditFilter { limit: 1_000, ..AuditFilter::default() }).await.unwrap();
        found.reverse();
        assert_eq!(found.len(), events.len());
        for (mut found, event) in found.into_iter().zip(events) {
            found.id = event.id;
            assert_eq!(format!("{found:?}"), format!("{event:?}"));
        }
    }
}
