//! Disks and databases that take nothing for a while: what is in memory is served, nothing is lost, and it heals by itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use http::Method;
use keyfob::sandbox::{Moment, SandboxConfig};
use sqlx::SqliteConnection;
use tokio::time::{Instant, MissedTickBehavior};

use crate::town::{Connected, Got, Running, Town, call, number, skipped, within};

/// Reads a second while nothing can be written.
const READS: u64 = 200;
const COMMAND: &str = "/api/vehicle/corsair/command/enableSentryMode";

/// What keeps the program from writing.
enum Trouble {
    /// A file that fills a small disk of the program's own.
    Full(PathBuf),
    /// A limit on the size of files that none stays under: each write fails, as on a disk that went read-only.
    Unwritable(u32),
    /// A database and its log that were made read-only; what lies beside them can be written.
    ReadOnly(Vec<PathBuf>),
    /// A writer that does not let go of the lock.
    Locked(SqliteConnection),
}

impl Trouble {
    async fn begin(&mut self) {
        match self {
            Self::Full(ballast) => {
                let mut file = std::fs::File::create(ballast).unwrap();
                while std::io::Write::write_all(&mut file, &[1; 4_096]).is_ok() {}
            }
            Self::Unwritable(process) => assert!(limit(*process, "0")),
            Self::ReadOnly(files) => assert!(immutable("+i", files)),
            Self::Locked(writer) => {
                sqlx::query("BEGIN IMMEDIATE").execute(writer).await.unwrap();
            }
        }
    }

    async fn end(&mut self) {
        match self {
            Self::Full(ballast) => std::fs::remove_file(ballast).unwrap(),
            Self::Unwritable(process) => assert!(limit(*process, "unlimited")),
            Self::ReadOnly(files) => assert!(immutable("-i", files)),
            Self::Locked(writer) => {
                sqlx::query("ROLLBACK").execute(writer).await.unwrap();
            }
        }
    }
}

impl Drop for Trouble {
    fn drop(&mut self) {
        if let Self::ReadOnly(files) = self {
            // Else a test that failed would leave files that nobody can remove.
            immutable("-i", files);
        }
    }
}

/// Makes files read-only for everybody, also where they are open (`+i`), or ends that (`-i`).
fn immutable(change: &str, files: &[PathBuf]) -> bool {
    Command::new("chattr").arg(change).args(files).output().is_ok_and(|ended| ended.status.success())
}

/// Limits how large the files of a process may become; its hard limit stays as it is.
fn limit(process: u32, bytes: &str) -> bool {
    let arguments = ["--pid", &process.to_string(), &format!("--fsize={bytes}:")];
    Command::new("prlimit").args(arguments).status().is_ok_and(|ended| ended.success())
}

/// Runs a refresh whose tokens come when nothing can be written any more; then reads and commands for so long; then ends the trouble.
async fn weather(name: &str, town: &Town, running: &Running, ada: &Connected, trouble: &mut Trouble, spill: &Path) {
    assert_eq!(town.vehicles(running, &ada.key).await.unwrap().status, 200);
    town.faults.forget_received();
    town.faults.expire_access_tokens();
    let (rotated, hold) = (town.faults.reached(Moment::AfterRotate), town.faults.hold(Moment::AfterRotate));
    let first = async {
        let got = town.vehicles(running, &ada.key).await.unwrap();
        assert_eq!(got.status, 200, "{got:?} {}", town.said());
    };
    let begin = async {
        rotated.await;
        trouble.begin().await;
        hold.release();
    };
    tokio::join!(first, begin);
    let five = Duration::from_secs(5);
    within(five, "it says that it is not ready", async || town.ready(running).await == 503).await;

    // A lock is held for longer than its writers wait.
    let usual = if matches!(trouble, Trouble::Locked(_)) { 6 } else { 3 };
    let length = Duration::from_secs(number("KEYFOB_TEST_FULL_SECONDS", usual));
    let (commands, reads) =
        tokio::join!(commands(town, running, &ada.key, length), reads(town, running, &ada.key, length));
    let served = reads.iter().filter(|got| got.status == 200).count();
    let odd = reads.iter().find(|got| got.status != 200);
    assert_eq!(served, reads.len(), "reads failed, as this one: {odd:?} {}", town.said());
    assert!(commands.iter().all(|got| (got.status, &*got.code) == (503, "storage_unavailable")), "{commands:?}");
    assert_eq!(town.faults.commands("corsair", "enableSentryMode"), 0, "no command went out");
    assert_eq!(town.ready(running).await, 503);
    let kept = std::fs::read(spill_file(spill)).unwrap();
    match trouble {
        // Nothing beside the database can be written either: the tokens are in memory only.
        Trouble::Unwritable(_) => assert!(kept.iter().all(|b| *b == 0)),
        Trouble::Full(_) | Trouble::ReadOnly(_) | Trouble::Locked(_) => {
            assert!(kept.starts_with(b"{"), "the new tokens are in the spill file");
            let text = String::from_utf8_lossy(&kept);
            assert!(!text.contains("eyJ") && !text.contains("def502"), "sealed");
        }
    }

    trouble.end().await;
    let healed = within(five, "it is healed", async || town.ready(running).await == 200).await;
    assert!(std::fs::read(spill_file(spill)).unwrap().iter().all(|b| *b == 0), "the spill file is empty again");
    assert_eq!(town.vehicles(running, &ada.key).await.unwrap().status, 200);
    let got = town.call(running, Method::POST, COMMAND, &ada.key).await.unwrap();
    assert_eq!(got.status, 200, "{got:?}");
    assert!(town.said().contains("the database has taken a grant's new tokens after all"), "{}", town.said());
    assert_eq!(town.faults.token_requests(), 1);
    println!(
        "{name}: {} s, reads: {served} x 200, failed: 0, commands refused: {}, ready again after {} ms",
        length.as_secs(),
        commands.len(),
        healed.as_millis()
    );
}

/// Reads at the rate of [`READS`], none waiting for another.
async fn reads(town: &Town, running: &Running, key: &str, length: Duration) -> Vec<Got> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(READS).unwrap());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut calls = Vec::new();
    for _ in 0..length.as_secs() * READS {
        ticks.tick().await;
        let (http, url, key) = (town.http.clone(), format!("http://{}/api/vehicles", running.proxy), key.to_owned());
        calls.push(tokio::spawn(async move { call(&http, Method::GET, url, &key).await }));
    }
    let ended = futures_util::future::join_all(calls).await;
    let lost = Got { status: 0, code: String::new(), body: String::new() };
    ended.into_iter().map(|got| got.unwrap().unwrap_or_else(|| lost.clone())).collect()
}

async fn commands(town: &Town, running: &Running, key: &str, length: Duration) -> Vec<Got> {
    let (begun, mut ended) = (Instant::now(), Vec::new());
    while begun.elapsed() < length / 2 {
        ended.push(town.call(running, Method::POST, COMMAND, key).await.unwrap());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ended
}

fn spill_file(directory: &Path) -> PathBuf {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<_> = entries.filter(|path| path.to_string_lossy().contains(".spill-")).collect();
    let [own] = &found[..] else { panic!("one file: {found:?}") };
    own.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_fails_no_read_loses_no_token_and_heals_by_itself() {
    let mount = ["-m", "/bin/sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"];
    if !Command::new("unshare").args(mount).output().is_ok_and(|ended| ended.status.success()) {
        return skipped("the full disk, since no file system can be mounted here");
    }
    let town = Town::new(SandboxConfig::default()).await;
    let ada = town.connect_with("vehicles controls").await;
    // The data directory moves onto a small disk of the program's own.
    let script = "cp -a \"$KEYFOB_DATA_DIR\" \"$KEYFOB_DATA_DIR.kept\" && mount -t tmpfs -o size=8m,mode=700 tmpfs \"$KEYFOB_DATA_DIR\" \
                  && cp -a \"$KEYFOB_DATA_DIR.kept/.\" \"$KEYFOB_DATA_DIR\" && exec \"$0\" serve";
    let running = town.serve_by(town.script(&["unshare", "-m"], script)).await;
    let disk = PathBuf::from(format!("/proc/{}/root{}", running.child.id(), town.data.display()));
    weather("full disk", &town, &running, &ada, &mut Trouble::Full(disk.join("ballast")), &disk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_no_write_at_all_fails_no_read_and_heals_by_itself() {
    let town = Town::new(SandboxConfig::default()).await;
    let ada = town.connect_with("vehicles controls").await;
    // The signal that comes with a write over the limit is not what is tried here.
    let running = town.serve_by(town.script(&[], "trap '' XFSZ; exec \"$0\" serve")).await;
    if !limit(running.child.id(), "unlimited") {
        return skipped("the disk without writes, since prlimit can't change the limits of a process here");
    }
    let mut trouble = Trouble::Unwritable(running.child.id());
    weather("no write at all", &town, &running, &ada, &mut trouble, &town.data).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_becomes_read_only_fails_no_read_loses_no_token_and_heals_by_itself() {
    let town = Town::new(SandboxConfig::default()).await;
    let ada = town.connect_with("vehicles controls").await;
    let running = town.serve().await;
    let files = ["keyfob.db", "keyfob.db-wal"].map(|name| town.data.join(name)).to_vec();
    if !immutable("+i", &files) || !immutable("-i", &files) {
        return skipped("the read-only database, since chattr can't make files immutable here");
    }
    let mut trouble = Trouble::ReadOnly(files);
    weather("read-only", &town, &running, &ada, &mut trouble, &town.data).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_holds_the_lock_past_the_busy_timeout_fails_no_read_and_it_heals_by_itself() {
    let town = Town::new(SandboxConfig::default()).await;
    let ada = town.connect_with("vehicles controls").await;
    let running = town.serve().await;
    let mut trouble = Trouble::Locked(town.database().await);
    weather("held lock", &town, &running, &ada, &mut trouble, &town.data).await;
}
