//! What a row of the audit trail costs: rows kept in batches through the store, in CPU time of the whole process.

use std::borrow::Cow;
use std::time::Instant;

use keyfob::ambient::{Clock, Entropy};
use keyfob::domain::audit::{AuditEvent, kind};
use keyfob::domain::id::Id;
use keyfob::domain::scope::Scope;
use keyfob::store::{AuditRow, Store};

/// As the writer has it.
const BATCH: usize = 1_024;
const BATCHES: usize = 400;

#[expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "a benchmark measures the machine, in figures for people, and ends when it can't"
)]
fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = Store::open(&directory.path().join("bench.db")).await.expect("a database");
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let (user, app, grant) =
            (Id::from_bytes(entropy.bytes()), Id::from_bytes(entropy.bytes()), Id::from_bytes(entropy.bytes()));
        let events: Vec<AuditEvent> = (0..BATCH)
            .map(|n| AuditEvent {
                app: Some(app),
                grant: Some(grant),
                method: Some("GET".into()),
                template: Some("/api/vehicle/{id}".into()),
                path: Some(format!("/api/vehicle/corsair{}", n % 7).into()),
                scope: Some(Scope::Vehicles),
                decision: Cow::Borrowed("allowed"),
                status: Some(200),
                duration_ms: Some(3),
                bytes_down: 1_000,
                ..AuditEvent::change(clock.now(), kind::CALL, Some(user))
            })
            .collect();
        let (begun, cpu) = (Instant::now(), cpu_seconds());
        for _ in 0..BATCHES {
            store.record(&AuditRow::of(&events)).await.expect("kept");
        }
        let rows = (BATCH * BATCHES) as f64;
        let size = std::fs::metadata(store.path()).map_or(0, |meta| meta.len());
        println!(
            "{rows} rows: {:.2} us of CPU and {:.2} us of time a row, {:.0} bytes a row",
            (cpu_seconds() - cpu) / rows * 1e6,
            begun.elapsed().as_secs_f64() / rows * 1e6,
            size as f64 / rows
        );
    });
}

/// User and system time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
