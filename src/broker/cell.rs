//! One grant in memory: what a call needs of it, without a lock and without the database.

use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, Guard};
use http::HeaderValue;
use memchr::memmem;

use crate::domain::grant::{ConsentReason, Grant, GrantKind, GrantStatus};
use crate::domain::id::{GrantId, UserId};
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{AccessToken, Secret};
use crate::domain::time::Timestamp;
use crate::vault::Place;

/// So much of a token's beginning is looked for first in what the provider sends back.
const LEAD: usize = 8;

/// A token on its way out: what is put on a call.
pub struct Bearer {
    /// The version of the grant's tokens that this is.
    pub version: i64,
    /// When it expires, when that is known.
    pub expires_at: Option<Timestamp>,
    /// What it holds.
    pub scopes: ScopeSet,
    credential: Credential,
    /// Finds the token's beginning; made with the first answer that is searched, since most tokens lie unused.
    lead: OnceLock<Box<memmem::Finder<'static>>>,
}

/// How a token is shown to the provider.
#[derive(Clone)]
pub enum Credential {
    /// `Authorization: Bearer …`, ready to be set.
    Header(HeaderValue),
    /// `?api_key=…` of the provider's old endpoints.
    ApiKey(Secret<AccessToken>),
}

impl Bearer {
    /// This grant's bearer. Nothing when the token could not stand in a header.
    #[must_use]
    pub fn new(grant: &Grant, token: &Secret<AccessToken>) -> Option<Self> {
        let credential = if grant.kind == GrantKind::ApiKey {
            Credential::ApiKey(token.clone())
        } else {
            // One value, no comma, `Bearer ` once: the provider reads after the last `Bearer ` and cuts at the first comma.
            if token.is_empty() || !token.expose().iter().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=|".contains(b))
            {
                return None;
            }
            let text = zeroize::Zeroizing::new([b"Bearer ", token.expose()].concat());
            let mut value = HeaderValue::from_bytes(&text).ok()?;
            value.set_sensitive(true);
            Credential::Header(value)
        };
        let (version, expires_at, scopes) = (grant.token_version, grant.expires_at, grant.scopes_granted);
        Some(Self { version, expires_at, scopes, credential, lead: OnceLock::new() })
    }

    /// How it is shown to the provider.
    #[must_use]
    pub const fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The token's own bytes, to keep them out of what an app can read.
    #[must_use]
    pub fn token(&self) -> &[u8] {
        match &self.credential {
            Credential::Header(value) => &value.as_bytes()[b"Bearer ".len()..],
            Credential::ApiKey(token) => token.expose(),
        }
    }

    /// Finds where the token, or its beginning, may stand.
    #[must_use]
    pub fn lead(&self) -> memmem::Finder<'_> {
        let made = self.lead.get_or_init(|| {
            let token = self.token();
            Box::new(memmem::Finder::new(&token[..token.len().min(LEAD)]).into_owned())
        });
        made.as_ref().as_ref()
    }

    /// Whether it is past its expiry, as far as that is known.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[bearer version {} redacted]", self.version)
    }
}

/// What is known of a grant at one moment.
#[derive(Debug)]
pub struct GrantState {
    /// The grant.
    pub grant: Grant,
    /// Its token, opened; none when it does not open.
    pub bearer: Option<Arc<Bearer>>,
    /// Whether there is a refresh token.
    pub refreshable: bool,
    /// Whether the settings still name what the grant was made with.
    pub bound_here: bool,
}

impl GrantState {
    /// Whether a call can be tried, or why its user is needed.
    ///
    /// # Errors
    /// Why the grant's user must act.
    pub fn usable(&self, now: Timestamp) -> Result<(), ConsentReason> {
        if !self.bound_here {
            return Err(ConsentReason::ProviderChanged);
        }
        if self.grant.status == GrantStatus::NeedsConsent {
            return Err(self.grant.reason.unwrap_or(ConsentReason::RefreshRejected));
        }
        if !self.refreshable && self.grant.expires_at.is_some_and(|at| at <= now) {
            return Err(ConsentReason::Expired);
        }
        Ok(())
    }

    /// The status to show: with other settings than the grant was made with, it needs its user.
    #[must_use]
    pub fn shown(&self, now: Timestamp) -> (GrantStatus, Option<ConsentReason>) {
        match self.usable(now) {
            Err(reason) => (GrantStatus::NeedsConsent, Some(reason)),
            Ok(()) => (self.grant.status, self.grant.reason),
        }
    }
}

/// One grant in memory. Its state is replaced whole, so that a reader never sees half a change.
#[derive(Debug)]
pub struct GrantCell {
    /// Names the grant.
    pub id: GrantId,
    /// Whose it is.
    pub user: UserId,
    state: ArcSwap<GrantState>,
}

impl GrantCell {
    pub(super) fn new(state: GrantState) -> Self {
        Self { id: state.grant.id, user: state.grant.user, state: ArcSwap::from_pointee(state) }
    }

    /// What is known now.
    #[must_use]
    pub fn state(&self) -> Guard<Arc<GrantState>> {
        self.state.load()
    }

    /// Replaces what is known, unless it is of an older token version than what stands: a database that could not be
    /// written lags behind memory, and must not win.
    pub(super) fn replace(&self, new: GrantState) {
        let new = Arc::new(new);
        self.state.rcu(|old| {
            if new.grant.token_version < old.grant.token_version { Arc::clone(old) } else { Arc::clone(&new) }
        });
    }

    /// The token if it can be put on a call at once: nothing runs that is about to kill it, and it is not past its expiry.
    #[must_use]
    pub fn bearer_now(&self, now: Timestamp) -> Option<Arc<Bearer>> {
        let state = self.state.load();
        if state.grant.status != GrantStatus::Active || !state.bound_here {
            return None;
        }
        state.bearer.as_ref().filter(|bearer| !bearer.is_expired(now)).map(Arc::clone)
    }
}

/// The row that a grant's tokens are sealed for: grant and user, so that neither can be swapped.
#[must_use]
pub(super) fn token_row(grant: GrantId, user: UserId) -> [u8; 32] {
    let mut row = [0; 32];
    row[..16].copy_from_slice(grant.as_bytes());
    row[16..].copy_from_slice(user.as_bytes());
    row
}

/// The place of a grant's access token of this version.
#[must_use]
pub(super) const fn access_token_place(row: &[u8; 32], version: i64) -> Place<'_> {
    Place { table: "grants", row, column: "access_token", version }
}

/// The place of a grant's refresh token of this version.
#[must_use]
pub(super) const fn refresh_token_place(row: &[u8; 32], version: i64) -> Place<'_> {
    Place { table: "grants", row, column: "refresh_token", version }
}
