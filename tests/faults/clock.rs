//! A clock that jumps by hours under the running program, both ways.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::sandbox::SandboxConfig;
use tokio::time::Instant;

use crate::town::{Connected, Town, call, skipped, within};

/// How many grants there are: each could be taken for expired, and refreshed within the two seconds of a storm.
const GRANTS: usize = 20;
const HOUR: Duration = Duration::from_secs(3_600);

/// The library that lies about the time, as Debian's package `faketime` has it.
fn liar() -> Option<PathBuf> {
    let found = std::fs::read_dir("/usr/lib").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found = found.chain([PathBuf::from("/usr/lib")]).map(|dir| dir.join("faketime/libfaketimeMT.so.1"));
    found.find(|path| path.exists())
}

fn jump(file: &Path, offset: &str) {
    // In one step, so that nobody reads half of it.
    let new = file.with_extension("new");
    std::fs::write(&new, offset).unwrap();
    std::fs::rename(&new, file).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_by_seven_hours_brings_no_storm_and_no_stale_token() {
    let Some(liar) = liar() else {
        return skipped("the jumps of the clock, since there is no libfaketime (Debian's package faketime)");
    };
    let town = Arc::new(Town::new(SandboxConfig { access_lifetime: HOUR, ..SandboxConfig::default() }).await);
    let ada = town.connect().await;
    let broker = town.broker().await;
    for _ in 1..GRANTS {
        town.consent(&broker, ada.user, None, ScopeSet::of(Scope::Vehicles)).await;
    }
    broker.store.close().await;
    let time = town.data.with_file_name("time");
    jump(&time, "+0");
    let mut command = town.script(&[], "exec \"$0\" serve");
    command.env("LD_PRELOAD", liar).env("FAKETIME_TIMESTAMP_FILE", &time);
    command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command.env("KEYFOB_REFRESH_RATE_PER_MINUTE", "600");
    let running = Arc::new(town.serve_by(command).await);
    town.faults.forget_received();

    let stop = Arc::new(AtomicBool::new(false));
    let load = {
        let (town, stop, key, proxy) = (Arc::clone(&town), Arc::clone(&stop), ada.key.clone(), running.proxy);
        tokio::spawn(async move {
            let mut calls = 0;
            while !stop.load(Ordering::Relaxed) {
                let got = call(&town.http, http::Method::GET, format!("http://{proxy}/api/vehicles"), &key).await;
                let got = got.unwrap();
                assert_eq!(got.status, 200, "{got:?} {}", town.said());
                calls += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            calls
        })
    };
    // Nobody has told the true time yet: each token seems to be expired, and the first refresh's answer tells better.
    jump(&time, "+7h");
    within(Duration::from_secs(10), "a refresh is due", async || town.faults.token_requests() > 0).await;
    let first = no_storm(&town, "+7h", 3).await;
    // From now on it is known by how much a clock is wrong that is set meanwhile.
    let mut told = vec![format!("+7h: {first}")];
    for offset in ["+0", "-7h", "+7h", "+0"] {
        town.faults.forget_received();
        jump(&time, offset);
        told.push(format!("{offset}: {}", no_storm(&town, offset, 0).await));
    }
    // A token that is dead at the provider is found out about, whatever the clock says of it.
    jump(&time, "-7h");
    town.faults.expire_access_tokens();
    within(Duration::from_secs(5), "it is refreshed", async || town.faults.token_requests() > 0).await;
    told.push(format!("-7h, and the token dead: {}", no_storm(&town, "-7h", 1).await));
    stop.store(true, Ordering::Relaxed);
    let calls = load.await.unwrap();
    assert!(calls > 50, "{calls}");
    for said in ["this machine's clock and the provider's differ", "this machine's clock was set"] {
        assert!(town.said().contains(said), "{}", town.said());
    }
    keeps_its_grant(&town, &ada).await;
    println!("jumps with {GRANTS} grants, token requests after each: {}; calls: {calls} x 200", told.join(", "));
}

/// Looks for two seconds that no more token requests are sent than so many; gives how many were.
async fn no_storm(town: &Town, offset: &str, most: u64) -> u64 {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let sent = town.faults.token_requests();
        assert!(sent <= most, "{offset}: {sent} token requests {}", town.said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    town.faults.token_requests()
}

async fn keeps_its_grant(town: &Town, ada: &Connected) {
    let grant = town.grant(ada.grant).await;
    assert_eq!(grant["status"], "active", "{grant}");
}
