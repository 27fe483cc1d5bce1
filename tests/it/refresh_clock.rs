//! Clocks that are wrong from the beginning, and clocks that are set while Keyfob runs.

use keyfob::ambient::Clock;
use keyfob::broker::RefreshOutcome;

use super::refresh_world::{HOUR, OK, World, until};

#[tokio::test]
async fn the_clock_is_put_right_by_the_providers() {
    for off in [7 * 3_600, -7 * 3_600] {
        let world = World::new().await;
        let wrong = Clock::test(world.clock.now().plus_millis(off * 1_000));
        let process = world.another_process(wrong.clone(), "keyfob-sandbox").await;
        let ada = process.connect("ada", &["vehicles"]).await;
        let expires_at = process.grant(ada.grant).await.expires_at.unwrap();
        let right = world.clock.now().plus(HOUR);
        assert!((expires_at.millis() - right.millis()).abs() < 2_000, "{off}: {expires_at} and not {right}");
        assert!((wrong.correction() + off * 1_000).abs() < 2_000);
        process.broker.refresh_now(ada.grant, None).await.unwrap();
        assert_eq!(process.call(&ada.key).await, OK);
        assert_eq!(world.faults.token_requests(), 2, "no storm");
    }
    // A provider that is a day off is not believed: what is past its time would live again, or be swept.
    for off in [25 * 3_600, -25 * 3_600] {
        let world = World::new().await;
        let right = Clock::test(world.clock.now().plus_millis(off * 1_000));
        let process = world.another_process(right.clone(), "keyfob-sandbox").await;
        let ada = process.connect("ada", &["vehicles"]).await;
        process.broker.refresh_now(ada.grant, None).await.unwrap();
        assert_eq!(right.correction(), 0, "{off}");
        let expires_at = process.grant(ada.grant).await.expires_at.unwrap();
        assert!((expires_at.millis() - right.now().plus(HOUR).millis()).abs() < 2_000, "{off}: {expires_at}");
    }
    let world = World::new().await;
    let slightly = Clock::test(world.clock.now().plus_millis(20_000));
    let process = world.another_process(slightly.clone(), "keyfob-sandbox").await;
    process.connect("ada", &["vehicles"]).await;
    assert_eq!(slightly.correction(), 0, "half a minute is tolerated");
}

#[tokio::test]
async fn a_clock_that_is_set_while_keyfob_runs_makes_no_token_old_or_young() {
    for off in [7 * 3_600, -7 * 3_600] {
        let world = World::new().await;
        let clock = Clock::test(world.clock.now());
        let process = world.another_process(clock.clone(), "keyfob-sandbox").await;
        let ada = process.connect("ada", &["vehicles"]).await;
        let schedule = tokio::spawn(process.broker.clone().run_refreshes());
        world.faults.forget_received();
        for step in [off, -off] {
            clock.jump(step * 1_000);
            assert_eq!(process.call(&ada.key).await, OK);
            let is_right = || (clock.now().millis() - world.clock.now().millis()).abs() < 2_000;
            until("it goes by the time that the provider told", async || is_right().then_some(())).await;
            assert_eq!(world.faults.token_requests(), 0, "{step}: no token was taken for expired");
        }
        // Set again in the moment of a refresh: what the answer says of its lifetime counts from the true time.
        clock.jump(off * 1_000);
        assert_eq!(process.broker.refresh_now(ada.grant, None).await.unwrap(), Some(RefreshOutcome::Refreshed));
        let expires_at = process.grant(ada.grant).await.expires_at.unwrap();
        assert!((expires_at.millis() - world.clock.now().plus(HOUR).millis()).abs() < 2_000, "{off}: {expires_at}");
        schedule.abort();
    }
}

#[tokio::test]
async fn a_machine_that_stood_still_goes_by_the_right_time_again() {
    let world = World::new().await;
    let clock = Clock::test(world.clock.now());
    let process = world.another_process(clock.clone(), "keyfob-sandbox").await;
    process.connect("ada", &["vehicles"]).await;
    let schedule = tokio::spawn(process.broker.clone().run_refreshes());
    for _ in 0..3 {
        // A virtual machine that was paused: time has passed outside, its clock is put right, and it has counted nothing.
        world.clock.jump(600_000);
        clock.jump(600_000);
        let asked = world.faults.all_calls();
        until("the provider is asked", async || (world.faults.all_calls() > asked).then_some(())).await;
        until("it is believed", async || (clock.now() == world.clock.now()).then_some(())).await;
    }
    schedule.abort();
}
