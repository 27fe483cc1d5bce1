//! The decision on a proxied call: who calls, whether they may, and which grant serves.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use super::Broker;
use super::admission::{RateLimited, Running};
use super::cell::{Bearer, GrantCell, GrantState};
use super::directory::KeyedApp;
use crate::domain::app::{APP_KEY_PREFIX, App, KeyHash, has_key_form};
use crate::domain::grant::{ConsentReason, GrantKind};
use crate::domain::id::GrantId;
use crate::domain::route::{Need, Route, Upstream};
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::time::Timestamp;

/// How long a call that would be refused waits for other processes' changes to be read.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// How a key came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyVia {
    /// In a header.
    Header,
    /// In the URL, which only apps made for it may do.
    Query,
}

/// Why a key is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRefusal {
    /// It is no key, or a revoked one, or its user is shut out, or it may not come in the URL.
    Invalid,
    /// Its app or its overlap is past its time.
    Expired,
}

/// Whoever showed a valid app key.
#[derive(Clone)]
pub struct Caller(Arc<KeyedApp>);

/// The proof that a call may go on: only [`Caller::permit`] makes one.
#[derive(Clone)]
pub struct Permit {
    keyed: Arc<KeyedApp>,
    route: Route,
}

/// The grant that serves a call.
#[derive(Clone, Debug)]
pub struct Chosen {
    pub(super) cell: Arc<GrantCell>,
    /// When.
    at: Timestamp,
}

/// Why no grant serves a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantRefusal {
    /// None holds the scope.
    NoGrant {
        /// One does, but holds more than this app may use, and on `/mcp` the tool is named in the body.
        make_narrower: bool,
    },
    /// There is one, but its user must act.
    NeedsConsent {
        /// Which.
        grant: GrantId,
        /// Why.
        reason: ConsentReason,
    },
}

impl Caller {
    /// The app that called.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.0.app
    }

    /// The proof that this app may take this route.
    ///
    /// # Errors
    /// The scope that the app lacks.
    pub fn permit(self, route: Route) -> Result<Permit, Scope> {
        match route.need {
            Need::Scope(scope) if !self.0.app.scopes.contains(scope) => Err(scope),
            Need::Scope(_) | Need::Public => Ok(Permit { keyed: self.0, route }),
        }
    }
}

impl Permit {
    /// Who calls.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.keyed.app
    }

    /// What is called.
    #[must_use]
    pub const fn route(&self) -> &Route {
        &self.route
    }

    /// Whether this bearer may go out for the call: on `/mcp`, where the tool is named in the body, it may hold no more than
    /// the app. Asked of every bearer, since a grant may be widened between the choice and the sending.
    #[must_use]
    pub fn allows(&self, bearer: &Bearer) -> bool {
        self.takes(bearer.scopes)
    }

    fn takes(&self, scopes: ScopeSet) -> bool {
        self.route.upstream != Upstream::Mcp || scopes.is_subset_of(self.keyed.app.scopes)
    }
}

impl Chosen {
    /// The grant.
    #[must_use]
    pub fn grant(&self) -> GrantId {
        self.cell.id
    }
}

impl Broker {
    /// Whose key this is, by memory alone.
    ///
    /// # Errors
    /// [`KeyRefusal`]
    pub fn caller(&self, presented: &[u8], via: KeyVia) -> Result<Caller, KeyRefusal> {
        if !has_key_form(presented, APP_KEY_PREFIX) {
            return Err(KeyRefusal::Invalid);
        }
        let keyed = self.directory.find_key(&KeyHash::of(presented)).ok_or(KeyRefusal::Invalid)?;
        let app = &keyed.app;
        let shut_out = keyed.user.user.load().disabled_at.is_some();
        if app.revoked_at.is_some() || shut_out || (via == KeyVia::Query && !app.query_key) {
            return Err(KeyRefusal::Invalid);
        }
        if app.expires_at.is_some() || keyed.valid_until.is_some() {
            let now = self.clock.now();
            let past = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
            if past(app.expires_at) || past(keyed.valid_until) {
                return Err(KeyRefusal::Expired);
            }
        }
        Ok(Caller(keyed))
    }

    /// Whose key this is; a key that memory does not know may be another process's newest, so that is looked up once.
    ///
    /// # Errors
    /// [`KeyRefusal`]
    pub async fn find_caller(&self, presented: &[u8], via: KeyVia) -> Result<Caller, KeyRefusal> {
        match self.caller(presented, via) {
            Err(KeyRefusal::Invalid) if self.is_new_key(presented) => {
                Box::pin(self.look_again()).await;
                self.caller(presented, via)
            }
            known => known,
        }
    }

    fn is_new_key(&self, presented: &[u8]) -> bool {
        has_key_form(presented, APP_KEY_PREFIX) && self.directory.find_key(&KeyHash::of(presented)).is_none()
    }

    /// Catches up with other processes before a call is refused for what they may have changed a moment ago.
    pub async fn look_again(&self) {
        match tokio::time::timeout(LONGEST_LOOK, self.directory.catch_up()).await {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => tracing::debug!(error = %cause, "other processes' changes can't be read"),
            Err(_) => tracing::debug!("other processes' changes are read too slowly to wait for"),
        }
    }

    /// Whether the app's own rate lets this call in.
    ///
    /// # Errors
    /// When to try again.
    pub fn admit(&self, permit: &Permit) -> Result<(), RateLimited> {
        permit.keyed.admission.admit()
    }

    /// Counts the call among those of its app that run; nothing when too many run already.
    #[must_use]
    pub fn begin_call(&self, permit: &Permit) -> Option<Running> {
        permit.keyed.admission.begin()
    }

    /// Which grant serves this call: a usable one before one that needs its user, a bearer before a legacy key, then the
    /// one with the fewest other scopes, then by label. The choice comes first, waiting for a refresh after. Nothing for
    /// a public route.
    ///
    /// # Errors
    /// [`GrantRefusal`]
    pub fn choose(&self, permit: &Permit) -> Result<Option<Chosen>, GrantRefusal> {
        let Need::Scope(scope) = permit.route.need else { return Ok(None) };
        let app = permit.app();
        let now = self.clock.now();
        let mut best: Option<(Arc<GrantCell>, Arc<GrantState>)> = None;
        let mut make_narrower = false;
        for cell in permit.keyed.user.grants.load().iter() {
            if app.grant.is_some_and(|tied| tied != cell.id) {
                continue;
            }
            let state = cell.state();
            let grant = &state.grant;
            if !grant.scopes_granted.contains(scope) || (grant.kind == GrantKind::ApiKey && !permit.route.takes_api_key)
            {
                continue;
            }
            if !permit.takes(grant.scopes_granted) {
                make_narrower = true;
                continue;
            }
            let better = best.as_ref().is_none_or(|(_, held)| rank(&state, now) < rank(held, now));
            if better {
                best = Some((Arc::clone(cell), Arc::clone(&state)));
            }
        }
        let Some((cell, state)) = best else { return Err(GrantRefusal::NoGrant { make_narrower }) };
        match state.usable(now) {
            Ok(()) => Ok(Some(Chosen { cell, at: now })),
            Err(reason) => Err(GrantRefusal::NeedsConsent { grant: cell.id, reason }),
        }
    }

    /// Whether a call that runs may go on: its key, its app with the scope, and its grant still stand. Asked now and then
    /// while a stream is open, and after each wait for a token.
    #[must_use]
    pub fn still_permits(&self, permit: &Permit, chosen: Option<&Chosen>) -> bool {
        let Some(keyed) = self.directory.find_key(&permit.keyed.hash) else { return false };
        let now = self.clock.now();
        let stands = |until: Option<Timestamp>| until.is_none_or(|at| at > now);
        let shut_out = keyed.user.user.load().disabled_at.is_some();
        let scope_stands = permit.route.need.scope().is_none_or(|scope| keyed.app.scopes.contains(scope));
        let (valid_until, expires_at) = (keyed.valid_until, keyed.app.expires_at);
        let permit = Permit { keyed, route: permit.route.clone() };
        let grant_stands = chosen.is_none_or(|chosen| {
            let cell = self.directory.find_grant(chosen.cell.id);
            cell.is_some_and(|cell| permit.takes(cell.state().grant.scopes_granted))
        });
        !shut_out && stands(valid_until) && stands(expires_at) && scope_stands && grant_stands
    }

    /// The chosen grant's token if it could be used at once when it was chosen, a moment ago; else wait with
    /// [`Broker::wait_for_bearer`].
    #[must_use]
    pub fn bearer_now(&self, chosen: &Chosen) -> Option<Arc<Bearer>> {
        chosen.cell.bearer_now(chosen.at)
    }
}

/// Less is better.
fn rank(state: &GrantState, now: Timestamp) -> (bool, bool, u32, &str, Reverse<bool>) {
    let grant = &state.grant;
    (
        state.usable(now).is_err(),
        grant.kind == GrantKind::ApiKey,
        grant.scopes_granted.len(),
        grant.label.as_str(),
        Reverse(state.refreshable),
    )
}
