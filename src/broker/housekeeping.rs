//! What runs beside the calls: seeing other processes' changes, sweeping what is past its time, counting grants.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Broker;
use crate::domain::grant::GrantStatus;
use crate::store::GrantFilter;

/// How often other processes' changes are looked for.
const LOOK: Duration = Duration::from_millis(500);
/// How often what is past its time is swept.
const SWEEP: Duration = Duration::from_secs(60);

impl Broker {
    /// Keeps memory in step with what other processes change; ends when the broker's process does.
    pub async fn follow_changes(self) {
        let mut failing = false;
        loop {
            tokio::time::sleep(LOOK).await;
            match self.directory.catch_up().await {
                Ok(()) => failing = false,
                Err(cause) => {
                    if !failing {
                        tracing::warn!(error = %cause, "other processes' changes can't be read at the moment");
                    }
                    failing = true;
                }
            }
        }
    }

    /// Waits until every other process on this database has seen what this one changed, so that a program that ends with
    /// "it is cut off" tells the truth.
    pub async fn be_seen(&self) {
        tokio::time::sleep(LOOK + LOOK / 5).await;
    }

    /// Sweeps expired sessions, requests, rolled keys and old audit rows and empties the database's log.
    ///
    /// What was deleted, as a disconnected grant's tokens, is in no file any more a minute later, or as soon after that as
    /// no reader holds on to the log.
    pub async fn keep_house(self) {
        loop {
            self.sweep_once().await;
            let mut wiped = self.wipe_log().await;
            for _ in 0..SWEEP.as_secs() / 5 {
                self.count_disconnected().await;
                tokio::time::sleep(Duration::from_secs(5)).await;
                if !wiped {
                    wiped = self.wipe_log().await;
                }
            }
        }
    }

    /// Whether the log is empty now.
    async fn wipe_log(&self) -> bool {
        match self.store.wipe_log().await {
            Ok(wiped) => wiped,
            Err(cause) => {
                tracing::debug!(error = %cause, "the write-ahead log could not be emptied");
                false
            }
        }
    }

    async fn sweep_once(&self) {
        let now = self.clock.now();
        if let Err(cause) = self.store.sweep(now).await {
            tracing::warn!(error = %cause, "expired sessions and requests could not be swept");
        }
        let before = now.minus(self.settings.audit_keep);
        let rows = i64::try_from(self.settings.audit_rows).unwrap_or(i64::MAX);
        loop {
            match self.store.sweep_audit(before, rows).await {
                Ok(swept) if swept >= 10_000 => tokio::task::yield_now().await,
                Ok(_) => break,
                Err(cause) => {
                    tracing::warn!(error = %cause, "old audit rows could not be swept");
                    break;
                }
            }
        }
    }

    /// Memory holds no grants that were ended; how many there are is counted now and then.
    pub(super) async fn count_disconnected(&self) {
        let filter = GrantFilter { status: Some(GrantStatus::Disconnected), ..GrantFilter::default() };
        match self.store.count_grants(&filter).await {
            Ok(count) => self.disconnected.store(u64::try_from(count).unwrap_or(0), Ordering::Relaxed),
            Err(cause) => tracing::debug!(error = %cause, "disconnected grants could not be counted"),
        }
    }

    /// Tells the metrics how many grants stand where, and when the nearest expires.
    pub fn count_grants_for_metrics(&self) {
        let now = self.clock.now();
        let (mut counts, mut nearest) = ([0_u64; GrantStatus::ALL.len()], None);
        for cell in self.directory.grants() {
            let state = cell.state();
            let (status, _) = state.shown(now);
            if let Some(at) = GrantStatus::ALL.iter().position(|known| *known == status) {
                counts[at] += 1;
            }
            if status.is_usable() {
                nearest = match (nearest, state.grant.expires_at) {
                    (Some(a), Some(b)) => Some(std::cmp::min(a, b)),
                    (a, b) => a.or(b),
                };
            }
        }
        let disconnected = self.disconnected.load(Ordering::Relaxed);
        counts[GrantStatus::ALL.iter().position(|known| *known == GrantStatus::Disconnected).unwrap_or(0)] =
            disconnected;
        let count_of = |status| GrantStatus::ALL.iter().position(|known| *known == status).map_or(0, |at| counts[at]);
        self.metrics.grants(count_of, nearest);
    }
}
