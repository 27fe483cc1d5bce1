//! Databases that do not take what must be kept, processes that are gone, and much that is due.

use std::time::Duration;

use keyfob::broker::{BearerRefusal, RefreshOutcome};
use keyfob::domain::grant::{ConsentReason, GrantStatus};
use keyfob::sandbox::{Moment, SandboxConfig, Times, TokenFault};
use keyfob::store::{LeaseAnswer, ProcessId, SpendAnswer};
use keyfob::telemetry::Trouble;
use sqlx::{Connection as _, SqliteConnection};

use super::refresh_world::{Called, HOUR, OK, TIMEOUT, World, until};

const GONE: ProcessId = [9; 16];

/// A writer of another program's that does not let go.
async fn lock(world: &World) -> SqliteConnection {
    let address = format!("sqlite://{}", world.database().display());
    let mut other = SqliteConnection::connect(&address).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    other
}

fn spill_files(world: &World) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(world.directory.path()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains(".spill-")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_the_database_does_not_take_are_used_spilled_and_healed() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    process.broker.refresh_now(ada.grant, None).await.unwrap();
    let [own] = &spill_files(&world)[..] else { panic!("one file") };
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(own).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let length = std::fs::metadata(own).unwrap().len();

    let hold = world.faults.hold(Moment::AfterRotate);
    let rotated = world.faults.reached(Moment::AfterRotate);
    let (refresher, grant) = (process.clone(), ada.grant);
    let refresh = tokio::spawn(async move { refresher.broker.refresh_now(grant, None).await.unwrap() });
    rotated.await;
    let mut writer = lock(&world).await;
    hold.release();
    assert_eq!(refresh.await.unwrap(), Some(RefreshOutcome::Refreshed), "it goes on before the database does");
    until("the file holds it", async || std::fs::read(own).unwrap().starts_with(b"{").then_some(())).await;
    assert!(process.broker.health.has(Trouble::Spill));
    assert_eq!(process.grant(ada.grant).await.token_version, 2, "the database lags behind");
    assert_eq!(process.call(&ada.key).await, OK, "with the new token, from memory");
    assert_eq!(std::fs::metadata(own).unwrap().len(), length, "its space was set aside");
    assert!(!String::from_utf8_lossy(&std::fs::read(own).unwrap()).contains("eyJ"), "sealed");
    // Nothing is sent with the token that is spent, whoever asks.
    let sent = world.faults.token_requests();
    process.broker.refresh_now(ada.grant, None).await.unwrap();
    assert_eq!(world.faults.token_requests(), sent);

    sqlx::query("ROLLBACK").execute(&mut writer).await.unwrap();
    until("it is kept", async || (process.grant(ada.grant).await.token_version == 3).then_some(())).await;
    until("it is healed", async || (!process.broker.health.has(Trouble::Spill)).then_some(())).await;
    assert!(std::fs::read(own).unwrap().iter().all(|b| *b == 0), "the file is empty again");
    assert_eq!(process.broker.refresh_now(ada.grant, None).await.unwrap(), Some(RefreshOutcome::Refreshed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_journal_row_nothing_is_sent() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    world.faults.forget_received();
    let writer = lock(&world).await;
    assert_eq!(process.broker.refresh_now(ada.grant, None).await.unwrap(), Some(RefreshOutcome::StorageUnavailable));
    assert_eq!(process.call(&ada.key).await, OK, "the valid token is in use");
    assert_eq!(world.faults.token_requests(), 0);
    drop(writer);
}

#[tokio::test]
async fn spilled_tokens_of_a_process_that_is_gone_are_taken_in_at_the_next_start() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    // What a kill leaves: the new tokens in the spill file, the old ones in the database.
    process.broker.refresh_now(ada.grant, None).await.unwrap();
    let kept = process.broker.store.find_grant(ada.grant, None).await.unwrap().unwrap();
    let text = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD_NO_PAD, bytes);
    let line = serde_json::json!({
        "grant": ada.grant.to_string(),
        "spent": 1,
        "access_token": text(kept.access_token.unwrap().envelope()),
        "refresh_token": text(kept.refresh_token.unwrap().envelope()),
        "scopes": kept.grant.scopes_granted.bits(),
        "scopes_source": kept.grant.scopes_source.as_str(),
        "expires_at": kept.grant.expires_at.map(keyfob::domain::time::Timestamp::millis),
        "due_at": null,
        "provider_account": null,
    });
    let path = format!("{}.spill-{:032x}", world.database().display(), u128::from_be_bytes(GONE));
    std::fs::write(&path, format!("{line}\n\0\0\0")).unwrap();
    let address = format!("sqlite://{}", world.database().display());
    let mut other = SqliteConnection::connect(&address).await.unwrap();
    sqlx::query("UPDATE grants SET token_version = 1, access_token = x'00', status = 'refreshing'")
        .execute(&mut other)
        .await
        .unwrap();

    let next = world.process().await;
    assert!(!std::path::Path::new(&path).exists());
    assert_eq!((next.status(ada.grant).await, next.grant(ada.grant).await.token_version), (GrantStatus::Active, 2));
    assert_eq!(next.call(&ada.key).await, OK);
}

#[tokio::test]
async fn a_refresh_of_a_process_that_is_gone_is_named_and_found_out_about() {
    for rotated in [false, true] {
        let world = World::new().await;
        let process = world.process().await;
        let ada = process.connect("ada", &["vehicles"]).await;
        let (store, now) = (&process.broker.store, world.clock.now());
        assert!(matches!(store.take_lease(ada.grant, GONE, None).await.unwrap(), LeaseAnswer::Taken(_)));
        let begun = store.begin_spending(ada.grant, GONE, 1, 30, now, now).await.unwrap();
        assert_eq!(begun, SpendAnswer::Begun);
        if rotated {
            world.faults.revoke_account_tokens(1);
        }
        let next = world.process().await;
        assert_eq!(next.status(ada.grant).await, GrantStatus::Refreshing);
        world.faults.forget_received();
        let called = next.call(&ada.key).await;
        if rotated {
            let reason = ConsentReason::RotationLost;
            assert_eq!(called, Called::Refused(BearerRefusal::NeedsConsent { reason }));
            assert_eq!(world.faults.token_requests(), 1);
        } else {
            assert_eq!(called, OK);
            assert_eq!(next.status(ada.grant).await, GrantStatus::Uncertain);
            assert_eq!(world.faults.token_requests(), 0, "nothing is replayed silently");
            world.clock.advance(TIMEOUT * 2);
            next.broker.refresh_now(ada.grant, None).await.unwrap();
            assert_eq!(next.status(ada.grant).await, GrantStatus::Active);
        }
    }
}

#[tokio::test]
async fn a_lease_is_taken_over_when_its_beat_has_stood_still_for_fifteen_seconds() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    let store = process.broker.store.clone();
    store.take_lease(ada.grant, GONE, None).await.unwrap();
    // Its owner lives, as its lock says, and stands still.
    let path = format!("{}.spill-{:032x}", world.database().display(), u128::from_be_bytes(GONE));
    let file = std::fs::File::create(&path).unwrap();
    file.lock().unwrap();
    let begun = world.clock.now();
    let (refresher, grant) = (process.clone(), ada.grant);
    let refresh = tokio::spawn(async move { refresher.broker.refresh_now(grant, None).await.unwrap() });
    // However often it looks, fifteen seconds must pass by its own clock first.
    until("it is taken over", async || {
        let beats = store.find_lease(ada.grant).await.unwrap().unwrap().owner == Some(GONE);
        assert!(!(beats && refresh.is_finished()), "it went on without the lease");
        world.clock.advance(Duration::from_secs(1));
        refresh.is_finished().then_some(())
    })
    .await;
    assert_eq!(refresh.await.unwrap(), Some(RefreshOutcome::Refreshed));
    assert!(!store.beat(ada.grant, GONE).await.unwrap());
    let taken = process.grant(ada.grant).await.refreshed_at.unwrap();
    assert!(taken.since(begun) >= Duration::from_secs(15), "after {:?}", taken.since(begun));
}

#[tokio::test]
async fn what_is_due_is_refreshed_ahead_of_time_spread_out_and_never_above_the_rate() {
    let config = SandboxConfig { access_lifetime: HOUR, token_rate: None, ..SandboxConfig::default() };
    let world = World::with(config, 30).await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    for _ in 0..9 {
        process.consent(ada.user, None, &["vehicles"]).await;
    }
    world.faults.forget_received();
    // One of them is due, so that a look at the schedule can be told.
    let store = process.broker.store.clone();
    store.postpone(ada.grant, 1, Some(world.clock.now())).await.unwrap();
    let schedule = tokio::spawn(process.broker.clone().run_refreshes());
    until("the one that is due is refreshed", async || {
        (process.grant(ada.grant).await.token_version == 2).then_some(())
    })
    .await;
    assert_eq!(world.faults.token_requests(), 1, "no other is due yet");
    world.clock.advance(Duration::from_secs(3_400));
    for sent in 2..=11 {
        until("one more is sent", async || (world.faults.token_requests() >= sent).then_some(())).await;
        assert_eq!(world.faults.token_requests(), sent, "one in two seconds");
        world.clock.advance(Duration::from_secs(2));
    }
    until("all are refreshed", async || {
        let due = store.list_due(world.clock.now(), 64).await.unwrap();
        (due.is_empty() && world.faults.token_requests() == 11).then_some(())
    })
    .await;
    schedule.abort();
}

#[tokio::test]
async fn all_processes_together_stay_under_the_rate() {
    let config = SandboxConfig { access_lifetime: HOUR, token_rate: None, ..SandboxConfig::default() };
    let world = World::with(config, 4).await;
    let (first, second) = (world.process().await, world.process().await);
    let ada = first.connect("ada", &["vehicles"]).await;
    world.faults.forget_received();
    for n in 0..4 {
        let process = if n % 2 == 0 { &first } else { &second };
        assert_eq!(process.broker.refresh_now(ada.grant, None).await.unwrap(), Some(RefreshOutcome::Refreshed));
    }
    let (late, grant) = (second.clone(), ada.grant);
    let waiting = tokio::spawn(async move { late.broker.refresh_now(grant, None).await.unwrap() });
    until("it has the lease", async || {
        second.broker.store.find_lease(ada.grant).await.unwrap().unwrap().owner.map(drop)
    })
    .await;
    let early = world.clock.now();
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(waiting.await.unwrap(), Some(RefreshOutcome::Refreshed));
    // The clock stands still but for that minute, so that this tells when it was sent.
    assert!(second.grant(ada.grant).await.refreshed_at.unwrap() > early);
}

#[tokio::test]
async fn a_token_that_nothing_can_renew_is_condemned_by_a_probe_and_not_by_one_401() {
    use keyfob::broker::PastedWish;
    use keyfob::domain::grant::GrantKind;
    use keyfob::domain::scope::{Scope, ScopeSet};
    use keyfob::domain::secret::Secret;
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    process.broker.disconnect(ada.grant, None).await.unwrap();
    let scopes = ScopeSet::of(Scope::Vehicles);
    let secret = Secret::new(world.sandbox.issue_personal_access_token(1, scopes));
    let kind = GrantKind::PersonalAccessToken;
    let wish = PastedWish { user: ada.user, kind, scopes, label: "Pasted".to_owned(), secret };
    let (grant, _) = process.broker.add_pasted_token(wish).await.unwrap();
    world.faults.forget_received();
    let refused = keyfob::sandbox::CallFault::Unauthenticated;
    world.faults.api_path(Times::Next(5), "/api/vehicles", refused);
    for _ in 0..5 {
        assert_eq!(process.call(&ada.key).await, Called::Answered(http::StatusCode::UNAUTHORIZED));
    }
    assert_eq!(world.faults.calls("/api/account"), 1, "one probe a minute");
    assert_eq!(process.status(grant.id).await, GrantStatus::Active);
    world.clock.advance(Duration::from_secs(61));
    world.faults.revoke_account_tokens(1);
    process.call(&ada.key).await;
    let found = process.grant(grant.id).await;
    assert_eq!((found.status, found.reason), (GrantStatus::NeedsConsent, Some(ConsentReason::Revoked)));
}

#[tokio::test]
async fn tokens_that_were_moved_to_another_grant_do_not_open_and_go_nowhere() {
    let world = World::new().await;
    let first = world.process().await;
    let (ada, bob) = (first.connect("ada", &["vehicles"]).await, first.connect("bob", &["vehicles"]).await);
    let eve = first.connect("eve", &["vehicles"]).await;
    let address = format!("sqlite://{}", world.database().display());
    let mut other = SqliteConnection::connect(&address).await.unwrap();
    // With the key that they are sealed under, so that only their place is another.
    let moved = "UPDATE grants SET (data_key, access_token, refresh_token) = \
                 (SELECT data_key, access_token, refresh_token FROM grants g WHERE g.id = $1) WHERE id = $2";
    let (from, to) = (ada.grant.as_bytes().as_slice(), bob.grant.as_bytes().as_slice());
    sqlx::query(moved).bind(from).bind(to).execute(&mut other).await.unwrap();

    let next = world.process().await;
    world.faults.forget_received();
    assert_eq!(next.call(&bob.key).await, Called::Refused(BearerRefusal::Unreadable));
    assert_eq!(next.broker.refresh_now(bob.grant, None).await.unwrap(), Some(RefreshOutcome::Unreadable));
    assert_eq!(world.faults.all_calls() + world.faults.token_requests(), 0, "the provider hears nothing");
    assert!(!next.broker.verify_keys().await.unwrap().ok);
    for other in [ada, eve] {
        assert_eq!(next.call(&other.key).await, OK, "others go on");
    }
}

#[tokio::test]
async fn no_token_is_found_in_the_data_directory() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    for fault in [TokenFault::DropBefore, TokenFault::Echo(500), TokenFault::TruncatedJson] {
        world.faults.refresh(Times::Next(1), fault);
        process.broker.refresh_now(ada.grant, None).await.unwrap();
        world.clock.advance(HOUR);
    }
    let bytes = world.bytes();
    for sign in ["eyJ0eXAi", "def502", "CANARY"] {
        assert!(!bytes.windows(sign.len()).any(|window| window == sign.as_bytes()), "{sign}");
    }
}
