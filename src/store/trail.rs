//! The audit trail as pages read it.

use std::time::Duration;

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite};

use super::columns::Columns;
use super::{Result, Store};
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
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM audit");
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
                query.push(" ORDER BY newest DESC LIMIT ").push_bind(i64::from(filter.limit));
                query.push(") b CROSS JOIN audit a ON a.id IN (SELECT id FROM audit WHERE app = b.app");
                newest(&mut query, filter, first);
                query.push("))");
            }
            None => {}
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(filter.limit));
        let rows = query.build().fetch_all(&self.read).await?;
        rows.iter().map(event).collect()
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
        query.push(" AND id < ").push_bind(before);
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
    query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(filter.limit));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::app::{App, KeyHash};
    use crate::domain::id::Id;
    use crate::domain::scope::ScopeSet;
    use crate::domain::user::{Role, User};
    use crate::store::audit::tests::filled;
    use crate::store::{Made, NewApp};

    async fn with_apps(store: &Store) -> ([UserId; 2], [AppId; 3]) {
        let (users, apps) = ([1, 2].map(|n| Id::from_bytes([n; 16])), [11, 12, 13].map(|n| Id::from_bytes([n; 16])));
        let created_at = Timestamp::from_secs(0);
        for (id, name) in users.iter().zip(["ada", "bob"]) {
            let user = User { id: *id, name: name.parse().unwrap(), role: Role::Member, created_at, disabled_at: None };
            assert_eq!(store.keep_user(&user, None).await.unwrap(), Made::Done);
        }
        for (n, id) in apps.iter().enumerate() {
            let app = App {
                id: *id,
                user: users[n / 2],
                name: "x".parse().unwrap(),
                scopes: ScopeSet::ALL,
                grant: None,
                query_key: false,
                rate: None,
                created_at,
                last_used_at: None,
                expires_at: None,
                revoked_at: None,
            };
            let new = NewApp { app, key: KeyHash::of(&[u8::try_from(n).unwrap()]) };
            assert_eq!(store.keep_app(&new).await.unwrap(), Made::Done);
        }
        (users, apps)
    }

    #[tokio::test]
    async fn every_filter_gives_page_by_page_what_a_look_at_each_row_would() {
        let (_directory, store) = filled(0..0).await;
        let (users, apps) = with_apps(&store).await;
        let kinds = [kind::CALL, kind::CALL, kind::CALL, kind::APP_MADE, kind::SIGNED_IN];
        let events: Vec<_> = (0_i64..240)
            .map(|n| {
                let pick = usize::try_from(n * 7919 % 101).unwrap();
                let app = (pick % 4 < 3).then_some(pick % 4);
                let user = users.get(app.map_or(pick % 3, |app| app / 2));
                // Out of order by up to a minute.
                let at = Timestamp::from_secs(n * 20 + n * 31 % 60);
                let kind = if app.is_some() { kinds[pick % 4] } else { kinds[2 + pick % 3] };
                AuditEvent { app: app.map(|app| apps[app]), ..AuditEvent::change(at, kind, user.copied()) }
            })
            .collect();
        store.record(&events).await.unwrap();
        let rows = store.list_audit(&AuditFilter { limit: 1_000, ..AuditFilter::default() }).await.unwrap();
        assert_eq!(rows.len(), 240);
        for (user, app, kind, since) in (0..3 * 4 * 4 * 3).map(|n| (n % 3, n / 3 % 4, n / 12 % 4, n / 48)) {
            // Fewer rows on a page than the user has apps, once.
            let limit = if (kind, since) == (1, 1) { 1 } else { 7 };
            let mut filter = AuditFilter {
                user: users.get(user).copied(),
                app: apps.get(app).copied(),
                kind: [None, Some(kind::CALL), Some(kind::APP_MADE), Some(kind::GRANT_MADE)][kind],
                since: [None, Some(Timestamp::from_secs(2_410)), Some(Timestamp::from_secs(99_999))][since],
                limit,
                ..AuditFilter::default()
            };
            let expected: Vec<_> = rows
                .iter()
                .filter(|row| {
                    filter.user.is_none_or(|user| row.user == Some(user))
                        && filter.app.is_none_or(|app| row.app == Some(app))
                        && filter.kind.is_none_or(|kind| row.kind == kind)
                        && filter.since.is_none_or(|since| row.at >= since)
                })
                .map(|row| row.id)
                .collect();
            let mut found = Vec::new();
            loop {
                let page = store.list_audit(&filter).await.unwrap();
                found.extend(page.iter().map(|row| row.id));
                filter.before = page.last().map(|row| row.id);
                if page.len() < limit as usize {
                    break;
                }
            }
            assert_eq!(found, expected, "{filter:?}");
        }
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
    async fn a_moment_is_found_without_reading_every_row() {
        let (_directory, store) = filled(0..0).await;
        let plan = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {FIRST_ROW}"));
        let steps: Vec<(i64, i64, i64, String)> = sqlx::query_as(plan).bind(0).fetch_all(&store.read).await.unwrap();
        let steps: Vec<_> = steps.into_iter().map(|(.., step)| step).collect();
        assert!(steps.iter().any(|step| step.contains("SEARCH audit")), "{steps:?}");
        assert!(!steps.iter().any(|step| step.contains("SCAN audit") || step.contains("SCAN a")), "{steps:?}");
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
