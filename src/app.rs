//! The wiring: settings, then store and vault, then routers, then listeners, then an orderly end.

mod accept;
mod harden;
mod listen;
mod open;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

pub use accept::{Limits, accept};
pub use harden::{Files, harden};

use crate::ambient::{Clock, Entropy};
use crate::config::Settings;
use crate::store::Store;
use crate::telemetry::{Health, Listener, Metrics, Trouble, ops};
use crate::vault::Vault;

/// Why the program could not start. Each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Settings that are well-formed but do not fit what they are for.
    #[error("{0}")]
    Settings(String),
    /// The database can't be opened.
    #[error("{0}")]
    Database(String),
    /// The master key does not open this database, or can't be read.
    #[error("{0}")]
    MasterKey(String),
    /// A listener's address can't be had.
    #[error("the {name} listener can't have {address}: {cause}; free it, or set {setting} to another address")]
    Listener {
        /// `web`, `proxy`, `ops` or `sandbox`.
        name: &'static str,
        /// Where it should have listened.
        address: SocketAddr,
        /// Why it can't, in a few words.
        cause: String,
        /// The setting that names the address.
        setting: String,
    },
    /// The system gives no threads.
    #[error("the program can't start its threads: {0}")]
    Runtime(String),
}

/// Everything that a command or the service works with.
#[derive(Debug)]
pub struct App {
    /// The settings in effect.
    pub settings: Settings,
    /// Tells the time.
    pub clock: Clock,
    /// Gives randomness.
    pub entropy: Entropy,
    /// What is kept.
    pub store: Store,
    /// Seals and opens.
    pub vault: Vault,
    /// Whether this process can do its job.
    pub health: Health,
    /// Counters and gauges.
    pub metrics: Metrics,
    files: Files,
}

impl App {
    /// Opens what the settings name: data directory, master keys, database.
    ///
    /// # Errors
    /// [`StartError`]; an existing database and key file are then as they were.
    pub async fn open(settings: Settings, files: Files) -> Result<Self, StartError> {
        let (clock, entropy, health) = (Clock::system(), Entropy::system(), Health::starting());
        let (store, vault) = open::open(&settings, &entropy).await?;
        let metrics = Metrics::new(clock.clone(), health.clone());
        Ok(Self { settings, clock, entropy, store, vault, health, metrics, files })
    }

    /// Listens until SIGTERM or Ctrl-C, lets running calls end, writes what is pending.
    ///
    /// # Errors
    /// A listener's address can't be had.
    pub async fn serve(self) -> Result<(), StartError> {
        let (ops_listener, ops_address) =
            listen::bind("ops", &crate::config::keys::OPS_LISTEN, self.settings.ops_listen).await?;
        let (stop, stopping) = watch::channel(false);
        let mut signals = Signals::listen()?;

        let loopback_only = self.settings.ops_listen.ip().is_loopback();
        let ops = ops::router(self.health.clone(), self.metrics.clone(), loopback_only);
        let limits = Limits { connections: 64.min(self.files.connections()), drain: self.settings.drain };
        let ops = tokio::spawn(accept(ops_listener, ops, limits, self.metrics.clone(), Listener::Ops, stopping));

        self.health.clear(Trouble::Starting);
        tracing::info!(ops.address = %ops_address, "Keyfob is ready");
        signals.first().await;
        tracing::info!("Keyfob stops: no new connections, running calls may end");
        self.health.set(Trouble::Stopping);
        // Nobody listens any more only when everything has ended already.
        let _ = stop.send(true);
        tokio::select! {
            _ = ops => {}
            () = signals.first() => tracing::warn!("Told to stop again: running calls are cut off"),
        }
        self.close().await;
        tracing::info!("Keyfob has stopped");
        Ok(())
    }

    /// Writes what is pending and closes the database.
    pub async fn close(self) {
        self.store.close().await;
    }
}

/// SIGTERM and Ctrl-C.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> Result<Self, StartError> {
        let on = |kind| signal(kind).map_err(|error| StartError::Runtime(error.to_string()));
        Ok(Self { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    /// The next of them.
    async fn first(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// How long a connection may take to send a request's head, and may idle between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
