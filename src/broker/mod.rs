//! What the program does: one file per use case, each callable without HTTP. Pages, API, proxy and command line are its dress.

mod accounts;
mod admin_keys;
// How much one app may call.
pub mod admission;
mod apps;
mod backup;
mod batch;
mod begin;
mod call;
mod cell;
mod complete;
mod directory;
mod disconnect;
mod endpoints;
mod housekeeping;
mod keys;
mod lend;
mod listing;
// What other programs read.
pub mod members;
mod notify;
mod passwords;
mod pasted;
mod refresh;
mod review;
mod schedule;
mod sessions;
mod setup;
mod sharded;
mod sheet;
mod throttle;
mod trail;
mod trial;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

pub use accounts::{AccountError, SignInRefusal};
pub use admission::RateLimited;
pub use apps::{AppError, AppWish, MadeApp};
pub use backup::{Backup, BackupError};
pub use begin::{AuthorizationWish, BeginError};
pub use call::{Caller, Chosen, GrantRefusal, KeyRefusal, KeyVia, Permit};
pub use cell::{Bearer, Credential, GrantCell, GrantState};
pub use complete::{CompleteError, Completed, Waiting};
pub use directory::Directory;
pub use disconnect::{AtProvider, Disconnected};
pub use keys::{KeyProgress, KeysError, MasterKeyUse, Retirement, Rotation, Verification};
pub use notify::{Notifier, Told};
pub use passwords::{BadPassword, check_new as check_password};
pub use pasted::{PastedError, PastedWish};
pub use refresh::{BearerRefusal, RefreshOutcome};
pub use review::ReviewRefusal;
pub use sessions::OpenSession;
pub use setup::SetupRefusal;
pub use sheet::Sheet;
pub use trail::{CommandTicket, StorageUnavailable, Trail};
pub use trial::{Answered, Door, NoAnswer, TrialRefusal, TrialWish, Tried};

use crate::ambient::{Clock, Entropy};
use crate::domain::app::Rate;
use crate::domain::grant::Binding;
use crate::domain::id::Id;
pub use crate::oauth::PastedCheck;
pub use crate::store::{
    AppFilter, AppRecord, AuditFilter, CallCount, CallsOf, DecisionCount, GrantFilter, GrantSort, GrantsAfter,
    KeptSession, ListedGrant, Review, ReviewCounts, ToReview,
};
use crate::store::{Change, Store, StoreError};
use crate::telemetry::{Health, Metrics};
use crate::vault::Vault;

/// What the broker needs of the settings.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// What the browser sees, without a slash at its end.
    pub public_url: String,
    /// What apps are told, without a slash at its end.
    pub proxy_public_url: String,
    /// What grants are bound to; its token origin is filled in once the endpoints are known.
    pub binding: Binding,
    /// The provider's addresses as they are set: endpoints that were found under others are not used.
    pub provider_key: String,
    /// The limit of apps that have none of their own.
    pub app_rate: Option<Rate>,
    /// How many token requests a minute, all grants together.
    pub refresh_rate_per_minute: u32,
    /// How long a token request may take.
    pub token_timeout: Duration,
    /// How long audit rows are kept.
    pub audit_keep: Duration,
    /// How many audit rows are kept.
    pub audit_rows: u64,
}

/// What the broker is made of.
pub struct Parts {
    /// What is kept.
    pub store: Store,
    /// Encryption at rest.
    pub vault: Vault,
    /// The protocol, as a client.
    pub oauth: crate::oauth::Client,
    /// What time it is.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// Whether this process can do its job.
    pub health: Health,
    /// What is measured.
    pub metrics: Metrics,
    /// What was set.
    pub settings: BrokerSettings,
}

/// Every use case. Clones share everything.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Inner>,
    /// The audit trail, as whoever this handle acts for writes it.
    trail: Trail,
}

/// A running broker's state.
pub struct Inner {
    parts: Parts,
    /// Where what outlives a call runs: a call's own thread ends with its connections.
    home: Handle,
    directory: Directory,
    hasher: passwords::Hasher,
    throttle: throttle::Throttle,
    refresher: refresh::Refresher,
    /// How many grants were ended, as last counted.
    disconnected: AtomicU64,
}

impl Deref for Broker {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl Deref for Inner {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Broker {
    /// Reads what is live into memory and starts the audit trail's writer.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn start(parts: Parts) -> Result<Self, StoreError> {
        let directory = Directory::load(
            parts.store.clone(),
            parts.vault.clone(),
            parts.settings.binding.clone(),
            parts.settings.app_rate,
        )
        .await?;
        let trail = Trail::start(parts.store.clone(), parts.clock.clone(), parts.health.clone(), parts.metrics.clone());
        let hasher = passwords::Hasher::new(parts.entropy.clone());
        let throttle = throttle::Throttle::default();
        let rate = parts.settings.refresh_rate_per_minute;
        let refresher = refresh::Refresher::new(parts.store.path(), rate, &parts.clock, &parts.entropy);
        let broker = Self {
            inner: Arc::new(Inner {
                parts,
                home: Handle::current(),
                directory,
                hasher,
                throttle,
                refresher,
                disconnected: AtomicU64::default(),
            }),
            trail,
        };
        broker.take_in_spills().await;
        broker.settle_endpoints().await;
        Ok(broker)
    }

    /// The same broker, acting for somebody else than the user whom a change is about: the audit rows of changes name them.
    #[must_use]
    pub fn acting_for(&self, who: &str) -> Self {
        Self { inner: Arc::clone(&self.inner), trail: self.trail.written_for(who) }
    }

    /// The audit trail.
    #[must_use]
    pub fn trail(&self) -> &Trail {
        &self.trail
    }

    /// Users, grants and apps in memory.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Carries something out in a task of its own, which goes on whatever becomes of the thread that asks.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.home.spawn(work)
    }

    /// A new id.
    fn new_id<K>(&self) -> Id<K> {
        Id::new(self.clock.now(), self.entropy.bytes())
    }

    /// Lets this process see at once what it changed. The change is kept already; what fails here is caught up with later.
    async fn see(&self, change: Change) {
        if let Err(cause) = self.directory.reload(change).await {
            tracing::warn!(error = %cause, "a change is kept but not yet seen in memory");
        }
    }
}

/// Carries something out in a task of its own: whoever waits for it may leave, and it goes on to its end. All that pages and
/// programs change is carried out so, and what speaks with the provider between two steps, whoever asks for it.
pub(crate) async fn to_its_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}
