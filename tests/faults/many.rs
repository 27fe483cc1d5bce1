//! Many grants that fall due together.

use std::sync::Arc;
use std::time::Duration;

use keyfob::ambient::{Clock, Entropy};
use keyfob::domain::grant::Binding;
use keyfob::domain::id::Id;
use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::sandbox::SandboxConfig;
use tokio::time::{Instant, sleep};

use crate::sealed::sealed;
use crate::town::{Town, within};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_that_fall_due_together_are_refreshed_under_the_rate_and_none_is_lost() {
    let many = std::env::var_os("KEYFOB_TEST_MANY").is_some();
    let (count, rate) = if many { (10_000, 6_000_u32) } else { (100, 1_200) };
    let town = Arc::new(Town::new(SandboxConfig { access_lifetime: 2 * HOUR, ..SandboxConfig::default() }).await);
    let ada = town.connect().await;
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let broker = town.broker().await;
    let origin = town.sandbox.url();
    let binding = Binding {
        api_origin: origin.clone(),
        mcp_origin: origin.clone(),
        token_origin: origin,
        client_id: "keyfob-sandbox".to_owned(),
    };
    // They come due within a minute that begins when the program is up; in the usual run within a second.
    let (later, spread) = if many { (60, 60_000) } else { (3, 1_000) };
    let due = clock.now().plus(Duration::from_secs(later));
    for n in 0..count {
        let issued = town.sandbox.issue_grant(1, ScopeSet::of(Scope::Vehicles));
        let id = Id::new(clock.now(), entropy.bytes());
        let tokens = (&*issued.access_token, &*issued.refresh_token);
        let mut new =
            sealed(&broker.vault, (id, ada.user), &format!("grant {n}"), binding.clone(), clock.now(), tokens);
        new.grant.expires_at = Some(clock.now().plus(HOUR));
        new.tokens.expires_at = new.grant.expires_at;
        new.tokens.due_at = Some(due.plus_millis(i64::from(n * spread / count)));
        broker.store.keep_grant(&new).await.unwrap();
    }
    broker.store.close().await;

    let mut command = town.script(&[], "exec \"$0\" serve");
    command.env("KEYFOB_REFRESH_RATE_PER_MINUTE", rate.to_string());
    // Before the start: what the program refreshes at once counts too.
    town.faults.forget_received();
    let running = town.serve_by(command).await;
    let idle = idle_cost(&town, running.child.id(), clock.now().millis() < due.millis()).await;

    let (begun, cpu) = (Instant::now(), cpu_ms(running.child.id()));
    let mut sent: Vec<(Duration, u64)> = Vec::new();
    let wanted = u64::try_from(count).unwrap();
    while town.faults.token_requests() < wanted {
        sent.push((begun.elapsed(), town.faults.token_requests()));
        assert!(begun.elapsed() < Duration::from_secs(600), "{:?} {}", sent.last(), town.said());
        sleep(Duration::from_millis(100)).await;
        if sent.len().is_multiple_of(10) {
            let got = town.vehicles(&running, &ada.key).await.unwrap();
            assert_eq!(got.status, 200, "calls go on meanwhile: {got:?}");
        }
    }
    sent.push((begun.elapsed(), town.faults.token_requests()));
    let cost = cpu_ms(running.child.id()).saturating_sub(cpu);
    let (second, minute) = (most_within(&sent, Duration::from_secs(1)), most_within(&sent, Duration::from_secs(60)));
    assert!(minute <= u64::from(rate), "{minute} in a minute");
    // Spread: no second takes twice its share, which a disk that stands still for a moment can blur.
    assert!(second <= u64::from(rate) / 30 + 5, "{second} in a second");

    let mut database = town.database().await;
    within(Duration::from_secs(20), "all are kept", async || {
        let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM grants WHERE token_version = 2 AND status = 'active'")
            .fetch_one(&mut database)
            .await
            .unwrap();
        kept == i64::from(count)
    })
    .await;
    assert_eq!((town.faults.token_requests(), town.faults.refreshes()), (wanted, wanted), "each once, none rejected");
    let refreshed = town.metric(&running, "keyfob_refresh_attempts_total{result=\"refreshed\"}").await;
    assert_eq!(refreshed, wanted);
    println!(
        "due together: {count}, rate: {rate} a minute; most in a second: {second}, in a minute: {minute}; refreshed: {refreshed} in {:.1} s, \
         needing their user: 0; processor time: {idle:.1} ms a second with none due, {:.2} ms a refresh",
        begun.elapsed().as_secs_f64(),
        f64::from(u32::try_from(cost).unwrap()) / f64::from(count)
    );
}

/// What the program costs while nothing is due, in milliseconds of processor time a second.
async fn idle_cost(town: &Town, process: u32, undue: bool) -> f64 {
    if !undue {
        return f64::NAN;
    }
    let (begun, cpu) = (Instant::now(), cpu_ms(process));
    sleep(Duration::from_secs(2)).await;
    if town.faults.token_requests() > 0 {
        return f64::NAN;
    }
    f64::from(u32::try_from(cpu_ms(process) - cpu).unwrap()) / begun.elapsed().as_secs_f64()
}

/// The most requests in any span of so long.
fn most_within(sent: &[(Duration, u64)], span: Duration) -> u64 {
    let mut most = 0;
    let mut from = 0;
    for (at, count) in sent {
        while at.saturating_sub(sent[from].0) > span {
            from += 1;
        }
        most = most.max(count - sent[from].1);
    }
    most
}

/// The processor time that a process has used.
fn cpu_ms(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let mut fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11);
    let mut ticks = || fields.next().unwrap().parse::<u64>().unwrap();
    // A hundredth of a second each, on every Linux that is built as usual.
    (ticks() + ticks()) * 10
}
