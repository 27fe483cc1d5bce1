//! What the system says of a process, and how much is asked of it.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

/// Whether the full figures are wanted.
pub(crate) fn is_full() -> bool {
    std::env::var_os("KEYFOB_TEST_LOAD").is_some_and(|value| value == "full")
}

/// Whether the program is one that figures are promised for.
pub(crate) fn is_release() -> bool {
    std::env::var_os("KEYFOB_TEST_PROGRAM").is_some() || !cfg!(debug_assertions)
}

/// The program under test.
pub(crate) fn program() -> std::path::PathBuf {
    let named = std::env::var_os("KEYFOB_TEST_PROGRAM").map(std::path::PathBuf::from);
    named.map_or_else(|| env!("CARGO_BIN_EXE_keyfob").into(), |path| path.canonicalize().expect("the program"))
}

/// The first in full, the second otherwise.
pub(crate) fn of<T>(full: T, small: T) -> T {
    if is_full() { full } else { small }
}

/// A limit that is promised of a release build, and what a debug build is held to.
pub(crate) fn limit(release: f64, debug: f64) -> f64 {
    if is_release() { release } else { debug }
}

/// Measures one thing at a time.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    static ONE: OnceLock<Mutex<()>> = OnceLock::new();
    ONE.get_or_init(Mutex::default).lock().await
}

/// Resident memory in bytes.
pub(crate) fn resident(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}

/// User and system time so far, in seconds.
pub(crate) fn cpu(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Resident memory once it stands still, or after a while.
pub(crate) async fn settled(pid: u32) -> f64 {
    let mut last = resident(pid);
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = resident(pid);
        if (now - last).abs() < 64.0 * 1024.0 {
            return now;
        }
        last = now;
    }
    last
}

pub(crate) const MB: f64 = 1024.0 * 1024.0;

/// Says a figure and holds it to its limit.
#[track_caller]
pub(crate) fn at_most(what: &str, figure: f64, most: f64, unit: &str) {
    eprintln!("figure: {what}: {figure:.2} {unit} (at most {most} {unit})");
    assert!(figure <= most, "{what}: {figure:.2} {unit}, and at most {most} {unit} is allowed");
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The figure that so many of a hundred are not above.
pub(crate) fn percentile(figures: &[f64], part: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let at = ((sorted.len() as f64 - 1.0) * part / 100.0).round() as usize;
    sorted[at]
}
