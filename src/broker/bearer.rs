//! The token for a call: at once when it can be, else after the grant's refresh.

use std::sync::Arc;
use std::time::Duration;

use super::Broker;
use super::call::Chosen;
use super::cell::Bearer;
use crate::domain::grant::ConsentReason;

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

impl Broker {
    /// The chosen grant's token, after the refresh that it needs or that runs.
    ///
    /// # Errors
    /// [`BearerRefusal`]
    pub async fn wait_for_bearer(&self, chosen: &Chosen) -> Result<Arc<Bearer>, BearerRefusal> {
        let now = self.clock.now();
        let state = chosen.cell.state();
        state.usable(now).map_err(|reason| BearerRefusal::NeedsConsent { reason })?;
        let bearer = state.bearer.as_ref().ok_or(BearerRefusal::Unreadable)?;
        if bearer.is_expired(now) {
            return Err(BearerRefusal::RefreshUnavailable { retry_after: Duration::from_secs(5) });
        }
        Ok(Arc::clone(bearer))
    }

    /// A newer token than the one that the provider has just refused: the stored one if it is newer, else that of one refresh.
    pub async fn bearer_after_401(&self, chosen: &Chosen, used: &Bearer) -> Option<Arc<Bearer>> {
        let state = chosen.cell.state();
        state.bearer.as_ref().filter(|bearer| bearer.version > used.version).map(Arc::clone)
    }
}
