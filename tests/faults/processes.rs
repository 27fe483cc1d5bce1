//! Several programs on one database.

use std::sync::Arc;
use std::time::Duration;

use keyfob::sandbox::{Moment, SandboxConfig};

use crate::town::{Town, within};

/// A thousand calls at once, spread over the programs, at the moment when the token is no longer taken.
async fn thousand_calls(programs: usize) {
    let town = Arc::new(Town::new(SandboxConfig::default()).await);
    let ada = town.connect().await;
    let mut serving = Vec::new();
    for _ in 0..programs {
        serving.push(town.serve().await);
    }
    let serving = Arc::new(serving);
    town.faults.forget_received();
    town.faults.expire_access_tokens();
    let calls = (0..1_000).map(|n| {
        let (town, serving, key) = (Arc::clone(&town), Arc::clone(&serving), ada.key.clone());
        tokio::spawn(async move { town.vehicles(&serving[n % programs], &key).await })
    });
    for call in futures_util::future::join_all(calls).await {
        let got = call.unwrap().unwrap();
        assert_eq!(got.status, 200, "{got:?}");
    }
    assert_eq!(town.faults.token_requests(), 1);
    println!("programs: {programs}, calls: 1000 x 200, token requests: 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_on_one_program_make_one_token_request() {
    thousand_calls(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_on_three_programs_make_one_token_request() {
    thousand_calls(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hangs_up_in_the_middle_of_a_refresh_does_not_lose_the_token() {
    let town = Town::new(SandboxConfig::default()).await;
    let ada = town.connect().await;
    let running = town.serve().await;
    town.faults.expire_access_tokens();
    town.faults.forget_received();
    let (rotated, hold) = (town.faults.reached(Moment::AfterRotate), town.faults.hold(Moment::AfterRotate));
    tokio::select! {
        () = rotated => {}
        got = town.vehicles(&running, &ada.key) => panic!("{got:?}"),
    }
    // The losing branch is dropped, and the connection with it.
    hold.release();
    let got = town.vehicles(&running, &ada.key).await.unwrap();
    assert_eq!(got.status, 200, "{got:?}");
    assert_eq!(town.faults.token_requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_takes_over_from_one_that_was_killed_in_the_middle() {
    let town = Town::new(SandboxConfig::default()).await;
    let ada = town.connect().await;
    let (mut first, second) = (town.serve().await, town.serve().await);
    town.faults.expire_access_tokens();
    let hold = town.faults.hold(Moment::BeforeRotate);
    let sent = town.faults.reached(Moment::BeforeRotate);
    tokio::select! {
        () = sent => {}
        got = town.vehicles(&first, &ada.key) => panic!("{got:?}"),
    }
    first.kill();
    drop(hold);
    // The held request rotates now, so the old token is spent: the second program finds that out and says it.
    within(Duration::from_secs(10), "the second program knows", async || {
        let got = town.vehicles(&second, &ada.key).await.unwrap();
        got.code == "needs_consent" || got.status == 200
    })
    .await;
    let grant = town.grant(ada.grant).await;
    let named = grant["reason"] == "rotation_lost" || grant["status"] == "active";
    assert!(named, "{grant} {}", town.said());
}
