//! The course of one refresh: lease, look again, journal, send.

use std::time::Duration;

use super::keep::Kept;
use super::lease::Leased;
use super::recover::Recovery;
use super::{Broker, RefreshOutcome, Tell, Why};
use crate::broker::cell::{access_token_place, refresh_token_place, token_row};
use crate::domain::grant::{ConsentReason, GrantKind, GrantStatus};
use crate::domain::id::GrantId;
use crate::domain::secret::{AccessToken, RefreshToken, Secret};
use crate::oauth::{NoRegistration, Reply};
use crate::store::{Change, SpendAnswer, Unfinished};
use crate::vault::GrantKey;

/// After a failed write to the database no refresh is begun for so long.
const STORAGE_PAUSE: Duration = Duration::from_secs(1);
/// When the scheduler looks at a spending that nobody closed.
const LOOK_AT: Duration = Duration::from_secs(5);
/// A grant that can't be refreshed under these settings is looked at again after so long.
const ASIDE: Duration = Duration::from_hours(1);
/// A flight sends at most so many requests: the refresh, and the one that decides what became of it.
const SENDS: usize = 2;

/// A grant's secrets, opened for the length of one refresh.
pub(super) struct Opened {
    pub(super) key: GrantKey,
    pub(super) access_token: Secret<AccessToken>,
    pub(super) refresh_token: Secret<RefreshToken>,
}

/// A token version that the journal says is being spent. It can be sent once.
pub(super) struct Spending {
    leased: Leased,
}

/// A request that was sent, and what came of it.
pub(super) struct Answered {
    pub(super) leased: Leased,
    pub(super) reply: Result<Reply, NoRegistration>,
}

impl Spending {
    async fn send(self, broker: &Broker, opened: &Opened) -> Answered {
        let reply = broker.oauth.refresh(&opened.refresh_token).await;
        Answered { leased: self.leased, reply }
    }
}

impl Broker {
    /// One flight from end to end.
    pub(super) async fn course(&self, id: GrantId, wanting: i64, why: Why, tell: &Tell) -> RefreshOutcome {
        if self.is_storage_paused() {
            return RefreshOutcome::StorageUnavailable;
        }
        let outcome = self.attempt(id, wanting, why, tell).await;
        if outcome == RefreshOutcome::StorageUnavailable {
            let mut not_before = self.refresher.not_before.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *not_before = self.clock.elapsed() + STORAGE_PAUSE;
        }
        outcome
    }

    async fn attempt(&self, id: GrantId, wanting: i64, why: Why, tell: &Tell) -> RefreshOutcome {
        if let Err(cause) = self.prepare_spill().await {
            tracing::error!(grant.id = %id, error = %cause, "a refresh can't be begun: no space can be set aside for its answer");
            return RefreshOutcome::StorageUnavailable;
        }
        self.require_endpoints().await;
        self.notice_step();
        let leased = match self.lease(id, wanting).await {
            Ok(leased) => leased,
            Err(outcome) => {
                self.see(Change::Grant(id)).await;
                return outcome;
            }
        };
        if let Some(outcome) = self.needless(&leased, wanting, why) {
            self.put_aside(&leased, outcome).await;
            self.release(leased).await;
            self.see(Change::Grant(id)).await;
            return outcome;
        }
        let opened = match self.open_secrets(&leased) {
            Ok(opened) => opened,
            Err(outcome) => {
                self.put_aside(&leased, outcome).await;
                self.release(leased).await;
                return outcome;
            }
        };
        self.spend(leased, &opened, why, tell).await
    }

    async fn spend(&self, mut leased: Leased, opened: &Opened, why: Why, tell: &Tell) -> RefreshOutcome {
        let mut in_doubt = leased.row.open.is_some();
        for _ in 0..SENDS {
            if in_doubt {
                leased = match self.recover(leased, opened).await {
                    Recovery::Send(leased) => leased,
                    Recovery::Wait(leased) => {
                        let id = leased.id();
                        self.release(leased).await;
                        self.see(Change::Grant(id)).await;
                        return RefreshOutcome::Uncertain;
                    }
                };
            }
            let spending = match self.begin_spending(leased, why).await {
                Ok(spending) => spending,
                Err(outcome) => return outcome,
            };
            let answered = spending.send(self, opened).await;
            match self.keep(answered, opened, in_doubt, why, tell).await {
                Kept::Ended(outcome) => return outcome,
                Kept::InDoubt(still) => {
                    leased = still;
                    in_doubt = true;
                }
            }
        }
        self.release(leased).await;
        RefreshOutcome::Uncertain
    }

    /// Whether there is nothing to send after all, by what stands inside the lease.
    fn needless(&self, leased: &Leased, wanting: i64, why: Why) -> Option<RefreshOutcome> {
        let (record, now) = (&leased.row.record, self.clock.now());
        let grant = &record.grant;
        if grant.status == GrantStatus::NeedsConsent {
            return Some(RefreshOutcome::NeedsConsent(grant.reason.unwrap_or(ConsentReason::RefreshRejected)));
        }
        if grant.token_version > wanting {
            return Some(RefreshOutcome::Adopted);
        }
        if grant.kind != GrantKind::OAuth || record.refresh_token.is_none() {
            return Some(RefreshOutcome::NotRefreshable);
        }
        if !grant.binding.allows(&self.directory.binding(), grant.kind) {
            return Some(RefreshOutcome::OtherProvider);
        }
        let due_in = record.due_at.map_or(Duration::ZERO, |due| due.since(now));
        match why {
            Why::Schedule if leased.row.open.is_none() && (record.due_at.is_none() || !due_in.is_zero()) => {
                Some(RefreshOutcome::Adopted)
            }
            // It failed a moment ago: whoever calls is told at once, and the provider is left in peace.
            Why::Call | Why::Unauthorized
                if leased.row.open.is_none() && leased.row.failures > 0 && !due_in.is_zero() =>
            {
                Some(RefreshOutcome::Postponed { retry_after: due_in })
            }
            _ => None,
        }
    }

    /// Keeps the scheduler from looking at once at a grant that can't be refreshed.
    async fn put_aside(&self, leased: &Leased, outcome: RefreshOutcome) {
        let due_at = match outcome {
            RefreshOutcome::OtherProvider | RefreshOutcome::Unreadable => Some(self.clock.now().plus(ASIDE)),
            RefreshOutcome::NotRefreshable | RefreshOutcome::NeedsConsent(_) => None,
            _ => return,
        };
        if let Err(cause) = self.store.postpone(leased.id(), leased.version(), due_at).await {
            tracing::debug!(grant.id = %leased.id(), error = %cause, "a grant could not be put aside");
        }
    }

    fn open_secrets(&self, leased: &Leased) -> Result<Opened, RefreshOutcome> {
        let record = &leased.row.record;
        let grant = &record.grant;
        let row = token_row(grant.id, grant.user);
        let (Some(data_key), Some(access), Some(refresh)) =
            (&record.data_key, &record.access_token, &record.refresh_token)
        else {
            return Err(RefreshOutcome::NotRefreshable);
        };
        let opened = self.vault.open_data_key(grant.id, data_key).and_then(|key| {
            let access_token = key.open(&access_token_place(&row, grant.token_version), access)?;
            let refresh_token = key.open(&refresh_token_place(&row, grant.token_version), refresh)?;
            Ok(Opened { key, access_token, refresh_token })
        });
        opened.map_err(|cause| {
            tracing::error!(grant.id = %grant.id, error = %cause, "a grant's tokens do not open, so they can't be refreshed");
            RefreshOutcome::Unreadable
        })
    }

    /// Commits to the journal that this version is about to be spent. Without that nothing is sent.
    async fn begin_spending(&self, leased: Leased, why: Why) -> Result<Spending, RefreshOutcome> {
        let (id, version, me) = (leased.id(), leased.version(), self.refresher.me);
        loop {
            let permit = self.refresher.pace.acquire(why.class()).await;
            let now = self.clock.now();
            let rate = self.refresher.pace.rate();
            match self.store.begin_spending(id, me, version, rate, now, now.plus(LOOK_AT)).await {
                Ok(SpendAnswer::Begun) => {
                    // From now on this process's calls wait for the new token.
                    self.see(Change::Grant(id)).await;
                    return Ok(Spending { leased });
                }
                Ok(SpendAnswer::Limited { wait }) => {
                    permit.give_back();
                    let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(1_000));
                    tokio::time::sleep(wait.min(Duration::from_secs(1))).await;
                }
                Ok(SpendAnswer::Outrun) => {
                    permit.give_back();
                    self.release(leased).await;
                    self.see(Change::Grant(id)).await;
                    return Err(RefreshOutcome::Adopted);
                }
                Err(cause) => {
                    permit.give_back();
                    tracing::error!(grant.id = %id, error = %cause, "a refresh is not sent: its journal row can't be written");
                    self.release(leased).await;
                    return Err(RefreshOutcome::StorageUnavailable);
                }
            }
        }
    }

    /// Keeps how a refresh that gave no tokens leaves the grant. What can't be written stays an open journal row, which is a
    /// named state that the next look finds out about.
    pub(super) async fn leave(&self, leased: &Leased, left: Unfinished) {
        for pause in [0, 200, 1_000] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            match self.store.keep_unfinished(leased.id(), self.refresher.me, leased.version(), left).await {
                Ok(_) => break,
                Err(cause) => {
                    tracing::warn!(grant.id = %leased.id(), error = %cause, "how a refresh ended can't be written at the moment");
                }
            }
        }
        self.see(Change::Grant(leased.id())).await;
    }

    pub(super) async fn prepare_spill(&self) -> std::io::Result<()> {
        let broker = self.clone();
        tokio::task::spawn_blocking(move || broker.refresher.spill.prepare())
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()))
    }

    pub(super) fn is_storage_paused(&self) -> bool {
        let not_before = *self.refresher.not_before.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.clock.elapsed() < not_before
    }
}
