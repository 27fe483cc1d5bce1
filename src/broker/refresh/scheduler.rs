//! The schedule: what is due is refreshed ahead of time, spread out, and never faster than the rate.

use std::time::Duration;

use super::spill::Orphan;
use super::{Broker, Why};
use crate::store::{Change, StoreError, Swap};
use crate::telemetry::Trouble;

/// How often the schedule is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How often spill files of processes that are gone are looked for.
const ORPHANS: Duration = Duration::from_secs(5);
/// How many due grants are read at a time, beside those in flight.
const READ: u32 = 64;

impl Broker {
    /// Refreshes what is due, for ever.
    pub async fn run_refreshes(self) {
        if let Err(cause) = self.prepare_spill().await {
            tracing::error!(error = %cause, "no space can be set aside beside the database; no refresh is sent until it can");
        }
        self.require_endpoints().await;
        let mut failing = false;
        let mut looked_for_orphans = self.clock.elapsed();
        loop {
            tokio::time::sleep(LOOK.min(self.refresher.pace.spacing())).await;
            if self.clock.elapsed().saturating_sub(looked_for_orphans) >= ORPHANS || self.health.has(Trouble::Spill) {
                looked_for_orphans = self.clock.elapsed();
                self.take_in_spills().await;
            }
            self.notice_step();
            if self.is_storage_paused() {
                continue;
            }
            match self.begin_due().await {
                Ok(()) => failing = false,
                Err(cause) if !failing => {
                    failing = true;
                    tracing::warn!(error = %cause, "the schedule of refreshes can't be read at the moment");
                }
                Err(_) => {}
            }
        }
    }

    async fn begin_due(&self) -> Result<(), StoreError> {
        let in_flight: Vec<_> = self.refresher.flights().keys().copied().collect();
        let limit = READ.saturating_add(u32::try_from(in_flight.len()).unwrap_or(u32::MAX));
        for due in self.store.list_due(self.clock.now(), limit).await? {
            if in_flight.contains(&due.id) {
                continue;
            }
            if !self.refresher.pace.begin_scheduled() {
                break;
            }
            drop(self.fly(due.id, due.version, Why::Schedule));
        }
        Ok(())
    }

    /// Takes in what processes that are gone could not bring into the database.
    pub(in crate::broker) async fn take_in_spills(&self) {
        let mut all = true;
        let orphans = match self.refresher.spill.orphans() {
            Ok(orphans) => orphans,
            Err(cause) => {
                tracing::warn!(error = %cause, "the directory of the database can't be read");
                return;
            }
        };
        for orphan in orphans {
            all &= self.take_in(orphan).await;
        }
        if !all {
            self.health.set(Trouble::Spill);
        } else if self.refresher.spill.is_empty() {
            self.health.clear(Trouble::Spill);
        }
    }

    /// False when some of it must wait.
    async fn take_in(&self, mut orphan: Orphan) -> bool {
        let entries = match orphan.read() {
            Ok(entries) => entries,
            Err(cause) => {
                tracing::error!(error = %cause, "a spill file can't be read; it is kept");
                return false;
            }
        };
        for entry in entries {
            let now = self.clock.now();
            let kept = self.store.replace_tokens_by_refresh(entry.grant, entry.spent, &entry.tokens, 0, now).await;
            match kept {
                Ok(Swap::Done) => {
                    tracing::info!(grant.id = %entry.grant, "tokens that were spilled by a process that is gone are in the database");
                    self.see(Change::Grant(entry.grant)).await;
                }
                Ok(Swap::Outrun | Swap::Gone) => {}
                Err(cause) => {
                    tracing::error!(grant.id = %entry.grant, error = %cause, "spilled tokens can't be taken in yet; they are kept beside the database");
                    return false;
                }
            }
        }
        if let Err(cause) = orphan.remove() {
            tracing::warn!(error = %cause, "a spill file that was taken in can't be removed; it does no harm");
        }
        true
    }
}
