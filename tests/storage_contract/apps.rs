//! Apps, their keys, and the keys of administrators.

use keyfob::domain::app::AdminKey;
use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::domain::user::Role;
use keyfob::store::{AppFilter, Live, Made};

use crate::shelf::{NOW, Shelf, hash};

#[tokio::test]
async fn of_fifty_who_roll_a_key_at_once_one_key_is_left_without_an_end() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    let new = shelf.app(ada, hash("first"));
    shelf.store.keep_app(&new).await.unwrap();
    let (id, until) = (new.app.id, NOW.plus_millis(60_000));
    let rolled = shelf
        .fifty(move |store, n| async move { store.replace_app_key(id, Some(ada), hash(n), until, NOW).await.unwrap() })
        .await;
    assert!(rolled.into_iter().all(|rolled| rolled));
    let keys = shelf.store.find_app(id, None).await.unwrap().unwrap().keys;
    assert_eq!(keys.len(), 51);
    assert_eq!(keys.iter().filter(|key| key.valid_until.is_none()).count(), 1);
    assert!(keys.iter().all(|key| key.valid_until.is_none_or(|at| at == until)));

    // A second roll with a longer overlap does not lengthen the life of a key that was rolled already.
    shelf.store.replace_app_key(id, None, hash("later"), until.plus_millis(60_000), NOW).await.unwrap();
    let keys = shelf.store.find_app(id, None).await.unwrap().unwrap().keys;
    assert_eq!(keys.iter().filter(|key| key.valid_until == Some(until)).count(), 50);
    // And one without an overlap ends them all.
    shelf.store.replace_app_key(id, None, hash("last"), NOW, NOW).await.unwrap();
    let keys = shelf.store.find_app(id, None).await.unwrap().unwrap().keys;
    assert_eq!(keys.iter().map(|key| key.hash).collect::<Vec<_>>(), [hash("last")]);
}

#[tokio::test]
async fn an_app_is_revoked_by_one_of_fifty_and_never_comes_back() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    let new = shelf.app(ada, hash("key"));
    shelf.store.keep_app(&new).await.unwrap();
    let id = new.app.id;
    let revoked = shelf.fifty(move |store, _| async move { store.revoke_app(id, None, NOW).await.unwrap() }).await;
    assert_eq!(revoked.iter().filter(|revoked| **revoked).count(), 1);
    assert!(!shelf.store.replace_app_key(id, None, hash("new"), NOW, NOW).await.unwrap());
    assert!(!shelf.store.replace_app_scopes(id, None, ScopeSet::EMPTY).await.unwrap());
    let Live { apps, keys, .. } = shelf.store.read_live(|grant| grant).await.unwrap();
    assert!(apps.is_empty() && keys.is_empty());
}

#[tokio::test]
async fn another_users_app_is_not_touched() {
    let shelf = Shelf::new().await;
    let (ada, bob) = (shelf.put_user("ada", Role::Admin).await, shelf.put_user("bob", Role::Member).await);
    let new = shelf.app(ada, hash("key"));
    shelf.store.keep_app(&new).await.unwrap();
    let id = new.app.id;
    assert!(!shelf.store.revoke_app(id, Some(bob), NOW).await.unwrap());
    assert!(!shelf.store.replace_app_key(id, Some(bob), hash("bobs"), NOW, NOW).await.unwrap());
    assert!(!shelf.store.replace_app_scopes(id, Some(bob), ScopeSet::EMPTY).await.unwrap());
    assert!(shelf.store.find_app(id, Some(bob)).await.unwrap().is_none());
    let found = shelf.store.find_app(id, Some(ada)).await.unwrap().unwrap();
    assert_eq!((found.user_name.as_str(), found.app.scopes), ("ada", ScopeSet::of(Scope::Vehicles)));
    assert_eq!(found.keys.iter().map(|key| key.hash).collect::<Vec<_>>(), [hash("key")]);
}

#[tokio::test]
async fn an_app_is_tied_to_a_live_grant_of_its_own_user_only() {
    let shelf = Shelf::new().await;
    let (ada, bob) = (shelf.put_user("ada", Role::Admin).await, shelf.put_user("bob", Role::Member).await);
    let (bobs, ended) = (shelf.put_grant(bob).await, shelf.put_grant(ada).await);
    shelf.store.take_grant_secrets(ended).await.unwrap().unwrap();
    for grant in [bobs, ended, shelf.id()] {
        let mut new = shelf.app(ada, hash("key"));
        new.app.grant = Some(grant);
        assert_eq!(shelf.store.keep_app(&new).await.unwrap(), Made::Refused);
    }
    assert_eq!(shelf.store.keep_app(&shelf.app(shelf.id(), hash("key"))).await.unwrap(), Made::Refused, "no user");
    assert!(shelf.store.read_live(|grant| grant).await.unwrap().apps.is_empty());
}

#[tokio::test]
async fn a_page_of_apps_holds_what_its_filter_lets_through() {
    let shelf = Shelf::new().await;
    let (ada, bob) = (shelf.put_user("ada", Role::Admin).await, shelf.put_user("bob", Role::Member).await);
    let grant = shelf.put_grant(ada).await;
    for (user, scope) in [(ada, Scope::Vehicles), (ada, Scope::Controls), (bob, Scope::Vehicles)] {
        let mut new = shelf.app(user, hash(shelf.id::<()>()));
        new.app.scopes = ScopeSet::of(scope);
        shelf.store.keep_app(&new).await.unwrap();
    }
    let all = AppFilter { limit: 10, ..AppFilter::default() };
    let count = |filter: AppFilter| {
        let store = shelf.store.clone();
        async move { store.list_apps(&filter).await.unwrap().len() }
    };
    assert_eq!(count(all.clone()).await, 3);
    assert_eq!(count(AppFilter { user: Some(ada), ..all.clone() }).await, 2);
    assert_eq!(count(AppFilter { grant: Some(grant), ..all.clone() }).await, 1, "its user's, with a scope of it");
    assert_eq!(count(AppFilter { search: Some("BOB".to_owned()), ..all.clone() }).await, 1);
    assert_eq!(count(AppFilter { search: Some("%".to_owned()), ..all.clone() }).await, 0);
    let first = shelf.store.list_apps(&all).await.unwrap()[0].app.id;
    assert_eq!(count(AppFilter { after: Some(first), ..all }).await, 2);
}

#[tokio::test]
async fn the_apps_that_are_named_are_found_whosever_they_are() {
    let shelf = Shelf::new().await;
    let users = [shelf.put_user("ada", Role::Admin).await, shelf.put_user("bob", Role::Member).await];
    let mut made: Vec<_> = (0..4).map(|n| shelf.app(users[n % 2], hash(n))).collect();
    for new in &made {
        assert_eq!(shelf.store.keep_app(new).await.unwrap(), Made::Done);
    }
    made.sort_by_key(|new| new.app.id);
    let found = shelf.store.list_apps_of(&[made[2].app.id, shelf.id(), made[0].app.id]).await.unwrap();
    assert_eq!(found.iter().map(|r| r.app.id).collect::<Vec<_>>(), [made[0].app.id, made[2].app.id]);
    assert!(shelf.store.list_apps_of(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn pages_of_apps_hold_the_live_ones_first_and_of_either_the_newest_and_each_once() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    let mut all: Vec<_> = (0..9).map(|n| shelf.app(ada, hash(n))).collect();
    all.sort_by_key(|new| new.app.id);
    for (n, new) in all.iter().enumerate() {
        assert_eq!(shelf.store.keep_app(new).await.unwrap(), Made::Done);
        if n % 2 == 0 {
            assert!(shelf.store.revoke_app(new.app.id, None, NOW).await.unwrap());
        }
    }
    let mut expected: Vec<_> = all.iter().map(|new| new.app.id).enumerate().rev().collect();
    expected.sort_by_key(|(n, _)| n % 2 == 0);
    let expected: Vec<_> = expected.into_iter().map(|(_, id)| id).collect();
    for limit in 1..=9 {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let filter = AppFilter { user: Some(ada), newest_first: true, after, limit, ..AppFilter::default() };
            let page = shelf.store.list_apps(&filter).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.app.id);
            seen.extend(page.iter().map(|record| record.app.id));
        }
        assert_eq!(seen, expected, "{limit} on a page");
    }
    let live = AppFilter { live: true, newest_first: true, limit: 9, ..AppFilter::default() };
    assert_eq!(shelf.store.list_apps(&live).await.unwrap().len(), 4);
}

#[tokio::test]
async fn an_admin_key_is_found_while_it_is_live() {
    let shelf = Shelf::new().await;
    let key =
        AdminKey { id: shelf.id(), name: "ci".parse().unwrap(), created_at: NOW, last_used_at: None, revoked_at: None };
    shelf.store.keep_admin_key(&key, hash("key")).await.unwrap();
    shelf.store.touch_admin_key(key.id, NOW).await.unwrap();
    let found = shelf.store.find_admin_key(hash("key")).await.unwrap().unwrap();
    assert_eq!((found.id, found.last_used_at), (key.id, Some(NOW)));
    assert!(shelf.store.find_admin_key(hash("other")).await.unwrap().is_none());
    let id = key.id;
    let revoked = shelf.fifty(move |store, _| async move { store.revoke_admin_key(id, NOW).await.unwrap() }).await;
    assert_eq!(revoked.iter().filter(|revoked| **revoked).count(), 1);
    assert!(shelf.store.find_admin_key(hash("key")).await.unwrap().is_none());
    assert_eq!(shelf.store.list_admin_keys().await.unwrap().len(), 1);
}
