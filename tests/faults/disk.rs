//! A disk that is full for a while.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tokio::time::Instant;

use keyfob::sandbox::{Moment, SandboxConfig};

use crate::town::Town;

/// Whether this machine lets us mount a small file system that nobody else sees.
fn can_mount() -> bool {
    let script = "mount -t tmpfs -o size=64k tmpfs /mnt";
    Command::new("unshare").args(["-m", "/bin/sh", "-c", script]).output().is_ok_and(|ended| ended.status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_no_token_and_heals_by_itself() {
    if !can_mount() {
        println!(
            "skipped: no file system can be mounted here; the storage stories of tests/it hold the same by a lock"
        );
        return;
    }
    let town = Town::new(SandboxConfig::default()).await;
    let ada = town.connect().await;
    // The data directory moves onto a small disk of the program's own.
    let mut command = Command::new("unshare");
    town.set_up(&mut command);
    let script = "cp -a \"$KEYFOB_DATA_DIR\" \"$KEYFOB_DATA_DIR.kept\" && mount -t tmpfs -o size=8m,mode=700 tmpfs \"$KEYFOB_DATA_DIR\" \
                  && cp -a \"$KEYFOB_DATA_DIR.kept/.\" \"$KEYFOB_DATA_DIR\" && exec \"$0\" serve";
    command.args(["-m", "/bin/sh", "-c", script, env!("CARGO_BIN_EXE_keyfob")]);
    let running = town.serve_by(command).await;
    let disk = PathBuf::from(format!("/proc/{}/root{}", running.child.id(), town.data.display()));
    assert_eq!(town.vehicles(&running, &ada.key).await.unwrap().status, 200);

    town.faults.expire_access_tokens();
    let (rotated, hold) = (town.faults.reached(Moment::AfterRotate), town.faults.hold(Moment::AfterRotate));
    let call = async {
        let got = town.vehicles(&running, &ada.key).await.unwrap();
        assert_eq!(got.status, 200, "{got:?} {}", town.said());
    };
    let fill = async {
        rotated.await;
        let mut file = std::fs::File::create(disk.join("ballast")).unwrap();
        while file.write_all(&[1; 4_096]).is_ok() {}
        hold.release();
    };
    tokio::join!(call, fill);
    until("it says that it is not ready", async || town.ready(&running).await == 503).await;
    let (begun, mut calls) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(3) {
        let got = town.vehicles(&running, &ada.key).await.unwrap();
        assert_eq!(got.status, 200, "{got:?}");
        calls += 1;
    }
    assert!(calls > 20, "{calls}");
    assert_eq!(town.ready(&running).await, 503);
    std::fs::remove_file(disk.join("ballast")).unwrap();
    until("it is healed", async || town.ready(&running).await == 200).await;
    assert_eq!(town.vehicles(&running, &ada.key).await.unwrap().status, 200);
    assert!(town.said().contains("the database has taken a grant's new tokens after all"), "{}", town.said());
    assert_eq!(town.faults.token_requests_of("refresh_token"), 1);
}

/// Within the five seconds that healing may take.
async fn until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !look().await {
        assert!(begun.elapsed() < Duration::from_secs(5), "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
