//! Grants: conditional writes, endings, listings, and the log of changes.

use keyfob::domain::grant::{ConsentReason, GrantStatus};
use keyfob::domain::scope::Scope;
use keyfob::domain::user::Role;
use keyfob::store::{Change, GrantFilter, GrantSort, GrantsAfter, NewGrant, Swap};

use crate::shelf::{NOW, Shelf, hash, tokens};

#[tokio::test]
async fn of_fifty_renewals_of_one_version_one_is_kept() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    let mut first = shelf.grant(ada);
    shelf.store.keep_grant(&first).await.unwrap();
    first.grant.token_version = 2;
    let renewals: Vec<NewGrant> =
        (0..50).map(|n| NewGrant { tokens: tokens(&format!("renewal {n}")), ..first.clone() }).collect();
    let swaps = shelf
        .fifty(|store, n| {
            let renewal = renewals[n].clone();
            async move { store.replace_tokens_by_consent(&renewal, NOW).await.unwrap() }
        })
        .await;
    assert_eq!(swaps.iter().filter(|swap| **swap == Swap::Done).count(), 1);
    assert_eq!(swaps.iter().filter(|swap| **swap == Swap::Outrun).count(), 49);
    let won = swaps.iter().position(|swap| *swap == Swap::Done).unwrap();
    let kept = shelf.store.find_grant(first.grant.id, None).await.unwrap().unwrap();
    assert_eq!(kept.grant.token_version, 2);
    assert_eq!(kept.access_token.unwrap().envelope(), format!("renewal {won} access").as_bytes(), "whole, of one");
    assert_eq!(kept.refresh_token.unwrap().envelope(), format!("renewal {won} refresh").as_bytes());
}

#[tokio::test]
async fn a_renewal_brings_back_a_grant_that_needed_its_user_and_none_that_was_ended() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    let mut new = shelf.grant(ada);
    shelf.store.keep_grant(&new).await.unwrap();
    let id = new.grant.id;
    let needed = shelf.store.replace_with_needs_consent(id, 1, ConsentReason::Revoked).await.unwrap();
    assert_eq!(needed, Swap::Done);
    new.grant.token_version = 2;
    assert_eq!(shelf.store.replace_tokens_by_consent(&new, NOW).await.unwrap(), Swap::Done);
    let kept = shelf.store.find_grant(id, Some(ada)).await.unwrap().unwrap().grant;
    assert_eq!((kept.status, kept.reason, kept.refreshed_at), (GrantStatus::Active, None, Some(NOW)));

    shelf.store.take_grant_secrets(id).await.unwrap().unwrap();
    new.grant.token_version = 3;
    assert_eq!(shelf.store.replace_tokens_by_consent(&new, NOW).await.unwrap(), Swap::Gone);
    assert_eq!(shelf.store.replace_with_needs_consent(id, 2, ConsentReason::Revoked).await.unwrap(), Swap::Gone);
    let other = shelf.grant(ada);
    assert_eq!(shelf.store.replace_tokens_by_consent(&other, NOW).await.unwrap(), Swap::Gone, "never was");
}

#[tokio::test]
async fn a_judgement_on_an_older_version_is_not_kept() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    let mut new = shelf.grant(ada);
    shelf.store.keep_grant(&new).await.unwrap();
    new.grant.token_version = 2;
    shelf.store.replace_tokens_by_consent(&new, NOW).await.unwrap();
    let id = new.grant.id;
    let judged = shelf.store.replace_with_needs_consent(id, 1, ConsentReason::RefreshRejected).await.unwrap();
    assert_eq!(judged, Swap::Outrun);
    assert_eq!(shelf.store.find_grant(id, None).await.unwrap().unwrap().grant.status, GrantStatus::Active);
}

#[tokio::test]
async fn a_grants_secrets_are_taken_by_one_of_fifty_and_are_gone() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    let id = shelf.put_grant(ada).await;
    let taken = shelf.fifty(move |store, _| async move { store.take_grant_secrets(id).await.unwrap() }).await;
    let taken: Vec<_> = taken.into_iter().flatten().collect();
    assert_eq!(taken.len(), 1);
    assert!(taken[0].data_key.is_some() && taken[0].refresh_token.is_some(), "to be revoked at the provider");
    let left = shelf.store.find_grant(id, None).await.unwrap().unwrap();
    assert_eq!(left.grant.status, GrantStatus::Disconnected);
    assert!(left.data_key.is_none() && left.access_token.is_none() && left.refresh_token.is_none());
    assert!(shelf.store.list_live_grants().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_listing_holds_what_its_filter_lets_through_those_that_need_their_user_first() {
    let shelf = Shelf::new().await;
    let (ada, bob) = (shelf.put_user("ada", Role::Admin).await, shelf.put_user("bob", Role::Member).await);
    let sound = shelf.put_grant(ada).await;
    let ill = shelf.put_grant(ada).await;
    let ended = shelf.put_grant(bob).await;
    shelf.store.replace_with_needs_consent(ill, 1, ConsentReason::Expired).await.unwrap();
    shelf.store.take_grant_secrets(ended).await.unwrap();
    shelf.store.keep_app(&shelf.app(ada, hash("key"))).await.unwrap();
    assert!(shelf.store.replace_label(sound, &"Zoë's car".parse().unwrap()).await.unwrap());
    assert!(!shelf.store.replace_label(shelf.id(), &"none".parse().unwrap()).await.unwrap());

    let all = GrantFilter { limit: 10, ..GrantFilter::default() };
    let listed = shelf.store.list_grants(&all).await.unwrap();
    assert_eq!(listed.iter().map(|one| one.grant.id).collect::<Vec<_>>(), [ill, sound, ended]);
    assert_eq!((listed[1].user_name.as_str(), listed[1].apps, listed[2].apps), ("ada", 1, 0));
    for (filter, expected) in [
        (GrantFilter { user: Some(bob), ..all.clone() }, 1),
        (GrantFilter { scope: Some(Scope::Controls), ..all.clone() }, 0),
        (GrantFilter { status: Some(GrantStatus::NeedsConsent), ..all.clone() }, 1),
        (GrantFilter { search: Some("CAR".to_owned()), ..all.clone() }, 3),
        (GrantFilter { search: Some("bob".to_owned()), ..all.clone() }, 1),
        (GrantFilter { search: Some("_".to_owned()), ..all.clone() }, 0),
    ] {
        let found = shelf.store.list_grants(&filter).await.unwrap().len();
        assert_eq!(found, expected, "{filter:?}");
        assert_eq!(shelf.store.count_grants(&filter).await.unwrap(), i64::try_from(expected).unwrap());
    }
    let page = GrantFilter { sort: GrantSort::Created, limit: 1, offset: 1, ..all };
    assert_eq!(shelf.store.list_grants(&page).await.unwrap().len(), 1);
}

#[tokio::test]
async fn pages_of_what_needs_attention_are_in_the_order_of_one_sorting_whoever_knows_what_needs_it() {
    let shelf = Shelf::new().await;
    let users = [shelf.put_user("ada", Role::Admin).await, shelf.put_user("bob", Role::Member).await];
    let mut grants = Vec::new();
    for n in 0..24 {
        let id = shelf.put_grant(users[n % 2]).await;
        if n % 5 == 0 {
            shelf.store.replace_with_needs_consent(id, 1, ConsentReason::Expired).await.unwrap();
        } else if n % 3 == 0 {
            shelf.store.take_grant_secrets(id).await.unwrap();
        }
        grants.push((id, users[n % 2], n % 5 == 0, n % 5 != 0 && n % 3 == 0));
    }
    // Memory may know better: two that are kept as sound, and one that is disconnected.
    let known = vec![grants[1].0, grants[8].0, grants[3].0];
    for (needing, user) in
        [(None, None), (None, Some(users[0])), (Some(known.clone()), None), (Some(known), Some(users[1]))]
    {
        let mut expected = grants.clone();
        expected.retain(|(_, of, ..)| user.is_none_or(|user| user == *of));
        expected.sort_by_key(|(id, _, kept, ended)| {
            let needs = needing.as_ref().map_or(*kept, |known| known.contains(id));
            (!needs, *ended, std::cmp::Reverse(*id))
        });
        let expected: Vec<_> = expected.into_iter().map(|(id, ..)| id).collect();
        for limit in [1, 5, 50] {
            let mut seen = Vec::new();
            loop {
                let offset = u32::try_from(seen.len()).unwrap();
                let page = GrantFilter { user, needing: needing.clone(), limit, offset, ..GrantFilter::default() };
                let page = shelf.store.list_grants(&page).await.unwrap();
                if page.is_empty() {
                    break;
                }
                seen.extend(page.into_iter().map(|listed| listed.grant.id));
            }
            assert_eq!(seen, expected, "{limit} on a page, of {user:?}, with {needing:?}");
        }
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_a_gap_or_a_repetition() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    let mut made = Vec::new();
    for _ in 0..7 {
        made.push(shelf.put_grant(ada).await);
    }
    made.sort();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = GrantsAfter { user: Some(ada), after, limit: 3, ..GrantsAfter::default() };
        let page = shelf.store.list_grants_after(&page).await.unwrap();
        let Some((last, name)) = page.last() else { break };
        assert_eq!(name, "ada");
        after = Some(last.id);
        seen.extend(page.into_iter().map(|(grant, _)| grant.id));
    }
    assert_eq!(seen, made);
}

#[tokio::test]
async fn the_log_of_changes_names_each_change_once_and_what_is_only_use_never() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    let since = shelf.store.revision().await.unwrap();
    assert_eq!(shelf.store.changes_since(since).await.unwrap().changes, Some(Vec::new()));
    let grant = shelf.put_grant(ada).await;
    shelf.store.replace_label(grant, &"other".parse().unwrap()).await.unwrap();
    let new = shelf.app(ada, hash("key"));
    shelf.store.keep_app(&new).await.unwrap();
    let found = shelf.store.changes_since(since).await.unwrap();
    let mut changes = found.changes.unwrap();
    changes.sort_by_key(|change| format!("{change:?}"));
    assert_eq!(changes, [Change::App(new.app.id), Change::Grant(grant)]);
    assert_eq!(shelf.store.changes_since(found.revision).await.unwrap().changes, Some(Vec::new()));

    let mut used = keyfob::domain::audit::AuditEvent::change(NOW, keyfob::domain::audit::kind::CALL, Some(ada));
    used = used.of_app(new.app.id).of_grant(grant).decided("allowed");
    used.scope = Some(Scope::Vehicles);
    shelf.store.record(&keyfob::store::AuditRow::of(&[used])).await.unwrap();
    assert_eq!(shelf.store.revision().await.unwrap(), found.revision);
    // A revision that this log never had: everything must be read again.
    assert_eq!(shelf.store.changes_since(found.revision + 10).await.unwrap().changes, None);
}
