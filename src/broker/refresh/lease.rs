//! Who may send: one process a grant, by a row in the database and a beat that counts up while its owner works.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Broker, RefreshOutcome};
use crate::domain::id::GrantId;
use crate::store::{LeaseAnswer, LeaseMark, ProcessId, RefreshRow, Store};

/// How often the beat counts up.
const BEAT: Duration = Duration::from_secs(3);
/// A beat that stood still for so long, by the waiter's own monotonic clock, is dead.
const DEAD: Duration = Duration::from_secs(15);
/// How often a waiter looks.
const LOOK: Duration = Duration::from_millis(250);

/// A grant whose lease is ours, as it was found inside it.
pub(super) struct Leased {
    pub(super) row: Box<RefreshRow>,
    _beat: Beat,
}

impl Leased {
    pub(super) const fn id(&self) -> GrantId {
        self.row.record.grant.id
    }

    pub(super) const fn version(&self) -> i64 {
        self.row.record.grant.token_version
    }
}

/// Counts the lease's beat up until it is dropped.
struct Beat(JoinHandle<()>);

impl Beat {
    fn start(store: Store, id: GrantId, me: ProcessId) -> Self {
        Self(tokio::spawn(async move {
            loop {
                tokio::time::sleep(BEAT).await;
                match store.beat(id, me).await {
                    Ok(true) => {}
                    // Somebody took over. What was sent stays sent, and its answer will be kept all the same.
                    Ok(false) => return,
                    Err(cause) => {
                        tracing::debug!(grant.id = %id, error = %cause, "a lease's beat could not be counted up");
                    }
                }
            }
        }))
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Since when a lease's beat stands still, by the monotonic clock of whoever looks.
#[derive(Default)]
struct Stood(Option<(LeaseMark, Duration)>);

impl Stood {
    /// For how long it has, as far as was seen.
    fn has_stood(&mut self, mark: LeaseMark, now: Duration) -> Duration {
        match self.0 {
            Some((seen, since)) if seen == mark => now.saturating_sub(since),
            _ => {
                self.0 = Some((mark, now));
                Duration::ZERO
            }
        }
    }
}

impl Broker {
    /// Takes the grant's lease, or waits until whoever holds it has refreshed the version that was found wanting, or is
    /// dead.
    ///
    /// # Errors
    /// The outcome, when there is nothing left to do.
    pub(super) async fn lease(&self, id: GrantId, wanting: i64) -> Result<Leased, RefreshOutcome> {
        let unavailable = |cause: &dyn std::fmt::Display| {
            tracing::error!(grant.id = %id, error = %cause, "a refresh can't be begun: the database is not available");
            RefreshOutcome::StorageUnavailable
        };
        let me = self.refresher.me;
        let mut beat = Stood::default();
        loop {
            let found = self.store.find_lease(id).await.map_err(|cause| unavailable(&cause))?;
            let mark = found.ok_or(RefreshOutcome::Gone)?;
            if mark.version > wanting {
                return Err(RefreshOutcome::Adopted);
            }
            let still = beat.has_stood(mark, self.clock.elapsed());
            let stale = match mark.owner {
                None => None,
                Some(owner) if owner == me => None,
                Some(owner) if still >= DEAD || self.refresher.spill.is_gone(owner) => Some(mark),
                Some(_) => {
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
            };
            match self.store.take_lease(id, me, stale).await.map_err(|cause| unavailable(&cause))? {
                LeaseAnswer::Gone => return Err(RefreshOutcome::Gone),
                LeaseAnswer::Held(_) => {}
                LeaseAnswer::Taken(row) => {
                    if stale.is_some() {
                        tracing::info!(grant.id = %id, "a refresh is taken over from a process that stands still");
                    }
                    return Ok(Leased { row, _beat: Beat::start(self.store.clone(), id, me) });
                }
            }
        }
    }

    /// Gives the lease back.
    pub(super) async fn release(&self, leased: Leased) {
        let id = leased.id();
        drop(leased);
        if let Err(cause) = self.store.release_lease(id, self.refresher.me).await {
            // It is ours by name, so the next flight of this process takes it, and others find the beat still.
            tracing::debug!(grant.id = %id, error = %cause, "a lease could not be given back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_that_counts_is_alive_however_long_it_takes_and_one_that_stands_still_is_dead() {
        let mark = |beat| LeaseMark { owner: Some([9; 16]), beat, version: 1 };
        let (mut stood, second) = (Stood::default(), Duration::from_secs(1));
        for beat in 0..10 {
            let still = stood.has_stood(mark(beat), second * u32::try_from(beat * 10).unwrap());
            assert_eq!(still, Duration::ZERO, "it counted, ten seconds after the last look");
        }
        assert!(stood.has_stood(mark(9), second * 104) < DEAD);
        assert_eq!(stood.has_stood(mark(9), second * 105), DEAD);
    }
}
