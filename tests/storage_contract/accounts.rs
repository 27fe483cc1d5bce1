//! Accounts, sessions, invitations and single facts.

use keyfob::domain::user::{Role, User};
use keyfob::store::{KeptSession, Made, Removal, Swap};

use crate::shelf::{NOW, Shelf, hash};

fn session(id: &str, user: &User) -> KeptSession {
    KeptSession {
        id_hash: hash(id),
        user: user.id,
        data: "{}".to_owned(),
        created_at: NOW,
        expires_at: NOW.plus_millis(1_000),
    }
}

#[tokio::test]
async fn a_name_goes_to_one_of_fifty_whatever_its_case() {
    let shelf = Shelf::new().await;
    let users: Vec<User> = (0..50).map(|n| shelf.user(if n % 3 == 0 { "Ada" } else { "aDA" }, Role::Member)).collect();
    let made = shelf
        .fifty(|store, n| {
            let user = users[n].clone();
            async move { store.keep_user(&user, Some("phc")).await.unwrap() }
        })
        .await;
    assert_eq!(made.iter().filter(|made| **made == Made::Done).count(), 1);
    assert_eq!(made.iter().filter(|made| **made == Made::NameTaken).count(), 49);
    let found = shelf.store.find_password("ADA").await.unwrap().unwrap();
    assert_eq!(found.hash.as_deref(), Some("phc"));
    assert_eq!(shelf.store.find_user(found.user.id).await.unwrap().unwrap().id, found.user.id);
    assert!(shelf.store.find_user_named("bob").await.unwrap().is_none());
}

#[tokio::test]
async fn of_fifty_admins_who_remove_each_other_one_is_left() {
    for how in 0..3 {
        let shelf = Shelf::new().await;
        let mut admins = Vec::new();
        for n in 0..50 {
            admins.push(shelf.put_user(&format!("admin{n}"), Role::Admin).await);
        }
        let ids = admins.clone();
        let removed = shelf
            .fifty(move |store, n| {
                let id = ids[n];
                async move {
                    match how {
                        0 => match store.take_user(id).await.unwrap() {
                            Removal::Done(_) => Removal::Done(()),
                            Removal::Gone => Removal::Gone,
                            Removal::LastAdmin => Removal::LastAdmin,
                        },
                        1 => store.replace_role(id, Role::Member).await.unwrap(),
                        _ => store.replace_disabled(id, Some(NOW)).await.unwrap(),
                    }
                }
            })
            .await;
        assert_eq!(removed.iter().filter(|removed| **removed == Removal::LastAdmin).count(), 1, "way {how}");
        assert!(shelf.store.has_admin().await.unwrap());
    }
}

#[tokio::test]
async fn a_removed_account_leaves_nothing_of_its_own() {
    let shelf = Shelf::new().await;
    shelf.put_user("ada", Role::Admin).await;
    let bob = shelf.user("bob", Role::Member);
    shelf.store.keep_user(&bob, None).await.unwrap();
    let grant = shelf.put_grant(bob.id).await;
    let mut app = shelf.app(bob.id, hash("key"));
    app.app.grant = Some(grant);
    assert_eq!(shelf.store.keep_app(&app).await.unwrap(), Made::Done);
    shelf.store.keep_session(&session("s", &bob)).await.unwrap();
    shelf.store.keep_invitation(hash("i"), bob.id, NOW.plus_millis(1)).await.unwrap();
    assert!(matches!(shelf.store.take_user(bob.id).await.unwrap(), Removal::Done(_)));
    assert!(matches!(shelf.store.take_user(bob.id).await.unwrap(), Removal::Gone));
    assert!(shelf.store.find_grant(grant, None).await.unwrap().is_none());
    assert!(shelf.store.find_app(app.app.id, None).await.unwrap().is_none());
    assert!(shelf.store.find_session(hash("s"), NOW).await.unwrap().is_none());
    assert!(shelf.store.find_invitation(hash("i"), NOW).await.unwrap().is_none());
    assert!(shelf.store.read_live(|grant| grant).await.unwrap().keys.is_empty(), "nor its keys");
}

#[tokio::test]
async fn a_removal_gives_the_grants_as_they_last_stood_among_fifty_who_renew_them() {
    for _ in 0..10 {
        let shelf = Shelf::new().await;
        shelf.put_user("ada", Role::Admin).await;
        let bob = shelf.put_user("bob", Role::Member).await;
        let (ended, new) = (shelf.put_grant(bob).await, shelf.grant(bob));
        shelf.store.take_grant_secrets(ended).await.unwrap().unwrap();
        shelf.store.keep_grant(&new).await.unwrap();
        let (id, removal) = (new.grant.id, 25);
        let answers = shelf
            .fifty(|store, n| {
                let mut renewal = new.clone();
                async move {
                    if n == removal {
                        let Removal::Done(grants) = store.take_user(bob).await.unwrap() else { panic!("not removed") };
                        let found = grants.iter().map(|record| (record.grant.id, record.grant.token_version));
                        return (None, Some(found.collect::<Vec<_>>()));
                    }
                    renewal.grant.token_version = 2 + i64::try_from(n).unwrap();
                    let swap = store.replace_tokens_by_consent(&renewal, NOW).await.unwrap();
                    ((swap == Swap::Done).then_some(renewal.grant.token_version), None)
                }
            })
            .await;
        let newest = answers.iter().filter_map(|(kept, _)| *kept).max().unwrap_or(1);
        assert_eq!(answers[removal].1, Some(vec![(id, newest)]), "without the one that was disconnected");
    }
}

#[tokio::test]
async fn accounts_are_listed_in_the_order_of_their_making_from_after_one() {
    let shelf = Shelf::new().await;
    for n in 0..5 {
        shelf.put_user(&format!("user{n}"), Role::Member).await;
    }
    let all = shelf.store.list_users(None, 10).await.unwrap();
    assert!(all.is_sorted_by_key(|user| user.id));
    let rest = shelf.store.list_users(Some(all[1].id), 2).await.unwrap();
    assert_eq!(rest.iter().map(|user| user.id).collect::<Vec<_>>(), [all[2].id, all[3].id]);
}

#[tokio::test]
async fn a_new_password_ends_every_other_session_and_the_invitation() {
    let shelf = Shelf::new().await;
    let (ada, bob) = (shelf.user("ada", Role::Admin), shelf.user("bob", Role::Member));
    for user in [&ada, &bob] {
        shelf.store.keep_user(user, None).await.unwrap();
    }
    for (id, user) in [("kept", &ada), ("old", &ada), ("bobs", &bob)] {
        shelf.store.keep_session(&session(id, user)).await.unwrap();
    }
    shelf.store.keep_invitation(hash("i"), ada.id, NOW.plus_millis(1)).await.unwrap();
    assert!(shelf.store.replace_password(ada.id, "new", Some(hash("kept"))).await.unwrap());
    let live = |id: &str| {
        let (store, id) = (shelf.store.clone(), hash(id));
        async move { store.find_session(id, NOW).await.unwrap().is_some() }
    };
    assert!(live("kept").await && !live("old").await && live("bobs").await);
    assert!(shelf.store.find_invitation(hash("i"), NOW).await.unwrap().is_none());
    assert_eq!(shelf.store.find_password("ada").await.unwrap().unwrap().hash.as_deref(), Some("new"));
    assert!(!shelf.store.replace_password(shelf.id(), "new", None).await.unwrap());
}

#[tokio::test]
async fn a_session_ends_in_time_or_at_once_and_never_comes_back() {
    let shelf = Shelf::new().await;
    let ada = shelf.user("ada", Role::Admin);
    shelf.store.keep_user(&ada, None).await.unwrap();
    let (one, other) = (session("one", &ada), session("other", &ada));
    for session in [&one, &other] {
        shelf.store.keep_session(session).await.unwrap();
    }
    assert!(shelf.store.find_session(hash("one"), one.expires_at).await.unwrap().is_none(), "past its time");
    let moved = KeptSession { data: "{\"a\":1}".to_owned(), ..one.clone() };
    assert!(shelf.store.replace_session(&moved).await.unwrap());
    assert_eq!(shelf.store.find_session(hash("one"), NOW).await.unwrap().unwrap().data, moved.data);
    assert_eq!(shelf.store.list_sessions(ada.id, NOW).await.unwrap().len(), 2);
    shelf.store.drop_session(hash("one")).await.unwrap();
    assert!(!shelf.store.replace_session(&moved).await.unwrap(), "a late answer does not bring it back");
    shelf.store.drop_sessions(ada.id, None).await.unwrap();
    assert!(shelf.store.list_sessions(ada.id, NOW).await.unwrap().is_empty());
}

#[tokio::test]
async fn who_is_shut_out_has_no_session_and_gets_none() {
    let shelf = Shelf::new().await;
    shelf.put_user("ada", Role::Admin).await;
    let bob = shelf.user("bob", Role::Member);
    shelf.store.keep_user(&bob, None).await.unwrap();
    shelf.store.keep_session(&session("s", &bob)).await.unwrap();
    assert_eq!(shelf.store.replace_disabled(bob.id, Some(NOW)).await.unwrap(), Removal::Done(()));
    assert!(shelf.store.find_session(hash("s"), NOW).await.unwrap().is_none());
    shelf.store.keep_session(&session("s", &bob)).await.unwrap();
    assert!(shelf.store.find_session(hash("s"), NOW).await.unwrap().is_none());
    assert_eq!(shelf.store.replace_disabled(bob.id, None).await.unwrap(), Removal::Done(()));
    shelf.store.keep_session(&session("s", &bob)).await.unwrap();
    assert!(shelf.store.find_session(hash("s"), NOW).await.unwrap().is_some());
}

#[tokio::test]
async fn what_is_past_its_time_is_swept_and_nothing_else() {
    let shelf = Shelf::new().await;
    let ada = shelf.user("ada", Role::Admin);
    shelf.store.keep_user(&ada, None).await.unwrap();
    shelf.store.keep_session(&session("s", &ada)).await.unwrap();
    shelf.store.keep_invitation(hash("i"), ada.id, NOW.plus_millis(1_000)).await.unwrap();
    shelf.store.keep_authorization(&crate::once::request(ada.id, "state", NOW)).await.unwrap();
    assert_eq!(shelf.store.sweep(NOW.plus_millis(999)).await.unwrap(), 0);
    assert_eq!(shelf.store.sweep(NOW.plus_millis(1_000)).await.unwrap(), 2);
    assert_eq!(shelf.store.sweep(NOW.plus_millis(600_000)).await.unwrap(), 1);
}

#[tokio::test]
async fn a_fact_is_kept_replaced_and_dropped() {
    let shelf = Shelf::new().await;
    assert_eq!(shelf.store.find_fact("endpoints").await.unwrap(), None);
    for value in [b"one".as_slice(), b"two"] {
        shelf.store.keep_fact("endpoints", value).await.unwrap();
        assert_eq!(shelf.store.find_fact("endpoints").await.unwrap().as_deref(), Some(value));
    }
    shelf.store.drop_fact("endpoints").await.unwrap();
    assert_eq!(shelf.store.find_fact("endpoints").await.unwrap(), None);
    shelf.store.check_writable().await.unwrap();
}
