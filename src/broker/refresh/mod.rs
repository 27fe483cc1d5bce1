//! The refresh protocol: a grant is never lost, and never refreshed twice.
//!
//! The provider kills the old refresh token and the old access token at every refresh, so one refresh runs per grant, in
//! this process (a *flight* that every caller joins) and among all processes on the database (a *lease* with a beat).
//! A flight's course, each state a type that only the step before can make:
//!
//! ```text
//! lease() ──> Leased ──> begin_spending() ──> Spending ──> send() ──> Answered ──> keep()
//! ```
//!
//! ARCHITECTURE.md shows which step leads to which [`RefreshOutcome`].
//!
//! A flight runs in a task of its own; callers may leave. The lease decides who may send, never whether an answer is
//! kept: that is up to the version that was spent.

mod course;
mod gate;
mod keep;
mod lease;
mod pace;
mod recover;
mod scheduler;
mod spill;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

pub use gate::BearerRefusal;

use self::gate::Refused;
use self::pace::{Class, Pace};
use self::spill::Spill;
use super::Broker;
use crate::ambient::{Clock, Entropy};
use crate::domain::grant::ConsentReason;
use crate::domain::id::{GrantId, UserId};
use crate::oauth::ConfigurationFault;
use crate::store::{ProcessId, StoreError};

/// What a flight ended with, by what it means for whoever waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshOutcome {
    /// New tokens are in use.
    Refreshed,
    /// Somebody else's newer tokens are in use, or none were needed.
    Adopted,
    /// The grant needs its user.
    NeedsConsent(ConsentReason),
    /// Our registration is at fault; the grant is as it was.
    Misconfigured(ConfigurationFault),
    /// It will work another time; the grant is as it was.
    Postponed {
        /// When to try again.
        retry_after: Duration,
    },
    /// A refresh was sent and its answer is not known; it is being found out.
    Uncertain,
    /// There is no refresh token.
    NotRefreshable,
    /// The grant was made under other settings; its tokens go nowhere.
    OtherProvider,
    /// The grant's tokens are kept but do not open.
    Unreadable,
    /// The grant was ended.
    Gone,
    /// The database can't be written, so nothing is sent.
    StorageUnavailable,
}

impl RefreshOutcome {
    /// What happened and what to do, for a person.
    #[must_use]
    pub fn advice(self) -> String {
        match self {
            Self::Refreshed => "The tokens were refreshed.".to_owned(),
            Self::Adopted => "The tokens are fresh already.".to_owned(),
            Self::NeedsConsent(reason) => reason.advice().to_owned(),
            Self::Misconfigured(fault) => format!("The grant is as it was: {fault}."),
            Self::Postponed { retry_after } => format!(
                "Teslascope can't refresh at the moment. The grant is as it was; Keyfob tries again in {} s.",
                retry_after.as_secs().max(1)
            ),
            Self::Uncertain => {
                "Teslascope's answer was lost on the way. Keyfob is finding out whether the old tokens still work."
                    .to_owned()
            }
            Self::NotRefreshable => "This grant has no refresh token. Renew it instead.".to_owned(),
            Self::OtherProvider => ConsentReason::ProviderChanged.advice().to_owned(),
            Self::Unreadable => "The grant's tokens can't be opened with this master key. Renew the grant.".to_owned(),
            Self::Gone => "The grant was disconnected.".to_owned(),
            Self::StorageUnavailable => {
                "The database can't be written at the moment, so nothing was sent. Free some disk space and try again."
                    .to_owned()
            }
        }
    }
}

/// Why a refresh is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It is due.
    Schedule,
    /// A call waits.
    Call,
    /// The provider refused the token.
    Unauthorized,
    /// A person asked.
    Person,
}

impl Why {
    const fn word(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Call => "call",
            Self::Unauthorized => "unauthorized",
            Self::Person => "person",
        }
    }

    const fn class(self) -> Class {
        match self {
            Self::Schedule => Class::Schedule,
            Self::Call | Self::Unauthorized | Self::Person => Class::Call,
        }
    }
}

/// What refreshes share in this process.
pub(super) struct Refresher {
    me: ProcessId,
    flights: Mutex<HashMap<GrantId, Flight>>,
    pace: Pace,
    spill: Spill,
    refused: Mutex<HashMap<GrantId, Refused>>,
    fault: ArcSwapOption<ConfigurationFault>,
    /// No refresh is begun before this moment of the monotonic clock: the database could not be written.
    not_before: Mutex<Duration>,
}

impl Refresher {
    pub(super) fn new(database: &Path, rate: u32, clock: &Clock, entropy: &Entropy) -> Self {
        let me = entropy.bytes();
        Self {
            me,
            flights: Mutex::default(),
            pace: Pace::new(rate, clock.clone()),
            spill: Spill::new(database, me),
            refused: Mutex::default(),
            fault: ArcSwapOption::empty(),
            not_before: Mutex::default(),
        }
    }

    fn flights(&self) -> std::sync::MutexGuard<'_, HashMap<GrantId, Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running refresh, as those see it who wait for it.
#[derive(Clone)]
pub(super) struct Flight(watch::Receiver<Option<RefreshOutcome>>);

impl Flight {
    /// Waits for its outcome; nothing when it broke off without one.
    pub(super) async fn outcome(mut self) -> Option<RefreshOutcome> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|outcome| *outcome)
    }
}

/// Tells those who wait. The first outcome counts.
pub(super) struct Tell(watch::Sender<Option<RefreshOutcome>>);

impl Tell {
    fn tell(&self, outcome: RefreshOutcome) {
        self.0.send_if_modified(|told| {
            let first = told.is_none();
            if first {
                *told = Some(outcome);
            }
            first
        });
    }
}

/// Takes a flight off the list when its task ends, also by a panic.
struct Landing(Broker, GrantId);

impl Drop for Landing {
    fn drop(&mut self) {
        self.0.refresher.flights().remove(&self.1);
    }
}

impl Broker {
    /// Joins the grant's running refresh or begins one. `wanting` is the token version that whoever asks has found
    /// wanting: when a newer one stands, nothing is sent.
    pub(super) fn fly(&self, id: GrantId, wanting: i64, why: Why) -> Flight {
        let mut flights = self.refresher.flights();
        if let Some(flight) = flights.get(&id) {
            return flight.clone();
        }
        let (tell, told) = watch::channel(None);
        let flight = Flight(told);
        flights.insert(id, flight.clone());
        drop(flights);
        let (broker, landing) = (self.clone(), Landing(self.clone(), id));
        self.spawn(async move {
            let (landing, tell) = (landing, Tell(tell));
            let outcome = broker.course(id, wanting, why, &tell).await;
            // First off the list, then told: whoever asks again now does not join a flight that has ended. One that was
            // told before its end is still at work on the database, and stays on the list.
            drop(landing);
            tell.tell(outcome);
        });
        flight
    }

    /// Refreshes a grant now, because a person asks; of this user, if one is named. Waits for the outcome, and runs on if
    /// the person leaves. Nothing when there is no such grant.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn refresh_now(&self, id: GrantId, of: Option<UserId>) -> Result<Option<RefreshOutcome>, StoreError> {
        let Some(found) = self.store.find_grant(id, of).await? else { return Ok(None) };
        let flight = self.fly(id, found.grant.token_version, Why::Person);
        Ok(Some(flight.outcome().await.unwrap_or(RefreshOutcome::StorageUnavailable)))
    }

    /// What is wrong with our registration at the provider, as the last refresh found it.
    #[must_use]
    pub fn registration_fault(&self) -> Option<ConfigurationFault> {
        self.refresher.fault.load_full().map(|fault| *fault)
    }

    /// Waits until no refresh runs, or `patience` is over. False when one still does: the next start will find its journal.
    pub async fn finish_refreshes(&self, patience: Duration) -> bool {
        let running: Vec<_> = self.refresher.flights().values().cloned().collect();
        let all = futures_util::future::join_all(running.into_iter().map(Flight::outcome));
        tokio::time::timeout(patience, all).await.is_ok()
    }
}
