//! What can be had once is had once, by whichever of fifty callers.

use keyfob::domain::authorization::AuthorizationRequest;
use keyfob::domain::grant::ConsentReason;
use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::domain::secret::Sealed;
use keyfob::domain::user::{Role, User};
use keyfob::domain::{id::UserId, time::Timestamp};
use keyfob::store::{Made, Notice, NoticeAnswer};

use crate::shelf::{NOW, Shelf, envelope, hash};

pub(crate) fn request(user: UserId, state: &str, begun_at: Timestamp) -> AuthorizationRequest {
    AuthorizationRequest {
        state_hash: hash(state),
        user,
        browser_hash: hash("browser"),
        grant: None,
        label: "car".parse().unwrap(),
        scopes: ScopeSet::of(Scope::Controls),
        verifier: Sealed::from_envelope(envelope(1, state.as_bytes())),
        redirect_uri: "http://localhost:8700/oauth/callback".to_owned(),
        return_to: Some("/".to_owned()),
        begun_at,
        expires_at: begun_at.plus_millis(600_000),
    }
}

#[tokio::test]
async fn an_authorization_is_taken_by_one_of_fifty() {
    let shelf = Shelf::new().await;
    let user = shelf.put_user("ada", Role::Admin).await;
    shelf.store.keep_authorization(&request(user, "state", NOW)).await.unwrap();
    let taken =
        shelf.fifty(|store, _| async move { store.take_authorization(hash("state")).await.unwrap().is_some() }).await;
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
}

#[tokio::test]
async fn an_authorization_is_given_as_it_was_kept_and_only_to_its_state() {
    let shelf = Shelf::new().await;
    let user = shelf.put_user("ada", Role::Admin).await;
    let kept = request(user, "state", NOW);
    shelf.store.keep_authorization(&kept).await.unwrap();
    assert!(shelf.store.take_authorization(hash("another")).await.unwrap().is_none());
    assert_eq!(shelf.store.find_open_authorization(user, NOW).await.unwrap(), Some(NOW));
    assert_eq!(shelf.store.find_open_authorization(user, kept.expires_at).await.unwrap(), None);
    let found = shelf.store.take_authorization(hash("state")).await.unwrap().unwrap();
    assert_eq!(found.verifier.envelope(), kept.verifier.envelope());
    assert_eq!((found.user, found.scopes, found.expires_at), (kept.user, kept.scopes, kept.expires_at));
    assert_eq!((found.redirect_uri, found.return_to), (kept.redirect_uri, kept.return_to));
}

#[tokio::test]
async fn the_twenty_newest_requests_of_a_user_stay() {
    let shelf = Shelf::new().await;
    let (ada, bob) = (shelf.put_user("ada", Role::Admin).await, shelf.put_user("bob", Role::Member).await);
    shelf.store.keep_authorization(&request(bob, "bobs", NOW)).await.unwrap();
    for n in 0..25_i64 {
        shelf.store.keep_authorization(&request(ada, &format!("{n}"), NOW.plus_millis(n))).await.unwrap();
    }
    for n in 0..25 {
        let found = shelf.store.take_authorization(hash(n)).await.unwrap();
        assert_eq!(found.is_some(), n >= 5, "{n}");
    }
    assert!(shelf.store.take_authorization(hash("bobs")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_setup_token_makes_one_admin_of_fifty_and_is_spent_with_all_others() {
    let shelf = Shelf::new().await;
    assert!(shelf.store.keep_setup_token(hash("another start's"), NOW).await.unwrap());
    assert!(shelf.store.keep_setup_token(hash("token"), NOW).await.unwrap());
    let admins: Vec<User> = (0..50).map(|n| shelf.user(&format!("admin{n}"), Role::Admin)).collect();
    let made = shelf
        .fifty(|store, n| {
            let admin = admins[n].clone();
            async move { store.take_setup_token(hash("token"), &admin, "phc").await.unwrap() }
        })
        .await;
    assert_eq!(made.iter().filter(|made| **made == Made::Done).count(), 1);
    assert_eq!(made.iter().filter(|made| **made == Made::Refused).count(), 49);
    assert_eq!(shelf.store.list_users(None, 100).await.unwrap().len(), 1);
    for token in ["token", "another start's"] {
        assert!(!shelf.store.find_setup_token(hash(token)).await.unwrap());
    }
    assert!(!shelf.store.keep_setup_token(hash("late"), NOW).await.unwrap(), "there is an admin");
}

#[tokio::test]
async fn of_fifty_who_use_one_invitation_one_sets_the_password() {
    let shelf = Shelf::new().await;
    let ada = shelf.user("ada", Role::Member);
    assert_eq!(shelf.store.keep_user(&ada, None).await.unwrap(), Made::Done);
    shelf.store.keep_invitation(hash("link"), ada.id, NOW.plus_millis(9)).await.unwrap();
    let taken = shelf
        .fifty(|store, n| async move { store.take_invitation(hash("link"), NOW, &format!("phc {n}")).await.unwrap() })
        .await;
    assert_eq!(taken.iter().flatten().count(), 1);
    let winner = taken.iter().position(Option::is_some).unwrap();
    let kept = shelf.store.find_password("ada").await.unwrap().unwrap().hash;
    assert_eq!(kept, Some(format!("phc {winner}")));
    shelf.store.keep_invitation(hash("late"), ada.id, NOW).await.unwrap();
    assert_eq!(shelf.store.take_invitation(hash("late"), NOW, "phc").await.unwrap(), None, "it is past its time");
}

#[tokio::test]
async fn only_the_setup_token_of_the_newest_start_holds() {
    let shelf = Shelf::new().await;
    for n in 0..6_i64 {
        shelf.store.keep_setup_token(hash(n), NOW.plus_millis(n)).await.unwrap();
    }
    for n in 0..6 {
        assert_eq!(shelf.store.find_setup_token(hash(n)).await.unwrap(), n == 5, "{n}");
    }
    let admin = shelf.user("ada", Role::Admin);
    assert_eq!(shelf.store.take_setup_token(hash(0), &admin, "phc").await.unwrap(), Made::Refused);
}

#[tokio::test]
async fn the_first_canary_of_fifty_stands_for_all() {
    let shelf = Shelf::new().await;
    let kept = shelf
        .fifty(|store, n| async move {
            let canary = Sealed::from_envelope(envelope(1, &[u8::try_from(n).unwrap()]));
            store.keep_canary(&canary).await.unwrap().envelope().to_vec()
        })
        .await;
    assert!(kept.iter().all(|canary| *canary == kept[0]));
}

#[tokio::test]
async fn a_notice_is_claimed_by_one_of_fifty_until_the_claim_is_over() {
    let shelf = Shelf::new().await;
    let user = shelf.put_user("ada", Role::Admin).await;
    let grant = shelf.put_grant(user).await;
    let notice = Notice { grant, version: 1, reason: ConsentReason::Revoked };
    let until = NOW.plus_millis(1_000);
    let claims =
        shelf.fifty(move |store, _| async move { store.claim_notice(notice, NOW, until).await.unwrap() }).await;
    assert_eq!(claims.iter().filter(|claim| matches!(claim, NoticeAnswer::Ours(_))).count(), 1);
    let after = until.plus_millis(1_000);
    assert!(
        matches!(shelf.store.claim_notice(notice, until, after).await.unwrap(), NoticeAnswer::Ours(claim) if claim.attempts == 2)
    );
    shelf.store.record_notice(notice, 1, None).await.unwrap();
    assert_eq!(shelf.store.claim_notice(notice, after, after).await.unwrap(), NoticeAnswer::Settled);
    // Memory that lags behind the database tells of nothing that is over.
    let stale = Notice { version: 2, ..notice };
    assert_eq!(shelf.store.claim_notice(stale, after, after).await.unwrap(), NoticeAnswer::Outrun);
}
