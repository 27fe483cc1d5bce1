//! The wiring: settings, then store and vault, then routers, then listeners, then an orderly end.

mod accept;
mod call;
mod doctor;
mod handed;
mod harden;
mod in_use;
mod listen;
mod open;
mod parts;
mod restore;

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use accept::{Limits, accept};
pub use call::OwnProxy;
pub use doctor::{Check, examine_kept, examine_provider, examine_settings};
pub use harden::{Files, harden};
pub use listen::{Listeners, bind};
pub use open::make_directory;
pub use parts::DEMO;
pub use restore::{RestoreError, Restored, restore};

use crate::broker::Broker;
use crate::config::Settings;
use crate::proxy;
use crate::telemetry::{Listener, Trouble, ops};
use crate::web::Web;
use parts::Opened;

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
pub struct App {
    /// The settings in effect.
    pub settings: Settings,
    /// Every use case.
    pub broker: Broker,
    files: Files,
    /// Held until the end: while it is, nobody puts another database in place.
    in_use: in_use::InUse,
}

impl App {
    /// Opens what the settings name: data directory, master keys, database.
    ///
    /// # Errors
    /// [`StartError`]; an existing database and key file are then as they were.
    pub async fn open(mut settings: Settings, files: Files) -> Result<Self, StartError> {
        let opened = Opened::open(&settings).await?;
        opened.follow_demo(&mut settings).await;
        Self::start(settings, opened, files).await
    }

    /// The same, and binds the service's listeners: then the settings name the ports that were left to the system.
    ///
    /// # Errors
    /// [`StartError`]; an existing database and key file are then as they were.
    pub async fn listen(mut settings: Settings, files: Files) -> Result<(Self, Listeners), StartError> {
        let opened = Opened::open(&settings).await?;
        let listeners = Listeners::bind(&mut settings).await?;
        Ok((Self::start(settings, opened, files).await?, listeners))
    }

    async fn start(settings: Settings, opened: Opened, files: Files) -> Result<Self, StartError> {
        let (broker, in_use) = parts::broker(&settings, opened).await?;
        Ok(Self { settings, broker, files, in_use })
    }

    /// Serves until SIGTERM or Ctrl-C, lets running calls end, writes what is pending. `ready` is called once everything
    /// answers.
    ///
    /// # Errors
    /// The system does not hand signals over.
    pub async fn serve(self, listeners: Listeners, ready: impl FnOnce()) -> Result<(), StartError> {
        let (settings, broker) = (&self.settings, &self.broker);
        let proxy = parts::proxy(settings, self.files.connections())?;
        let notifier = parts::notifier(settings, &broker.clock)?;
        let (stop, stopping) = watch::channel(false);
        let mut signals = Signals::listen()?;
        let metrics = &broker.metrics;
        let calls = proxy::serve(listeners.proxy, broker.clone(), proxy, metrics.clone(), stopping.clone())
            .map_err(|error| StartError::Runtime(error.to_string()))?;
        let limits = |connections: usize| Limits {
            connections: connections.min(self.files.connections()),
            // A page may wait for the provider's answer to a code, and for what was asked of it before.
            request: REQUEST.max(settings.token_timeout * 3),
            drain: settings.drain,
        };

        // Before anything answers: whoever waits for an answer finds the line already there.
        self.print_setup_line().await;
        broker.health.clear(Trouble::Starting);
        let mut serving = JoinSet::new();
        let counted = broker.clone();
        let ops =
            ops::router(broker.health.clone(), metrics.clone(), settings.ops_listen.ip().is_loopback(), move || {
                counted.count_grants_for_metrics();
            });
        serving.spawn(accept(listeners.ops, ops, limits(64), metrics.clone(), Listener::Ops, stopping.clone()));
        let web = Web::new(broker.clone(), parts::web(settings));
        let pages = web.clone().router(crate::api::router(broker.clone()));
        serving.spawn(accept(listeners.web, pages, limits(1_024), metrics.clone(), Listener::Web, stopping));

        serving.spawn(calls);

        let mut beside = JoinSet::new();
        beside.spawn(broker.clone().follow_changes());
        beside.spawn(broker.clone().keep_house());
        beside.spawn(broker.clone().run_refreshes());
        if !notifier.is_silent() {
            beside.spawn(broker.clone().tell_of_grants(notifier));
        }

        tracing::info!(
            web.address = %settings.web_listen,
            proxy.address = %settings.proxy_listen,
            ops.address = %settings.ops_listen,
            "Keyfob is ready"
        );
        ready();
        tell_service_manager(NotifyState::Ready);
        signals.first().await;
        tell_service_manager(NotifyState::Stopping);
        tracing::info!("Keyfob stops: no new connections, running calls may end");
        broker.health.set(Trouble::Stopping);
        // Nobody listens any more only when everything has ended already.
        let _ = stop.send(true);
        tokio::select! {
            () = async {
                while serving.join_next().await.is_some() {}
                if !web.end_changes(settings.drain).await {
                    tracing::warn!("Changes were still running after the drain time and are cut off");
                }
            } => {}
            () = signals.first() => tracing::warn!("Told to stop again: running calls are cut off"),
        }
        beside.shutdown().await;
        self.close().await;
        tracing::info!("Keyfob has stopped");
        Ok(())
    }

    /// Prints where to make the first admin, while there is none. On standard output and never to the log.
    async fn print_setup_line(&self) {
        match self.broker.issue_setup_token().await {
            Ok(Some(token)) => {
                let line = format!(
                    "setup: {}/setup?token={}",
                    self.settings.public_url.as_str(),
                    token.expose_str().unwrap_or_default()
                );
                let _ = writeln!(std::io::stdout().lock(), "{line}");
            }
            Ok(None) => {}
            Err(cause) => tracing::error!(error = %cause, "the setup link could not be made"),
        }
    }

    /// Writes what is pending and closes the database.
    pub async fn close(self) {
        if !self.broker.finish_refreshes(WRITE_OUT).await {
            tracing::warn!("a refresh still runs at the end; the next start will find out what became of it");
        }
        if !self.broker.trail().finish(WRITE_OUT).await {
            tracing::error!(
                audit.waiting = self.broker.trail().waiting(),
                "audit rows could not be written before the end"
            );
        }
        self.broker.store.close().await;
        drop(self.in_use);
    }
}

/// Tells systemd, where it waits for that (`Type=notify`); nobody listens elsewhere.
fn tell_service_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(error = %error, "The service manager could not be told how this service is");
    }
}

/// Waits for SIGTERM or Ctrl-C.
///
/// # Errors
/// The system does not hand signals over.
pub async fn until_stopped() -> Result<(), StartError> {
    Signals::listen()?.first().await;
    Ok(())
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

/// How long a request for a page may take at least.
const REQUEST: Duration = Duration::from_mins(1);

/// How long the end of the program waits for the last audit rows.
const WRITE_OUT: Duration = Duration::from_secs(10);
