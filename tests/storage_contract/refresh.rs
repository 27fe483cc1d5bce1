//! The lease, the journal, and the writes that only the spent version allows.

use keyfob::domain::grant::{ConsentReason, GrantStatus};
use keyfob::domain::id::GrantId;
use keyfob::domain::time::Timestamp;
use keyfob::domain::user::Role;
use keyfob::store::{LeaseAnswer, ProcessId, SpendAnswer, Store, Swap, Unfinished};

use crate::shelf::{NOW, Shelf, tokens};

const ME: ProcessId = [1; 16];
const OTHER: ProcessId = [2; 16];

async fn shelf() -> (Shelf, GrantId) {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    let grant = shelf.put_grant(ada).await;
    (shelf, grant)
}

async fn spend(store: &Store, grant: GrantId, rate: u32, now: Timestamp) -> SpendAnswer {
    store.begin_spending(grant, ME, 1, rate, now, now.plus_millis(60_000)).await.unwrap()
}

#[tokio::test]
async fn a_lease_is_taken_by_one_process_of_fifty() {
    let (shelf, grant) = shelf().await;
    let taken = shelf
        .fifty(move |store, n| async move {
            let me = [u8::try_from(n).unwrap() + 1; 16];
            matches!(store.take_lease(grant, me, None).await.unwrap(), LeaseAnswer::Taken(_))
        })
        .await;
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
}

#[tokio::test]
async fn a_lease_that_stood_still_goes_to_one_of_fifty_and_one_that_beat_to_none() {
    let (shelf, grant) = shelf().await;
    assert!(matches!(shelf.store.take_lease(grant, ME, None).await.unwrap(), LeaseAnswer::Taken(_)));
    let seen = shelf.store.find_lease(grant).await.unwrap();
    assert!(shelf.store.beat(grant, ME).await.unwrap());
    assert!(matches!(shelf.store.take_lease(grant, OTHER, seen).await.unwrap(), LeaseAnswer::Held(_)));
    let seen = shelf.store.find_lease(grant).await.unwrap();
    let taken = shelf
        .fifty(move |store, n| async move {
            let me = [u8::try_from(n).unwrap() + 10; 16];
            matches!(store.take_lease(grant, me, seen).await.unwrap(), LeaseAnswer::Taken(_))
        })
        .await;
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
    assert!(!shelf.store.beat(grant, ME).await.unwrap(), "it is no longer ours");
    shelf.store.release_lease(grant, ME).await.unwrap();
    assert!(shelf.store.find_lease(grant).await.unwrap().unwrap().owner.is_some(), "nor ours to give back");
}

#[tokio::test]
async fn a_version_is_spent_by_the_holder_of_the_lease_only() {
    let (shelf, grant) = shelf().await;
    assert_eq!(spend(&shelf.store, grant, 30, NOW).await, SpendAnswer::Outrun, "no lease");
    shelf.store.take_lease(grant, ME, None).await.unwrap();
    let wrong = shelf.store.begin_spending(grant, ME, 2, 30, NOW, NOW).await.unwrap();
    assert_eq!(wrong, SpendAnswer::Outrun, "another version");
    assert_eq!(spend(&shelf.store, grant, 30, NOW).await, SpendAnswer::Begun);
    let LeaseAnswer::Taken(row) = shelf.store.take_lease(grant, ME, None).await.unwrap() else { panic!("it is ours") };
    let open = row.open.unwrap();
    assert_eq!((open.version, open.begun_at), (1, NOW));
    assert_eq!(row.record.grant.status, GrantStatus::Refreshing);
}

#[tokio::test]
async fn fifty_who_spend_at_once_never_send_more_than_the_rate() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    let mut grants = Vec::new();
    for _ in 0..50 {
        let grant = shelf.put_grant(ada).await;
        shelf.store.take_lease(grant, ME, None).await.unwrap();
        grants.push(grant);
    }
    let of = grants.clone();
    let answers = shelf
        .fifty(move |store, n| {
            let grant = of[n];
            async move { spend(&store, grant, 30, NOW).await }
        })
        .await;
    assert_eq!(answers.iter().filter(|answer| **answer == SpendAnswer::Begun).count(), 30);
    assert!(answers.iter().all(|answer| matches!(answer, SpendAnswer::Begun | SpendAnswer::Limited { wait: 60_000 })));
    // A minute later there is room again, and a clock that was put back does not shut the gate for ever.
    let limited = grants[answers.iter().position(|answer| *answer != SpendAnswer::Begun).unwrap()];
    assert_eq!(spend(&shelf.store, limited, 30, NOW.plus_millis(-3_600_000)).await, SpendAnswer::Begun);
}

#[tokio::test]
async fn of_fifty_answers_to_one_spending_one_is_kept_whoever_holds_the_lease() {
    let (shelf, grant) = shelf().await;
    shelf.store.take_lease(grant, ME, None).await.unwrap();
    spend(&shelf.store, grant, 30, NOW).await;
    let swaps = shelf
        .fifty(move |store, n| async move {
            store.replace_tokens_by_refresh(grant, 1, &tokens(&format!("answer {n}")), 0, NOW).await.unwrap()
        })
        .await;
    assert_eq!(swaps.iter().filter(|swap| **swap == Swap::Done).count(), 1);
    assert_eq!(swaps.iter().filter(|swap| **swap == Swap::Outrun).count(), 49);
    let won = swaps.iter().position(|swap| *swap == Swap::Done).unwrap();
    let LeaseAnswer::Taken(row) = shelf.store.take_lease(grant, OTHER, None).await.unwrap() else { panic!("free") };
    assert_eq!(row.record.grant.token_version, 2);
    assert_eq!(row.record.access_token.unwrap().envelope(), format!("answer {won} access").as_bytes());
    assert!(row.open.is_none(), "the journal is closed in the same step");
}

#[tokio::test]
async fn a_late_answer_is_taken_out_of_needs_consent_and_never_out_of_disconnected() {
    let (shelf, grant) = shelf().await;
    shelf.store.replace_with_needs_consent(grant, 1, ConsentReason::RotationLost).await.unwrap();
    let late = shelf.store.replace_tokens_by_refresh(grant, 1, &tokens("late"), 0, NOW).await.unwrap();
    assert_eq!(late, Swap::Done);
    let kept = shelf.store.find_grant(grant, None).await.unwrap().unwrap().grant;
    assert_eq!((kept.status, kept.reason), (GrantStatus::Active, None));
    shelf.store.take_grant_secrets(grant).await.unwrap();
    let late = shelf.store.replace_tokens_by_refresh(grant, 2, &tokens("later"), 0, NOW).await.unwrap();
    assert_eq!(late, Swap::Gone);
    assert!(shelf.store.find_grant(grant, None).await.unwrap().unwrap().access_token.is_none());
    assert!(matches!(shelf.store.take_lease(grant, ME, None).await.unwrap(), LeaseAnswer::Gone));
}

#[tokio::test]
async fn an_unfinished_refresh_leaves_the_journal_open_only_while_it_is_uncertain() {
    let (shelf, grant) = shelf().await;
    shelf.store.take_lease(grant, ME, None).await.unwrap();
    spend(&shelf.store, grant, 30, NOW).await;
    let due = Some(NOW.plus_millis(30_000));
    let left = Unfinished { status: GrantStatus::Uncertain, due_at: due, failures: 3, release: true };
    assert_eq!(shelf.store.keep_unfinished(grant, OTHER, 1, left).await.unwrap(), Swap::Outrun, "not theirs");
    assert_eq!(shelf.store.keep_unfinished(grant, ME, 1, left).await.unwrap(), Swap::Done);
    let LeaseAnswer::Taken(row) = shelf.store.take_lease(grant, OTHER, None).await.unwrap() else { panic!("free") };
    assert_eq!((row.failures, row.record.due_at), (3, due));
    assert!(row.open.is_some());
    let left = Unfinished { status: GrantStatus::Active, release: false, ..left };
    assert_eq!(shelf.store.keep_unfinished(grant, OTHER, 1, left).await.unwrap(), Swap::Done);
    let LeaseAnswer::Taken(row) = shelf.store.take_lease(grant, OTHER, None).await.unwrap() else { panic!("ours") };
    assert!(row.open.is_none());
}

#[tokio::test]
async fn what_is_due_comes_the_longest_due_first_and_can_be_put_off() {
    let shelf = Shelf::new().await;
    let ada = shelf.put_user("ada", Role::Admin).await;
    let mut due = Vec::new();
    for n in [3, 1, 2, 90] {
        let mut new = shelf.grant(ada);
        new.tokens.due_at = Some(NOW.plus_millis(n * 1_000));
        shelf.store.keep_grant(&new).await.unwrap();
        due.push((n, new.grant.id));
    }
    due.sort_unstable();
    let found = shelf.store.list_due(NOW.plus_millis(60_000), 10).await.unwrap();
    let ids: Vec<_> = found.iter().map(|due| due.id).collect();
    assert_eq!(ids, due[..3].iter().map(|(_, id)| *id).collect::<Vec<_>>());
    assert_eq!(shelf.store.list_due(NOW.plus_millis(60_000), 2).await.unwrap().len(), 2);
    shelf.store.postpone(ids[0], 2, None).await.unwrap();
    assert_eq!(shelf.store.list_due(NOW.plus_millis(60_000), 10).await.unwrap().len(), 3, "another version");
    shelf.store.postpone(ids[0], 1, None).await.unwrap();
    assert_eq!(shelf.store.list_due(NOW.plus_millis(60_000), 10).await.unwrap().len(), 2);
}
