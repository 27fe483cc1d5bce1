//! The audit trail.

use keyfob::domain::audit::{AuditEvent, kind};
use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::domain::user::Role;
use keyfob::store::{AuditFilter, AuditRow};

use crate::shelf::{NOW, Shelf, hash};

fn all() -> AuditFilter {
    AuditFilter { limit: 10_000, ..AuditFilter::default() }
}

#[tokio::test]
async fn fifty_batches_at_once_are_all_kept_whole_and_come_newest_first() {
    let shelf = Shelf::new().await;
    let written = shelf
        .fifty(|store, n| async move {
            let event = |m: i64| AuditEvent::change(NOW.plus_millis(m), kind::USER_CHANGED, None).about(&n.to_string());
            store.record(&AuditRow::of(&(0..7).map(event).collect::<Vec<_>>())).await.is_ok()
        })
        .await;
    assert!(written.into_iter().all(|written| written));
    let events = shelf.store.list_audit(&all()).await.unwrap();
    assert_eq!(events.len(), 350);
    assert!(events.is_sorted_by(|a, b| a.id > b.id));
    for batch in events.chunks(7) {
        assert!(batch.iter().all(|event| event.path == batch[0].path), "a batch stands together");
    }
}

#[tokio::test]
async fn a_commands_row_is_completed_once() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    let (grant, new) = (shelf.put_grant(ada).await, shelf.app(ada, hash("key")));
    shelf.store.keep_app(&new).await.unwrap();
    let mut event = AuditEvent::change(NOW, kind::CALL, None).of_app(new.app.id).decided("allowed");
    event.scope = Some(Scope::Controls);
    event.id = shelf.store.record_command(&event).await.unwrap();
    let open = &shelf.store.list_audit(&all()).await.unwrap()[0];
    assert_eq!((open.id, open.status), (event.id, None), "on disk before it is sent");
    let done = AuditEvent { status: Some(200), duration_ms: Some(5), grant: Some(grant), ..event.clone() };
    shelf
        .fifty(|store, n| {
            let status = 200 + u16::try_from(n).unwrap();
            let done = AuditEvent { status: Some(status), ..done.clone() };
            async move { store.complete_commands(&[done]).await.unwrap() }
        })
        .await;
    let first = shelf.store.list_audit(&all()).await.unwrap()[0].status.unwrap();
    shelf.store.complete_commands(&[AuditEvent { status: Some(500), ..done }]).await.unwrap();
    let kept = &shelf.store.list_audit(&all()).await.unwrap()[0];
    assert_eq!((kept.status, kept.grant), (Some(first), Some(grant)));
    let used = shelf.store.find_grant(grant, None).await.unwrap().unwrap().grant;
    assert_eq!((used.last_used_at, used.scopes_used), (Some(NOW), ScopeSet::of(Scope::Controls)));
}

#[tokio::test]
async fn a_command_that_was_given_up_has_used_nothing() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    let (grant, new) = (shelf.put_grant(ada).await, shelf.app(ada, hash("key")));
    shelf.store.keep_app(&new).await.unwrap();
    let event = AuditEvent::change(NOW, kind::CALL, None).of_app(new.app.id).of_grant(grant).decided("allowed");
    let mut event = AuditEvent { scope: Some(Scope::Controls), ..event };
    event.id = shelf.store.record_command(&event).await.unwrap();
    shelf.store.complete_commands(&[event.decided("aborted")]).await.unwrap();
    assert_eq!(shelf.store.list_audit(&all()).await.unwrap()[0].decision, "aborted");
    let grant = shelf.store.find_grant(grant, None).await.unwrap().unwrap().grant;
    let app = shelf.store.find_app(new.app.id, None).await.unwrap().unwrap();
    assert_eq!((grant.scopes_used, app.scopes_used), (ScopeSet::EMPTY, ScopeSet::EMPTY));
    assert_eq!((grant.last_used_at, app.app.last_used_at), (None, None));
}

#[tokio::test]
async fn use_is_counted_with_the_rows_and_never_goes_back() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    let (grant, new) = (shelf.put_grant(ada).await, shelf.app(ada, hash("key")));
    shelf.store.keep_app(&new).await.unwrap();
    let call = |millis: i64, scope, decision| {
        let event = AuditEvent::change(NOW.plus_millis(millis), kind::CALL, None).of_app(new.app.id).of_grant(grant);
        AuditEvent { scope: Some(scope), ..event.decided(decision) }
    };
    shelf.store.record(&AuditRow::of(&[call(5_000, Scope::Vehicles, "allowed")])).await.unwrap();
    shelf
        .store
        .record(&AuditRow::of(&[
            call(1_000, Scope::Controls, "allowed"),
            call(9_000, Scope::Account, "insufficient_scope"),
        ]))
        .await
        .unwrap();
    let used = shelf.store.find_grant(grant, None).await.unwrap().unwrap().grant;
    assert_eq!(used.last_used_at, Some(NOW.plus_millis(5_000)));
    assert_eq!(used.scopes_used, ScopeSet::of(Scope::Vehicles).union(ScopeSet::of(Scope::Controls)));
    let app = shelf.store.find_app(new.app.id, None).await.unwrap().unwrap();
    assert_eq!((app.app.last_used_at, app.scopes_used), (used.last_used_at, used.scopes_used));
}

#[tokio::test]
async fn a_page_of_events_holds_what_its_filter_lets_through() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    let (grant, new) = (shelf.put_grant(ada).await, shelf.app(ada, hash("key")));
    shelf.store.keep_app(&new).await.unwrap();
    let app = new.app.id;
    let events = [
        AuditEvent::change(NOW, kind::USER_MADE, Some(ada)),
        AuditEvent::change(NOW.plus_millis(1), kind::CALL, Some(ada)).of_app(app),
        AuditEvent::change(NOW.plus_millis(2), kind::GRANT_MADE, Some(ada)).of_grant(grant),
        AuditEvent::change(NOW.plus_millis(3), kind::UNKNOWN_CALLERS, None),
    ];
    shelf.store.record(&AuditRow::of(&events)).await.unwrap();
    for (filter, expected) in [
        (all(), 4),
        (AuditFilter { since: Some(NOW.plus_millis(2)), ..all() }, 2),
        (AuditFilter { app: Some(app), ..all() }, 1),
        (AuditFilter { user: Some(ada), ..all() }, 3),
        (AuditFilter { grant: Some(grant), ..all() }, 1),
        (AuditFilter { kind: Some(kind::CALL), ..all() }, 1),
        (AuditFilter { limit: 3, ..all() }, 3),
    ] {
        let found = shelf.store.list_audit(&filter).await.unwrap();
        assert_eq!(found.len(), expected, "{filter:?}");
        let before = AuditFilter { before: Some(found.last().unwrap().id), ..filter };
        assert!(shelf.store.list_audit(&before).await.unwrap().len() <= 1, "the next page goes on below");
    }
}

#[tokio::test]
async fn old_rows_are_swept_by_age_and_by_number_the_oldest_first() {
    let shelf = Shelf::new().await;
    let events: Vec<_> = (0..20).map(|n| AuditEvent::change(NOW.plus_millis(n), kind::USER_CHANGED, None)).collect();
    shelf.store.record(&AuditRow::of(&events)).await.unwrap();
    assert_eq!(shelf.store.sweep_audit(NOW.plus_millis(5), 1_000).await.unwrap(), 5);
    shelf.store.sweep_audit(NOW, 10).await.unwrap();
    let left = shelf.store.list_audit(&all()).await.unwrap();
    assert_eq!(left.len(), 10);
    assert_eq!(left.last().unwrap().at, NOW.plus_millis(10));
}
