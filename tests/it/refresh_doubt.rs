//! Refreshes whose answer is lost or comes late.

use std::time::Duration;

use keyfob::broker::{AuditFilter, BearerRefusal, CompleteError, RefreshOutcome};
use keyfob::domain::grant::{ConsentReason, Grant, GrantStatus};
use keyfob::domain::user::Role;
use keyfob::sandbox::{Moment, RawAnswer, SandboxConfig, Times, TokenFault};
use keyfob::store::{NewGrant, Swap};
use sqlx::{Connection as _, SqliteConnection};

use super::refresh_world::{Called, HOUR, OK, TIMEOUT, World, until};
use super::sealed::sealed;

#[tokio::test]
async fn an_uncertain_refresh_that_did_not_rotate_goes_on_and_is_sent_again_later() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    world.faults.forget_received();
    world.faults.refresh(Times::Next(1), TokenFault::DropBefore);
    let outcome = process.broker.refresh_now(ada.grant, None).await.unwrap();
    assert_eq!(outcome, Some(RefreshOutcome::Uncertain));
    assert_eq!(process.status(ada.grant).await, GrantStatus::Uncertain);
    assert_eq!(world.faults.calls("/api/account"), 1, "one cheap call");
    assert_eq!(process.call(&ada.key).await, OK, "calls go on at once");
    // Not before the token time-out has passed once more.
    assert_eq!(process.broker.refresh_now(ada.grant, None).await.unwrap(), Some(RefreshOutcome::Uncertain));
    assert_eq!(world.faults.token_requests(), 1);
    world.clock.advance(Duration::from_secs(10) + TIMEOUT);
    assert_eq!(process.broker.refresh_now(ada.grant, None).await.unwrap(), Some(RefreshOutcome::Refreshed));
    assert_eq!(process.status(ada.grant).await, GrantStatus::Active);
    assert_eq!(process.call(&ada.key).await, OK);
}

#[tokio::test]
async fn a_lost_answer_after_a_rotation_is_named_as_such() {
    for fault in [
        TokenFault::DropAfter,
        TokenFault::TruncatedJson,
        TokenFault::After(RawAnswer::new(200, "application/json", "")),
        TokenFault::DelayAfter(TIMEOUT * 3),
    ] {
        let world = World::new().await;
        let process = world.process().await;
        let ada = process.connect("ada", &["vehicles"]).await;
        world.faults.forget_received();
        world.faults.refresh(Times::Next(1), fault.clone());
        let outcome = process.broker.refresh_now(ada.grant, None).await.unwrap();
        let lost = ConsentReason::RotationLost;
        assert_eq!(outcome, Some(RefreshOutcome::NeedsConsent(lost)), "{fault:?}");
        let grant = process.grant(ada.grant).await;
        assert_eq!((grant.status, grant.reason), (GrantStatus::NeedsConsent, Some(lost)));
        assert_eq!(world.faults.token_requests(), 2, "the refresh, and the one that decides");
        assert_eq!((process.refreshes("uncertain"), process.refreshes("rejected")), (1, 1));
    }
}

#[tokio::test]
async fn an_uncertain_grant_past_its_expiry_waits_before_it_is_decided() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    world.clock.advance(HOUR);
    world.faults.forget_received();
    world.faults.refresh(Times::Next(1), TokenFault::DropBefore);
    let called = process.call(&ada.key).await;
    assert!(matches!(called, Called::Refused(BearerRefusal::RefreshUnavailable { .. })), "{called:?}");
    assert_eq!(world.faults.token_requests(), 1, "the old token tells nothing, so the first request is given its time");
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(process.call(&ada.key).await, OK);
    assert_eq!(world.faults.token_requests(), 2);
}

#[tokio::test]
async fn a_disconnected_grant_is_not_brought_back_by_a_late_answer() {
    for (offered, dead) in [(true, true), (false, false)] {
        let config = SandboxConfig { access_lifetime: HOUR, revoke_endpoint: offered, ..SandboxConfig::default() };
        let world = World::with(config, 30).await;
        let process = world.process().await;
        let ada = process.connect("ada", &["vehicles"]).await;
        let rotated = world.faults.reached(Moment::AfterRotate);
        let hold = world.faults.hold(Moment::BeforeAnswer);
        let (refresher, grant) = (process.clone(), ada.grant);
        let refresh = tokio::spawn(async move { refresher.broker.refresh_now(grant, None).await.unwrap() });
        rotated.await;
        process.broker.disconnect(ada.grant, None).await.unwrap().unwrap();
        hold.release();
        assert_eq!(refresh.await.unwrap(), Some(RefreshOutcome::Gone));
        assert_eq!(process.status(ada.grant).await, GrantStatus::Disconnected);
        let record = process.broker.store.find_grant(ada.grant, None).await.unwrap().unwrap();
        assert!(record.access_token.is_none() && record.refresh_token.is_none());
        assert_eq!(world.faults.tokens_alive(1).refresh == 0, dead, "the fresh token is revoked where that is offered");
    }
}

#[tokio::test]
async fn removing_a_user_revokes_their_tokens_where_that_is_offered() {
    for (offered, dead) in [(true, true), (false, false)] {
        let config = SandboxConfig { access_lifetime: HOUR, revoke_endpoint: offered, ..SandboxConfig::default() };
        let world = World::with(config, 30).await;
        let process = world.process().await;
        let ada = process.connect("ada", &["vehicles"]).await;
        process.broker.add_user("grace", Role::Admin, None).await.unwrap();
        process.broker.remove_user(ada.user).await.unwrap();
        assert!(process.broker.store.find_grant(ada.grant, None).await.unwrap().is_none());
        let alive = world.faults.tokens_alive(1);
        assert_eq!((alive.access == 0, alive.refresh == 0), (dead, dead));
    }
}

#[tokio::test]
async fn a_refresh_that_is_kept_while_its_user_is_removed_leaves_no_token_alive() {
    let config = SandboxConfig { access_lifetime: HOUR, revoke_endpoint: true, ..SandboxConfig::default() };
    let world = World::with(config, 30).await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    process.broker.add_user("grace", Role::Admin, None).await.unwrap();
    // What another process keeps: the row as it is after a refresh, committed only once the removal waits for the database.
    let address = format!("sqlite://{}", world.database().display());
    let mut other = SqliteConnection::connect(&address).await.unwrap();
    sqlx::raw_sql("CREATE TEMP TABLE before AS SELECT * FROM grants").execute(&mut other).await.unwrap();
    assert_eq!(process.broker.refresh_now(ada.grant, None).await.unwrap(), Some(RefreshOutcome::Refreshed));
    sqlx::raw_sql("CREATE TEMP TABLE after AS SELECT * FROM grants").execute(&mut other).await.unwrap();
    for step in ["before", "BEGIN IMMEDIATE", "after"] {
        let columns = "token_version, data_key, access_token, refresh_token";
        let put = format!("UPDATE grants SET ({columns}) = (SELECT {columns} FROM temp.{step})");
        let statement = if step.starts_with("BEGIN") { step.to_owned() } else { put };
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut other).await.unwrap();
    }
    let broker = process.broker.clone();
    let removal = tokio::spawn(async move { broker.remove_user(ada.user).await });
    // Only a removal that looks at the grants too early needs this time, to do so.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!removal.is_finished());
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    removal.await.unwrap().unwrap();
    let alive = world.faults.tokens_alive(1);
    assert_eq!((alive.access, alive.refresh), (0, 0));
}

#[tokio::test]
async fn whoever_hangs_up_while_tokens_are_revoked_keeps_none_of_them_alive() {
    for removal in [false, true] {
        let config = SandboxConfig { access_lifetime: HOUR, revoke_endpoint: true, ..SandboxConfig::default() };
        let world = World::with(config, 30).await;
        let process = world.process().await;
        let ada = process.connect("ada", &["vehicles"]).await;
        process.consent(ada.user, None, &["vehicles"]).await;
        process.broker.add_user("grace", Role::Admin, None).await.unwrap();
        let (asked, hold) = (world.faults.reached(Moment::BeforeRevoke), world.faults.hold(Moment::BeforeRevoke));
        let (broker, user, grant) = (process.broker.clone(), ada.user, ada.grant);
        let caller = tokio::spawn(async move {
            if removal {
                broker.remove_user(user).await.unwrap();
            } else {
                broker.disconnect(grant, None).await.unwrap();
            }
        });
        asked.await;
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        hold.release();
        let left = usize::from(!removal);
        until("they are dead at the provider", async || {
            let alive = world.faults.tokens_alive(1);
            (alive.access == left && alive.refresh == left).then_some(())
        })
        .await;
        let kind = if removal { "user.removed" } else { "grant.disconnected" };
        until("the trail tells it", async || {
            let filter = AuditFilter { kind: Some(kind), limit: 1, ..AuditFilter::default() };
            process.broker.list_audit(&filter).await.unwrap().first().map(drop)
        })
        .await;
    }
}

#[tokio::test]
async fn tokens_that_can_not_be_kept_are_revoked_where_that_is_offered() {
    let config = SandboxConfig { access_lifetime: HOUR, revoke_endpoint: true, ..SandboxConfig::default() };
    let world = World::with(config, 30).await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    let address = format!("sqlite://{}", world.database().display());
    let mut other = SqliteConnection::connect(&address).await.unwrap();
    for (event, renewed) in [("INSERT", None), ("UPDATE", Some(ada.grant))] {
        let refusal =
            format!("CREATE TRIGGER full_{event} BEFORE {event} ON grants BEGIN SELECT raise(FAIL, 'no room'); END");
        sqlx::raw_sql(sqlx::AssertSqlSafe(refusal)).execute(&mut other).await.unwrap();
        let failed = process.try_consent(ada.user, renewed, &["vehicles"]).await;
        assert!(matches!(failed, Err(CompleteError::Storage(_))), "{failed:?}");
        let alive = world.faults.tokens_alive(1);
        assert_eq!((alive.access, alive.refresh), (1, 1), "only those of the grant that stands");
    }
    assert_eq!(process.call(&ada.key).await, OK, "with its old tokens");
}

#[tokio::test]
async fn a_renewal_during_a_refresh_wins_over_its_late_answer() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    let rotated = world.faults.reached(Moment::AfterRotate);
    world.faults.refresh(Times::Next(1), TokenFault::DelayAfter(TIMEOUT / 2));
    let (refresher, grant) = (process.clone(), ada.grant);
    let refresh = tokio::spawn(async move { refresher.broker.refresh_now(grant, None).await.unwrap() });
    rotated.await;
    process.consent(ada.user, Some(ada.grant), &["vehicles"]).await;
    assert_eq!(refresh.await.unwrap(), Some(RefreshOutcome::Adopted));
    assert_eq!(process.status(ada.grant).await, GrantStatus::Active);
    assert_eq!(process.call(&ada.key).await, OK);
}

#[tokio::test]
async fn a_rejection_of_a_version_that_was_renewed_meanwhile_condemns_nothing() {
    let world = World::new().await;
    let process = world.process().await;
    let ada = process.connect("ada", &["vehicles"]).await;
    let (sent, hold) = (world.faults.reached(Moment::BeforeAnswer), world.faults.hold(Moment::BeforeAnswer));
    world.faults.refresh(Times::Next(1), TokenFault::rejected());
    let (refresher, grant) = (process.clone(), ada.grant);
    let refresh = tokio::spawn(async move { refresher.broker.refresh_now(grant, None).await.unwrap() });
    sent.await;
    let record = process.broker.store.find_grant(ada.grant, None).await.unwrap().unwrap();
    let renewal = sealed(
        &process.broker.vault,
        (ada.grant, ada.user),
        "Mine",
        (*process.broker.directory().binding()).clone(),
        world.clock.now(),
        ("CANARY-newer", "CANARY-newer-refresh"),
    );
    let grant = Grant { token_version: record.grant.token_version + 1, ..renewal.grant.clone() };
    let kept = process.broker.store.replace_tokens_by_consent(&NewGrant { grant, ..renewal }, world.clock.now()).await;
    assert_eq!(kept.unwrap(), Swap::Done);
    hold.release();
    assert_eq!(refresh.await.unwrap(), Some(RefreshOutcome::Adopted));
    let stands = process.grant(ada.grant).await;
    assert_eq!((stands.status, stands.reason, stands.token_version), (GrantStatus::Active, None, 2));
}

#[tokio::test]
async fn a_late_answer_is_taken_out_of_needs_consent() {
    let world = World::new().await;
    let (first, second) = (world.process().await, world.process().await);
    let ada = first.connect("ada", &["vehicles"]).await;
    let rotated = world.faults.reached(Moment::AfterRotate);
    let hold = world.faults.hold(Moment::BeforeAnswer);
    let (refresher, grant) = (first.clone(), ada.grant);
    let refresh = tokio::spawn(async move { refresher.broker.refresh_now(grant, None).await.unwrap() });
    rotated.await;
    // Meanwhile another process has judged the spent version.
    let lost = ConsentReason::RotationLost;
    second.broker.store.replace_with_needs_consent(ada.grant, 1, lost).await.unwrap();
    hold.release();
    assert_eq!(refresh.await.unwrap(), Some(RefreshOutcome::Refreshed));
    assert_eq!(first.status(ada.grant).await, GrantStatus::Active);
    assert_eq!(first.call(&ada.key).await, OK);
}
