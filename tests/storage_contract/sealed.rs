//! What is sealed under which master key.

use keyfob::domain::secret::Sealed;
use keyfob::domain::user::Role;
use keyfob::store::{Resealed, SealedUnder};

use crate::once::request;
use crate::shelf::{NOW, Shelf, envelope};

const OLD: [u8; 4] = [0, 0, 0, 1];
const NEW: [u8; 4] = [0, 0, 0, 2];

async fn under(shelf: &Shelf, key: [u8; 4]) -> SealedUnder {
    let counts = shelf.store.count_sealed().await.unwrap();
    counts.into_iter().find(|under| under.key == key).unwrap_or_default()
}

#[tokio::test]
async fn what_is_sealed_is_counted_by_the_key_in_its_envelope() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    for _ in 0..3 {
        shelf.put_grant(ada).await;
    }
    let ended = shelf.put_grant(ada).await;
    shelf.store.take_grant_secrets(ended).await.unwrap();
    shelf.store.keep_authorization(&request(ada, "state", NOW)).await.unwrap();
    shelf.store.keep_canary(&Sealed::from_envelope(envelope(2, b"canary"))).await.unwrap();
    assert_eq!(under(&shelf, OLD).await, SealedUnder { key: OLD, data_keys: 3, verifiers: 1, canary: false });
    assert_eq!(under(&shelf, NEW).await, SealedUnder { key: NEW, data_keys: 0, verifiers: 0, canary: true });
}

#[tokio::test]
async fn a_data_key_is_replaced_once_of_fifty_and_not_after_its_grant_has_another() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    let grant = shelf.put_grant(ada).await;
    let page = shelf.store.list_data_keys_not_under(NEW, None, 10).await.unwrap();
    let (id, before) = page.into_iter().next().unwrap();
    assert_eq!(id, grant);
    let revision = shelf.store.revision().await.unwrap();
    let replaced = shelf
        .fifty(|store, n| {
            let after = Sealed::from_envelope(envelope(2, &[u8::try_from(n).unwrap()]));
            let one = Resealed { row: grant, before: before.clone(), after };
            async move { store.replace_data_keys(&[one]).await.unwrap() }
        })
        .await;
    assert_eq!(replaced.iter().sum::<u64>(), 1);
    assert_eq!(under(&shelf, NEW).await.data_keys, 1);
    assert!(shelf.store.list_data_keys_not_under(NEW, None, 10).await.unwrap().is_empty());
    assert_eq!(shelf.store.revision().await.unwrap(), revision, "nobody has to read the grant again");

    shelf.store.take_grant_secrets(grant).await.unwrap();
    let one = Resealed { row: grant, before, after: Sealed::from_envelope(envelope(2, b"late")) };
    assert_eq!(shelf.store.replace_data_keys(&[one]).await.unwrap(), 0, "none is brought back");
}

#[tokio::test]
async fn data_keys_come_page_by_page_in_the_order_of_their_grants() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    for _ in 0..5 {
        shelf.put_grant(ada).await;
    }
    let first = shelf.store.list_data_keys_not_under(NEW, None, 3).await.unwrap();
    let rest = shelf.store.list_data_keys_not_under(NEW, Some(first[2].0), 3).await.unwrap();
    let ids: Vec<_> = first.iter().chain(&rest).map(|(id, _)| *id).collect();
    assert!(ids.len() == 5 && ids.is_sorted());
    assert!(shelf.store.list_data_keys_not_under(OLD, None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_canary_and_a_verifier_are_replaced_only_by_what_was_made_from_them() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    let (before, after) =
        (Sealed::from_envelope(envelope(1, b"canary")), Sealed::from_envelope(envelope(2, b"canary")));
    shelf.store.keep_canary(&before).await.unwrap();
    assert!(!shelf.store.replace_canary(&after, &before).await.unwrap());
    assert!(shelf.store.replace_canary(&before, &after).await.unwrap());
    assert_eq!(shelf.store.find_canary().await.unwrap().unwrap().envelope(), after.envelope());

    shelf.store.keep_authorization(&request(ada, "state", NOW)).await.unwrap();
    let (state, verifier) = shelf.store.list_verifiers_not_under(NEW).await.unwrap().remove(0);
    let anew = Sealed::from_envelope(envelope(2, b"state"));
    let one = Resealed { row: state, before: verifier, after: anew };
    assert_eq!(shelf.store.replace_verifiers(&[one]).await.unwrap(), 1);
    let taken = shelf.store.take_authorization(state).await.unwrap().unwrap();
    assert_eq!(taken.verifier.envelope(), envelope(2, b"state"));
}

#[tokio::test]
async fn a_key_that_something_needs_is_not_retired() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    let grant = shelf.put_grant(ada).await;
    assert!(!shelf.store.retire_master_keys(&[OLD], NOW).await.unwrap());
    shelf.store.take_grant_secrets(grant).await.unwrap();
    shelf.store.keep_authorization(&request(ada, "state", NOW)).await.unwrap();
    assert!(!shelf.store.retire_master_keys(&[OLD], NOW).await.unwrap());
    shelf.store.take_authorization(crate::shelf::hash("state")).await.unwrap();
    shelf.store.keep_canary(&Sealed::from_envelope(envelope(1, b"canary"))).await.unwrap();
    assert!(!shelf.store.retire_master_keys(&[NEW, OLD], NOW).await.unwrap());
    shelf.put_grant(ada).await;
}

#[tokio::test]
async fn fifty_who_keep_something_while_its_key_is_retired_are_refused_or_hold_the_retirement_up() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    let news: Vec<_> = (0..50).map(|_| shelf.grant(ada)).collect();
    let kept = shelf
        .fifty(|store, n| {
            let new = news[n].clone();
            async move {
                if n % 10 == 5 {
                    Err(store.retire_master_keys(&[OLD], NOW).await.unwrap())
                } else {
                    Ok(store.keep_grant(&new).await.is_ok())
                }
            }
        })
        .await;
    let retired = kept.contains(&Err(true));
    let in_database = shelf.store.list_live_grants().await.unwrap().len();
    assert_eq!(in_database, kept.iter().filter(|answer| **answer == Ok(true)).count());
    assert_ne!(retired, in_database > 0, "either nothing is sealed under it, or it is not retired");

    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    assert!(shelf.store.retire_master_keys(&[OLD], NOW).await.unwrap());
    let mut late = shelf.grant(ada);
    assert!(shelf.store.keep_grant(&late).await.is_err());
    assert!(shelf.store.keep_authorization(&request(ada, "state", NOW)).await.is_err());
    late.data_key = Sealed::from_envelope(envelope(2, b"key"));
    shelf.store.keep_grant(&late).await.unwrap();
    let renewal = keyfob::store::NewGrant { data_key: Sealed::from_envelope(envelope(1, b"key")), ..late.clone() };
    assert!(shelf.store.replace_tokens_by_consent(&higher(renewal), NOW).await.is_err());
    shelf.store.unretire_master_key(OLD).await.unwrap();
    shelf.put_grant(ada).await;
}

fn higher(mut renewal: keyfob::store::NewGrant) -> keyfob::store::NewGrant {
    renewal.grant.token_version += 1;
    renewal
}
