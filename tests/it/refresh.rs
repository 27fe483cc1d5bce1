//! The refresh protocol, property by property (SECURITY RF-01 to RF-08, RF-20 to RF-32).

use std::time::Duration;

use keyfob::broker::{BearerRefusal, RefreshOutcome};
use keyfob::domain::grant::{ConsentReason, GrantStatus};
use keyfob::sandbox::{Moment, RawAnswer, RefreshErrors, SandboxConfig, Times, TokenFault};

use super::refresh_world::{Called, HOUR, OK, World, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_at_expiry_make_one_token_request() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    world.clock.advance(HOUR);
    world.faults.forget_received();
    let calls = (0..1_000).map(|_| {
        let (process, key) = (process.clone(), ada.key.clone());
        tokio::spawn(async move { process.call(&key).await })
    });
    for call in futures_util::future::join_all(calls).await {
        assert_eq!(call.unwrap(), OK);
    }
    assert_eq!(world.faults.token_requests(), 1);
    assert_eq!(process.refreshes("refreshed"), 1);
    assert_eq!(process.grant(ada.grant).await.token_version, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_on_one_database_make_one_token_request() {
    let world = World::new().await;
    let first = world.process().await;
    let ada = first.connect("ada", &["vehicles"]).await;
    let (second, third) = (world.process().await, world.process().await);
    world.clock.advance(HOUR);
    world.faults.forget_received();
    world.faults.refresh(Times::Next(1), TokenFault::DelayBefore(Duration::from_millis(200)));
    let calls = (0..300).map(|n| {
        let process = [&first, &second, &third][n % 3].clone();
        let key = ada.key.clone();
        tokio::spawn(async move { process.call(&key).await })
    });
    for call in futures_util::future::join_all(calls).await {
        assert_eq!(call.unwrap(), OK);
    }
    assert_eq!(world.faults.token_requests(), 1);
}

#[tokio::test]
async fn what_somebody_else_has_refreshed_is_adopted_and_nothing_is_sent() {
    let world = World::new().await;
    let first = world.process().await;
    let ada = first.connect("ada", &["vehicles"]).await;
    let second = world.process().await;
    assert_eq!(first.broker.refresh_now(ada.grant, None).await.unwrap(), Some(RefreshOutcome::Refreshed));
    world.faults.forget_received();
    // The second process still has the dead token in memory: its call is refused, and finds the new one.
    assert_eq!(second.call(&ada.key).await, OK);
    assert_eq!(world.faults.token_requests(), 0);
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_lose_the_token() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    world.clock.advance(HOUR);
    let rotated = world.faults.reached(Moment::AfterRotate);
    let hold = world.faults.hold(Moment::BeforeAnswer);
    let (caller, key) = (process.clone(), ada.key.clone());
    let call = tokio::spawn(async move { caller.call(&key).await });
    rotated.await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    hold.release();
    until("the token is kept", async || (process.grant(ada.grant).await.token_version == 2).then_some(())).await;
    assert_eq!(process.call(&ada.key).await, OK);
    assert_eq!(world.faults.token_requests_of("refresh_token"), 1);
}

#[tokio::test]
async fn a_refresh_never_names_a_scope_and_keeps_all_that_was_granted() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles", "controls"]).await;
    let before = process.grant(ada.grant).await;
    process.broker.refresh_now(ada.grant, None).await.unwrap();
    let after = process.grant(ada.grant).await;
    assert_eq!((after.scopes_granted, after.scopes_source), (before.scopes_granted, before.scopes_source));
    assert_eq!(after.status, GrantStatus::Active);
    assert!(after.refreshed_at.is_some());
}

#[tokio::test]
async fn a_narrower_answer_is_followed() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles", "controls"]).await;
    world.faults.refresh(Times::Next(1), TokenFault::with("scope", "vehicles account"));
    process.broker.refresh_now(ada.grant, None).await.unwrap();
    // What was never asked for is not assumed either.
    assert_eq!(process.grant(ada.grant).await.scopes_granted.to_string(), "vehicles");
}

#[tokio::test]
async fn odd_answers_are_kept_and_the_next_refresh_uses_the_new_token() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    for (n, (fault, expiry_known)) in [
        (TokenFault::with("expires_in", "3600"), true),
        (TokenFault::with("expires_in", -1), false),
        (TokenFault::with("expires_in", 0), false),
        (TokenFault::with("expires_in", 1_u64 << 63), true),
        (TokenFault::without("expires_in"), false),
        (TokenFault::without("token_type"), true),
        (TokenFault::with("token_type", "bearer"), true),
        (TokenFault::with("scope", serde_json::Value::Null), true),
    ]
    .into_iter()
    .enumerate()
    {
        world.faults.refresh(Times::Next(1), fault.clone());
        let outcome = process.broker.refresh_now(ada.grant, None).await.unwrap();
        assert_eq!(outcome, Some(RefreshOutcome::Refreshed), "{fault:?}");
        let grant = process.grant(ada.grant).await;
        assert_eq!(grant.token_version, i64::try_from(n).unwrap() + 2);
        assert_eq!(grant.expires_at.is_some(), expiry_known, "{fault:?}");
        assert_eq!(process.call(&ada.key).await, OK, "{fault:?}");
    }
}

#[tokio::test]
async fn an_omitted_refresh_token_stays_as_it_was() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    for fault in [TokenFault::without("refresh_token"), TokenFault::with("refresh_token", "")] {
        world.faults.refresh(Times::Next(1), fault);
        process.broker.refresh_now(ada.grant, None).await.unwrap();
        let record = process.broker.store.find_grant(ada.grant, None).await.unwrap().unwrap();
        assert!(record.refresh_token.is_some());
    }
    // The sandbox did rotate, so the old one is dead there: it is sent all the same, and rejected.
    let outcome = process.broker.refresh_now(ada.grant, None).await.unwrap();
    assert_eq!(outcome, Some(RefreshOutcome::NeedsConsent(ConsentReason::RefreshRejected)));
}

#[tokio::test]
async fn a_new_refresh_token_is_kept_though_its_access_token_can_not_be_used() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    world.faults.refresh(Times::Next(1), TokenFault::with("access_token", "not a\r\ntoken"));
    let outcome = process.broker.refresh_now(ada.grant, None).await.unwrap();
    assert!(matches!(outcome, Some(RefreshOutcome::Postponed { .. })), "{outcome:?}");
    assert_eq!(process.grant(ada.grant).await.token_version, 2);
    let outcome = process.broker.refresh_now(ada.grant, None).await.unwrap();
    assert_eq!(outcome, Some(RefreshOutcome::Refreshed), "the next refresh uses the new one");
    assert_eq!(process.call(&ada.key).await, OK);
}

#[tokio::test]
async fn a_rejected_refresh_token_ends_in_one_honest_state_and_is_not_sent_again() {
    for (errors, fault) in
        [(RefreshErrors::League9, TokenFault::rejected()), (RefreshErrors::League8, TokenFault::rejected_by_league_8())]
    {
        let config = SandboxConfig { access_lifetime: HOUR, refresh_errors: errors, ..SandboxConfig::default() };
        let world = World::with(config, 30).await;
        let process = world.process().await;
        let ada = process.connect("ada", &["vehicles"]).await;
        world.clock.advance(HOUR);
        world.faults.forget_received();
        world.faults.refresh(Times::Always, fault);
        let reason = ConsentReason::RefreshRejected;
        assert_eq!(process.call(&ada.key).await, Called::Refused(BearerRefusal::NeedsConsent { reason }));
        let grant = process.grant(ada.grant).await;
        assert_eq!((grant.status, grant.reason), (GrantStatus::NeedsConsent, Some(reason)));
        let outcome = process.broker.refresh_now(ada.grant, None).await.unwrap();
        assert_eq!(outcome, Some(RefreshOutcome::NeedsConsent(reason)));
        assert_eq!(world.faults.token_requests(), 1, "no further token calls");
        assert_eq!(process.refreshes("rejected"), 1);
        // It leaves that state by a new consent only, and keeps its id and its app.
        world.faults.clear();
        assert_eq!(process.consent(ada.user, Some(ada.grant), &["vehicles"]).await, ada.grant);
        assert_eq!(process.call(&ada.key).await, OK);
    }
}

#[tokio::test]
async fn a_fault_of_the_registration_is_told_to_the_admin_and_not_held_against_the_grant() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    let refused = RawAnswer::new(401, "application/json", r#"{"error":"invalid_client"}"#);
    world.faults.refresh(Times::Next(1), TokenFault::Instead(refused));
    let outcome = process.broker.refresh_now(ada.grant, None).await.unwrap();
    assert!(matches!(outcome, Some(RefreshOutcome::Misconfigured(_))), "{outcome:?}");
    assert!(process.broker.registration_fault().is_some());
    assert_eq!(process.status(ada.grant).await, GrantStatus::Active);
    assert_eq!(process.call(&ada.key).await, OK);
    let outcome = process.broker.refresh_now(ada.grant, None).await.unwrap();
    assert_eq!(outcome, Some(RefreshOutcome::Refreshed), "it recovers by itself");
    assert_eq!(process.broker.registration_fault(), None);
}

#[tokio::test]
async fn an_outage_keeps_the_grant_and_its_valid_token_and_backs_off() {
    let elsewhere = World::new().await;
    for fault in [
        TokenFault::status(500),
        TokenFault::status(503),
        TokenFault::status(408),
        TokenFault::too_many(61),
        TokenFault::html(200),
        TokenFault::html(403),
        TokenFault::redirect(307, &format!("{}/oauth/token", elsewhere.sandbox.url())),
        TokenFault::redirect(302, "/login"),
    ] {
        let world = World::new().await;
        let process = world.process().await;
        let ada = process.connect("ada", &["vehicles"]).await;
        world.faults.forget_received();
        world.faults.refresh(Times::Always, fault.clone());
        let outcome = process.broker.refresh_now(ada.grant, None).await.unwrap();
        let Some(RefreshOutcome::Postponed { retry_after }) = outcome else { panic!("{fault:?}: {outcome:?}") };
        let least = if matches!(&fault, TokenFault::Instead(raw) if raw.status == 429) { 61 } else { 5 };
        assert!(retry_after >= Duration::from_secs(least), "{fault:?}: {retry_after:?}");
        assert_eq!(process.status(ada.grant).await, GrantStatus::Active);
        assert_eq!(process.call(&ada.key).await, OK, "the valid token is in use");
        // Past its expiry, calls are told at once and the provider is left in peace.
        world.clock.advance(Duration::from_secs(3_599));
        process.broker.refresh_now(ada.grant, None).await.unwrap();
        let sent = world.faults.token_requests();
        world.clock.advance(Duration::from_secs(2));
        for _ in 0..20 {
            let called = process.call(&ada.key).await;
            assert!(matches!(called, Called::Refused(BearerRefusal::RefreshUnavailable { .. })), "{called:?}");
        }
        assert_eq!(world.faults.token_requests(), sent);
        world.faults.clear();
        world.clock.advance(Duration::from_secs(200));
        assert_eq!(process.call(&ada.key).await, OK, "{fault:?}");
    }
    assert_eq!(elsewhere.faults.all_calls() + elsewhere.faults.token_requests(), 0, "no redirect was followed");
}

#[tokio::test]
async fn an_unreachable_provider_is_an_outage_too() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    // Another process, which has no connection that could break under the request.
    let other = world.process().await;
    let address = world.sandbox.addr();
    world.sandbox.stop().await;
    // Bound and not listening, so that connections are refused and no other test's sandbox gets the port.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.set_reuseaddr(true).unwrap();
    held.bind(address).unwrap();
    let outcome = other.broker.refresh_now(ada.grant, None).await.unwrap();
    assert!(matches!(outcome, Some(RefreshOutcome::Postponed { .. })), "{outcome:?}");
    assert_eq!(other.status(ada.grant).await, GrantStatus::Active);
}

#[tokio::test]
async fn calls_wait_at_the_gate_and_go_on_with_the_old_token_if_it_takes_too_long() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    // Ahead of time: the old token is not past its expiry. The token endpoint does not answer, and has not rotated.
    let hold = world.faults.hold(Moment::BeforeRotate);
    let (refresher, grant) = (process.clone(), ada.grant);
    let refresh = tokio::spawn(async move { refresher.broker.refresh_now(grant, None).await.unwrap() });
    until("it is sent", async || (world.faults.token_requests_of("refresh_token") == 1).then_some(())).await;
    assert_eq!(process.call(&ada.key).await, OK);
    assert_eq!(
        world.faults.token_requests_of("refresh_token"),
        1,
        "with the old token: nothing has come, and nothing more was sent"
    );
    hold.release();
    refresh.await.unwrap();
}

#[tokio::test]
async fn a_401_that_slips_through_is_answered_with_one_refresh_and_no_storm_follows() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    world.faults.forget_received();
    world.faults.expire_access_tokens();
    assert_eq!(process.call(&ada.key).await, OK);
    assert_eq!(world.faults.token_requests(), 1);
    // A provider that refuses every token.
    world.faults.api(Times::Always, keyfob::sandbox::CallFault::Unauthenticated);
    for _ in 0..20 {
        assert_eq!(process.call(&ada.key).await, Called::Answered(http::StatusCode::UNAUTHORIZED));
    }
    assert!(world.faults.token_requests() <= 7, "{}", world.faults.token_requests());
}

#[tokio::test]
async fn a_grant_of_other_settings_sends_nothing() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    let other = world.another_process(world.clock.clone(), "another-client").await;
    world.faults.forget_received();
    let outcome = other.broker.refresh_now(ada.grant, None).await.unwrap();
    assert_eq!(outcome, Some(RefreshOutcome::OtherProvider));
    assert_eq!(world.faults.token_requests(), 0);
    assert_eq!(process.broker.refresh_now(ada.grant, None).await.unwrap(), Some(RefreshOutcome::Refreshed));
}
