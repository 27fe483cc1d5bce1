//! What there is to review, and reviews that were signed off.

use keyfob::domain::audit::{AuditEvent, kind};
use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::domain::user::Role;
use keyfob::store::{AppFilter, GrantFilter, GrantSort, Made, Removal, ReviewCounts};

use crate::shelf::{NOW, Shelf, hash};

#[tokio::test]
async fn what_was_never_used_comes_first_and_is_counted_and_what_is_used_leaves_the_count() {
    let shelf = Shelf::new().await;
    let user = shelf.put_user("ada", Role::Admin).await;
    let first = shelf.put_grant(user).await;
    let second = shelf.put_grant(user).await;
    let new = shelf.app(user, hash("key"));
    assert_eq!(shelf.store.keep_app(&new).await.unwrap(), Made::Done);
    let app = new.app.id;
    let count = async |before| shelf.store.to_review(before).await.unwrap().counts;
    assert_eq!(count(NOW).await, ReviewCounts { grants: 2, unused: 2, stale: 0 });
    assert_eq!(count(NOW.plus_millis(1)).await, ReviewCounts { grants: 2, unused: 2, stale: 1 });

    let granted = shelf.store.find_grant(first, None).await.unwrap().unwrap().grant.scopes_granted;
    let calls: Vec<_> = granted
        .iter()
        .map(|scope| AuditEvent {
            app: Some(app),
            scope: Some(scope),
            ..AuditEvent::change(NOW.plus_millis(5), kind::CALL, Some(user)).decided("allowed").of_grant(first)
        })
        .collect();
    shelf.store.record(&keyfob::store::AuditRow::of(&calls)).await.unwrap();
    assert_eq!(count(NOW.plus_millis(1)).await, ReviewCounts { grants: 2, unused: 1, stale: 0 });
    let filter = GrantFilter { live: true, sort: GrantSort::Unused, limit: 10, ..GrantFilter::default() };
    let listed = shelf.store.list_grants(&filter).await.unwrap();
    assert_eq!(listed.iter().map(|listed| listed.grant.id).collect::<Vec<_>>(), [second, first]);
    assert!(!granted.is_empty() && granted != ScopeSet::of(Scope::Controls));

    let idle = |since| AppFilter { idle_since: Some(since), limit: 10, ..AppFilter::default() };
    assert_eq!(shelf.store.list_apps(&idle(NOW.plus_millis(6))).await.unwrap().len(), 1);
    assert!(shelf.store.list_apps(&idle(NOW.plus_millis(5))).await.unwrap().is_empty());
    assert!(shelf.store.revoke_app(app, None, NOW).await.unwrap());
    assert_eq!(count(NOW.plus_millis(6)).await.stale, 0);
}

#[tokio::test]
async fn the_digest_tells_which_grants_are_live_and_which_apps_are_stale_with_their_scopes_and_calls_leave_it() {
    let shelf = Shelf::new().await;
    let user = shelf.put_user("ada", Role::Admin).await;
    let mut grant = shelf.grant(user);
    grant.tokens.scopes_granted = [Scope::Vehicles, Scope::Account].into_iter().collect();
    shelf.store.keep_grant(&grant).await.unwrap();
    let (first, later) = (grant.grant.id, NOW.plus_millis(10));
    let new = shelf.app(user, hash("key"));
    assert_eq!(shelf.store.keep_app(&new).await.unwrap(), Made::Done);
    let app = new.app.id;
    let look = async || shelf.store.to_review(later).await.unwrap();
    let before = look().await;
    assert_eq!(look().await, before);
    let call = AuditEvent {
        scope: Some(Scope::Vehicles),
        ..AuditEvent::change(NOW, kind::CALL, Some(user)).decided("allowed").of_grant(first)
    };
    shelf.store.record(&keyfob::store::AuditRow::of(&[call])).await.unwrap();
    assert_eq!(look().await, before, "a scope is used, others are not yet");

    shelf.store.take_grant_secrets(first).await.unwrap().unwrap();
    shelf.put_grant(user).await;
    let other_grant = look().await;
    assert_eq!(other_grant.counts, before.counts);
    assert_ne!(other_grant.digest, before.digest);
    assert!(shelf.store.replace_app_scopes(app, None, ScopeSet::of(Scope::Account)).await.unwrap());
    let other_scopes = look().await;
    assert_eq!(other_scopes.counts, before.counts);
    assert_ne!(other_scopes.digest, other_grant.digest);
    assert!(shelf.store.revoke_app(app, None, NOW).await.unwrap());
    let new = shelf.app(user, hash("another key"));
    assert_eq!(shelf.store.keep_app(&new).await.unwrap(), Made::Done);
    assert!(shelf.store.replace_app_scopes(new.app.id, None, ScopeSet::of(Scope::Account)).await.unwrap());
    let other_app = look().await;
    assert_eq!(other_app.counts, before.counts);
    assert_ne!(other_app.digest, other_scopes.digest);
}

#[tokio::test]
async fn a_grant_with_more_than_the_known_scopes_is_used_up_once_those_are_used() {
    let shelf = Shelf::new().await;
    let user = shelf.put_user("ada", Role::Admin).await;
    // By its id alone it would come first.
    let mut both = [shelf.grant(user), shelf.grant(user)];
    both.sort_by_key(|new| new.grant.id);
    both[0].tokens.scopes_granted = ScopeSet::of(Scope::Vehicles).and_more();
    let [wide, unused] = [both[0].grant.id, both[1].grant.id];
    for new in &both {
        shelf.store.keep_grant(new).await.unwrap();
    }
    assert_eq!(shelf.store.to_review(NOW).await.unwrap().counts.unused, 2);
    let call = AuditEvent {
        scope: Some(Scope::Vehicles),
        ..AuditEvent::change(NOW, kind::CALL, Some(user)).decided("allowed").of_grant(wide)
    };
    shelf.store.record(&keyfob::store::AuditRow::of(&[call])).await.unwrap();
    assert_eq!(shelf.store.to_review(NOW).await.unwrap().counts, ReviewCounts { grants: 2, unused: 1, stale: 0 });
    let filter = GrantFilter { live: true, sort: GrantSort::Unused, limit: 10, ..GrantFilter::default() };
    let listed = shelf.store.list_grants(&filter).await.unwrap();
    assert_eq!(listed.iter().map(|listed| listed.grant.id).collect::<Vec<_>>(), [unused, wide]);
}

#[tokio::test]
async fn fifty_reviews_at_once_are_all_kept_and_outlive_the_account_without_its_name() {
    let shelf = Shelf::new().await;
    let (ada, bob) = (shelf.put_user("ada", Role::Admin).await, shelf.put_user("bob", Role::Admin).await);
    let kept = shelf
        .fifty(|store, n| async move {
            let counts = ReviewCounts { grants: i64::try_from(n).unwrap(), unused: 2, stale: 1 };
            store.keep_review(if n % 2 == 0 { ada } else { bob }, NOW, counts, "all well").await.is_ok()
        })
        .await;
    assert!(kept.into_iter().all(|kept| kept));
    assert_eq!(shelf.store.list_reviews(100).await.unwrap().len(), 50);
    assert!(matches!(shelf.store.take_user(bob).await.unwrap(), Removal::Done(_)));
    let left = shelf.store.list_reviews(100).await.unwrap();
    assert_eq!(left.iter().filter(|review| review.user_name.as_deref() == Some("ada")).count(), 25);
    assert_eq!(left.iter().filter(|review| review.user_name.is_none()).count(), 25);
    assert!(left.iter().all(|review| review.remark == "all well" && review.counts.unused == 2));
    assert_eq!(shelf.store.list_reviews(3).await.unwrap().len(), 3);
}
