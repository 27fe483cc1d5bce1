use super::*;
use crate::domain::app::{App, KeyHash};
use crate::domain::id::Id;
use crate::domain::scope::ScopeSet;
use crate::domain::user::{Role, User};
use crate::store::audit::tests::{all, call, filled, record, rows};
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
    let mut events: Vec<_> = (0_i64..240)
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
    // In the midst of them a busy moment of all apps, of which `since` cuts off a part.
    let busy = (0_i64..256).map(|n| {
        let app = usize::try_from(n * 7919 % 101 % 3).unwrap();
        let at = Timestamp::from_millis(2_409_700 + n * 2 - n % 3 * 20);
        AuditEvent { app: Some(apps[app]), user: Some(users[app / 2]), at, ..call(n, 4 + u8::try_from(n % 2).unwrap()) }
    });
    let busy: Vec<_> = busy.collect();
    let late = events.split_off(120);
    for part in [events, busy, late] {
        record(&store, &part).await;
    }
    assert!(rows(&store).await.1 >= 12);
    let rows = all(&store).await.into_iter().rev().collect::<Vec<_>>();
    assert_eq!(rows.len(), 496);
    for (user, app, kind, since, grant) in
        (0..3 * 4 * 4 * 3 * 2).map(|n| (n % 3, n / 3 % 4, n / 12 % 4, n / 48 % 3, n / 144 == 1))
    {
        // Fewer rows on a page than the user has apps, once.
        let limit = if (kind, since) == (1, 1) { 1 } else { 7 + 20 * u32::from(since == 0) };
        let mut filter = AuditFilter {
            user: users.get(user).copied(),
            app: apps.get(app).copied(),
            kind: [None, Some(kind::CALL), Some(kind::APP_MADE), Some(kind::GRANT_MADE)][kind],
            since: [None, Some(Timestamp::from_secs(2_410)), Some(Timestamp::from_secs(99_999))][since],
            grant: grant.then(|| Id::from_bytes([2; 16])),
            limit,
            ..AuditFilter::default()
        };
        let expected: Vec<_> = rows
            .iter()
            .filter(|row| {
                filter.user.is_none_or(|user| row.user == Some(user))
                    && filter.app.is_none_or(|app| row.app == Some(app))
                    && filter.grant.is_none_or(|grant| row.grant == Some(grant))
                    && filter.kind.is_none_or(|kind| row.kind == kind)
                    && filter.since.is_none_or(|since| row.at >= since)
            })
            .collect();
        let mut found = Vec::new();
        loop {
            let page = store.list_audit(&filter).await.unwrap();
            filter.before = page.last().map(|row| row.id);
            let last = page.len() < limit as usize;
            found.extend(page);
            if last {
                break;
            }
        }
        assert_eq!(format!("{:?}", found.iter().collect::<Vec<_>>()), format!("{expected:?}"), "{filter:?}");
    }
}

#[tokio::test]
async fn a_page_may_begin_at_any_number_and_be_of_any_length() {
    let (_directory, store) = filled(0..0).await;
    let (users, apps) = with_apps(&store).await;
    let of_app =
        |n: i64, app: usize| AuditEvent { app: Some(apps[app]), user: Some(users[app / 2]), grant: None, ..call(n, 3) };
    // A whole row of calls above and below others, and single ones between.
    record(&store, &(0..128).map(|n| of_app(17 * n / 2, 0)).collect::<Vec<_>>()).await;
    record(&store, &(0..140).map(|n| of_app(n, usize::try_from(n % 2).unwrap())).collect::<Vec<_>>()).await;
    let rows: Vec<_> = all(&store).await.into_iter().rev().collect();
    for before in [None].into_iter().chain((-1..=410).map(Some)) {
        for (limit, app, user, since) in [
            (1, None, None, None),
            (500, None, None, Some(70)),
            (3, Some(apps[0]), None, None),
            (5, None, Some(users[0]), None),
            (2, Some(apps[1]), Some(users[0]), Some(100)),
            (4, None, Some(users[0]), Some(100)),
        ] {
            let since = since.map(Timestamp::from_millis);
            let filter = AuditFilter { since, app, user, before, limit, ..AuditFilter::default() };
            let expected = rows.iter().filter(|row| {
                before.is_none_or(|before| row.id < before)
                    && app.is_none_or(|app| row.app == Some(app))
                    && since.is_none_or(|since| row.at >= since)
            });
            let expected: Vec<_> = expected.take(limit as usize).map(|row| row.id).collect();
            let found = store.list_audit(&filter).await.unwrap();
            assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), expected, "{filter:?}");
        }
    }
}

#[tokio::test]
async fn calls_that_cannot_be_read_take_no_other_row_with_them_and_are_shown_as_what_is_known() {
    let (_directory, store) = filled(0..0).await;
    record(&store, &(0..384).map(|n| call(n % 3, 3)).collect::<Vec<_>>()).await;
    for damage in [
        "UPDATE audit_calls SET calls = substr(calls, 1, 1000) WHERE id = 256",
        "UPDATE audit SET first_id = 130, count = 127 WHERE id = 256",
        "DELETE FROM audit_calls WHERE id = 256",
    ] {
        sqlx::query(damage).execute(&store.write).await.unwrap();
        let mut filter = AuditFilter { app: Some(Id::from_bytes([3; 16])), limit: 60, ..AuditFilter::default() };
        let mut found = Vec::new();
        loop {
            let page = store.list_audit(&filter).await.unwrap();
            found.extend(page.iter().map(|event| (event.id, event.count)));
            filter.before = page.last().map(|event| event.id);
            if page.len() < 60 {
                break;
            }
        }
        let whole = |ids: std::ops::RangeInclusive<i64>| ids.rev().map(|id| (id, 1));
        let count = found[128].1;
        assert!(count >= 127);
        assert!(found.into_iter().eq(whole(257..=384).chain([(256, count)]).chain(whole(1..=128))), "{damage}");
        filter.before = Some(200);
        assert_eq!(store.list_audit(&filter).await.unwrap()[0].id, 128, "what is above a page is not on it");
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
    record(&store, &events).await;
    let filter =
        AuditFilter { user: Some(mine), since: Some(Timestamp::from_secs(800)), limit: 10, ..AuditFilter::default() };
    let found = store.list_audit(&filter).await.unwrap();
    assert_eq!(found.iter().map(|event| event.user).collect::<Vec<_>>(), [Some(mine)]);
}

#[tokio::test]
async fn a_user_who_is_removed_is_named_by_no_call_any_more_whether_packed_or_not() {
    let (_directory, store) = filled(0..0).await;
    let (users, apps) = with_apps(&store).await;
    let of_app = |n: i64, app: usize| AuditEvent { app: Some(apps[app]), user: Some(users[app / 2]), ..call(n, 4) };
    let events: Vec<_> = (0..150).map(|n| of_app(n, usize::try_from(n % 3).unwrap())).collect();
    record(&store, &events).await;
    let (before, shape) = (all(&store).await, rows(&store).await);
    store.take_user(users[0]).await.unwrap();
    let after = all(&store).await;
    assert_eq!(rows(&store).await, shape);
    for (before, after) in before.into_iter().zip(after) {
        let expected = match before.user {
            user if user == Some(users[0]) => AuditEvent { user: None, app: None, grant: None, ..before },
            _ => before,
        };
        assert_eq!(format!("{after:?}"), format!("{expected:?}"));
    }
}
