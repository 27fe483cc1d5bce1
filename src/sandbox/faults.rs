//! Misbehaviour on command, and what was seen. Only the library hands this out: no flag and no URL reaches it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::config::TokensAlive;
use super::fault::{CallFault, TokenFault};
use super::moments::{Hold, Moment, Moments};
use super::record::{Counts, Received};
use super::state::Memory;
use crate::ambient::Clock;

/// For how many requests a fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// The next so many that it fits.
    Next(u32),
    /// All, until [`Faults::clear`].
    Always,
}

#[derive(Debug)]
struct Planned<F> {
    left: Times,
    /// A grant type, or a path; `None` fits all.
    only: Option<String>,
    fault: F,
}

/// Faults in the order in which they were planned: the first that fits is taken.
#[derive(Debug)]
struct Plan<F>(Vec<Planned<F>>);

impl<F: Clone> Plan<F> {
    fn take(&mut self, what: &str) -> Option<F> {
        let at = self.0.iter().position(|planned| planned.only.as_deref().is_none_or(|only| only == what))?;
        let fault = self.0[at].fault.clone();
        if let Times::Next(left) = &mut self.0[at].left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.0.remove(at);
            }
        }
        Some(fault)
    }

    fn add(&mut self, left: Times, only: Option<&str>, fault: F) {
        if left != Times::Next(0) {
            self.0.push(Planned { left, only: only.map(str::to_owned), fault });
        }
    }
}

#[derive(Debug)]
struct Plans {
    token: Plan<TokenFault>,
    api: Plan<CallFault>,
    mcp: Plan<CallFault>,
}

/// Tells a sandbox how to misbehave, and what it has seen. Cheap to clone.
#[derive(Clone)]
pub struct Faults {
    plans: Arc<Mutex<Plans>>,
    pub(super) moments: Moments,
    pub(super) counts: Counts,
    date_offset: Arc<AtomicI64>,
    unreachable: Arc<AtomicBool>,
    memory: Memory,
    clock: Clock,
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faults").field("plans", &self.plans).finish_non_exhaustive()
    }
}

impl Faults {
    pub(super) fn new(memory: Memory, clock: Clock) -> Self {
        let plans = Plans { token: Plan(Vec::new()), api: Plan(Vec::new()), mcp: Plan(Vec::new()) };
        Self {
            plans: Arc::new(Mutex::new(plans)),
            moments: Moments::new(),
            counts: Counts::default(),
            date_offset: Arc::new(AtomicI64::new(0)),
            unreachable: Arc::new(AtomicBool::new(false)),
            memory,
            clock,
        }
    }

    fn plans(&self) -> MutexGuard<'_, Plans> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the token endpoint does to requests of any grant type.
    pub fn token(&self, times: Times, fault: TokenFault) {
        self.plans().token.add(times, None, fault);
    }

    /// What the token endpoint does to refreshes only.
    pub fn refresh(&self, times: Times, fault: TokenFault) {
        self.plans().token.add(times, Some("refresh_token"), fault);
    }

    /// What the API does to calls of any path.
    pub fn api(&self, times: Times, fault: CallFault) {
        self.plans().api.add(times, None, fault);
    }

    /// What the API does to calls of one path, such as `/api/vehicles`, whatever their query.
    pub fn api_path(&self, times: Times, path: &str, fault: CallFault) {
        self.plans().api.add(times, Some(path), fault);
    }

    /// What the MCP server does.
    pub fn mcp(&self, times: Times, fault: CallFault) {
        self.plans().mcp.add(times, None, fault);
    }

    /// Forgets every fault that is planned; holds and counts stay.
    pub fn clear(&self) {
        let mut plans = self.plans();
        plans.token.0.clear();
        plans.api.0.clear();
        plans.mcp.0.clear();
        self.date_offset.store(0, Ordering::Relaxed);
        self.unreachable.store(false, Ordering::Relaxed);
    }

    /// Makes every `Date` header wrong by so many seconds.
    pub fn date_offset(&self, seconds: i64) {
        self.date_offset.store(seconds, Ordering::Relaxed);
    }

    /// Breaks every connection, new or kept, before a request is read: as if the network were down.
    pub fn unreachable(&self, yes: bool) {
        self.unreachable.store(yes, Ordering::Relaxed);
    }

    /// Resolves once a request reaches the moment after this call.
    pub fn reached(&self, moment: Moment) -> impl Future<Output = ()> + Send + use<> {
        self.moments.reached(moment)
    }

    /// Holds requests that reach the moment from now on, until the answer is released or dropped.
    pub fn hold(&self, moment: Moment) -> Hold {
        self.moments.hold(moment)
    }

    /// Token requests so far.
    #[must_use]
    pub fn token_requests(&self) -> u64 {
        self.counts.look().token_requests.values().sum()
    }

    /// Token requests of one grant type so far.
    #[must_use]
    pub fn token_requests_of(&self, grant_type: &str) -> u64 {
        self.counts.look().token_requests.get(grant_type).copied().unwrap_or(0)
    }

    /// Refreshes that rotated.
    #[must_use]
    pub fn refreshes(&self) -> u64 {
        self.counts.look().refreshes
    }

    /// Calls to this path so far (`/api/vehicles`, `/mcp`), whatever their query and their answer.
    #[must_use]
    pub fn calls(&self, path: &str) -> u64 {
        self.counts.look().calls.get(path).copied().unwrap_or(0)
    }

    /// Calls to the API and to MCP so far.
    #[must_use]
    pub fn all_calls(&self) -> u64 {
        self.counts.look().calls.values().sum()
    }

    /// Commands that a car has carried out so far, by its public id and the command's name.
    #[must_use]
    pub fn commands(&self, vehicle: &str, name: &str) -> u64 {
        self.counts.look().commands.get(&(vehicle.to_owned(), name.to_owned())).copied().unwrap_or(0)
    }

    /// The last requests, oldest first, as they arrived; at most 20,000 are remembered.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.counts.look().received.iter().cloned().collect()
    }

    /// Starts all counts and the record of requests anew.
    pub fn forget_received(&self) {
        self.counts.reset();
    }

    /// Revokes all tokens and keys of an account at the provider.
    pub fn revoke_account_tokens(&self, account: u32) {
        self.memory.change(|state| state.tokens.revoke_account(account));
    }

    /// Ends the life of every access token now; refresh tokens live on.
    pub fn expire_access_tokens(&self) {
        let now = self.clock.uncorrected().millis();
        self.memory.change(|state| state.tokens.expire_access(now));
    }

    /// Which tokens of an account work.
    #[must_use]
    pub fn tokens_alive(&self, account: u32) -> TokensAlive {
        let now = self.clock.uncorrected().millis();
        self.memory.lock().tokens.alive(account, now)
    }

    pub(super) fn take_token(&self, grant_type: &str) -> Option<TokenFault> {
        self.plans().token.take(grant_type)
    }

    pub(super) fn take_api(&self, path: &str) -> Option<CallFault> {
        self.plans().api.take(path)
    }

    pub(super) fn take_mcp(&self) -> Option<CallFault> {
        self.plans().mcp.take("")
    }

    pub(super) fn is_unreachable(&self) -> bool {
        self.unreachable.load(Ordering::Relaxed)
    }

    pub(super) fn date_off_by(&self) -> i64 {
        self.date_offset.load(Ordering::Relaxed)
    }
}
