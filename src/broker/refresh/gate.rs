//! The gate for calls: while a refresh runs that is about to kill the token, they wait a little for the next one.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::{Broker, RefreshOutcome, Why};
use crate::broker::call::Chosen;
use crate::broker::cell::{Bearer, GrantState};
use crate::domain::grant::{ConsentReason, GrantKind, GrantStatus};
use crate::domain::id::GrantId;
use crate::oauth::Probe;

/// How long a call waits for a refresh.
const GATE: Duration = Duration::from_secs(3);
/// How many refreshes of one grant a minute 401s may cause.
const REFRESHES: usize = 6;
/// A minute.
const MINUTE: Duration = Duration::from_secs(60);

/// Why a call gets no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BearerRefusal {
    /// The provider can't be reached for a refresh, and the old token is past its expiry.
    RefreshUnavailable {
        /// When to try again.
        retry_after: Duration,
    },
    /// The refresh was rejected: the grant's user must act.
    NeedsConsent {
        /// Why.
        reason: ConsentReason,
    },
    /// The token is kept but can't be read.
    Unreadable,
}

/// What was done about a grant's 401s lately, by the monotonic clock.
#[derive(Default)]
pub(super) struct Refused {
    refreshes: VecDeque<Duration>,
    probed: Option<Duration>,
}

impl Broker {
    /// The chosen grant's token, after the refresh that it needs or that runs: three seconds at most, then the old one if
    /// it is not past its expiry, so that an outage of the token endpoint is none of the API.
    ///
    /// # Errors
    /// [`BearerRefusal`]
    pub async fn wait_for_bearer(&self, chosen: &Chosen) -> Result<Arc<Bearer>, BearerRefusal> {
        let cell = &chosen.cell;
        // A token must not be taken for expired because the clock was set a moment ago.
        self.notice_step();
        let flight = {
            let state = cell.state();
            let bearer = self.judged(&state)?;
            let alive = !bearer.is_expired(self.clock.now());
            let in_flight = self.refresher.flights().contains_key(&cell.id);
            let at_once = match state.grant.status {
                // The provider had not rotated when it was last asked, or has not been asked yet; a 401 will tell.
                GrantStatus::Active | GrantStatus::Uncertain => alive && !in_flight,
                _ => false,
            };
            if at_once || !state.refreshable {
                return if alive {
                    Ok(bearer)
                } else {
                    Err(BearerRefusal::NeedsConsent { reason: ConsentReason::Expired })
                };
            }
            self.fly(cell.id, bearer.version, Why::Call)
        };
        let outcome = timeout(GATE, flight.outcome()).await.ok().flatten();
        let bearer = self.judged(&cell.state())?;
        if !bearer.is_expired(self.clock.now()) {
            return Ok(bearer);
        }
        let retry_after = match outcome {
            Some(RefreshOutcome::Postponed { retry_after }) => retry_after.max(Duration::from_secs(1)),
            _ => Duration::from_secs(5),
        };
        Err(BearerRefusal::RefreshUnavailable { retry_after })
    }

    fn judged(&self, state: &GrantState) -> Result<Arc<Bearer>, BearerRefusal> {
        state.usable(self.clock.now()).map_err(|reason| BearerRefusal::NeedsConsent { reason })?;
        state.bearer.clone().ok_or(BearerRefusal::Unreadable)
    }

    /// A newer token than the one that the provider has just refused: the stored one if it is newer, else that of one
    /// refresh. Nothing when there is none, or when 401s have caused six refreshes of this grant in the last minute.
    pub async fn bearer_after_401(&self, chosen: &Chosen, used: &Bearer) -> Option<Arc<Bearer>> {
        let cell = &chosen.cell;
        let (newer, settled, refreshable) = {
            let state = cell.state();
            let newer = state.bearer.clone().filter(|bearer| bearer.version > used.version);
            (newer, state.grant.status == GrantStatus::Active, state.refreshable)
        };
        if newer.is_some() && settled {
            return newer;
        }
        if !refreshable {
            self.probe_refused(chosen, used).await;
            return None;
        }
        let running = self.refresher.flights().get(&cell.id).cloned();
        let flight = match running {
            Some(flight) => flight,
            None if self.may_refresh_after_401(cell.id) => self.fly(cell.id, used.version, Why::Unauthorized),
            None => return None,
        };
        let patience = self.settings.token_timeout + GATE;
        let _ = timeout(patience, flight.outcome()).await;
        cell.state().bearer.clone().filter(|bearer| bearer.version > used.version)
    }

    fn may_refresh_after_401(&self, id: GrantId) -> bool {
        let now = self.clock.elapsed();
        let mut refused = self.refresher.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() > 1_024 {
            refused.retain(|_, lately| {
                lately.refreshes.back().into_iter().chain(&lately.probed).any(|at| now.saturating_sub(*at) < MINUTE)
            });
        }
        let lately = refused.entry(id).or_default();
        while lately.refreshes.front().is_some_and(|at| now.saturating_sub(*at) >= MINUTE) {
            lately.refreshes.pop_front();
        }
        let may = lately.refreshes.len() < REFRESHES;
        if may {
            lately.refreshes.push_back(now);
        }
        may
    }

    /// One 401 does not condemn a token that nothing can renew: one probe decides, at most one a minute.
    async fn probe_refused(&self, chosen: &Chosen, used: &Bearer) {
        let id = chosen.cell.id;
        {
            let now = self.clock.elapsed();
            let mut refused = self.refresher.refused.lock().unwrap_or_else(PoisonError::into_inner);
            let lately = refused.entry(id).or_default();
            if lately.probed.is_some_and(|at| now.saturating_sub(at) < MINUTE) {
                return;
            }
            lately.probed = Some(now);
        }
        let kind: GrantKind = chosen.cell.state().grant.kind;
        let token = crate::domain::secret::Secret::new(used.token());
        if self.oauth.probe(kind, &token).await != Probe::Refused {
            return;
        }
        match self.store.find_grant(id, None).await {
            Ok(Some(record)) => {
                self.condemn_version(&record, used.version, ConsentReason::Revoked).await;
            }
            Ok(None) => {}
            Err(cause) => {
                tracing::warn!(grant.id = %id, error = %cause, "a revoked token can't be marked at the moment");
            }
        }
    }
}
