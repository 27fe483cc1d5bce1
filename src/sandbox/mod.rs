//! A stand-in for the provider, for trying Keyfob without a car and for testing it.
//!
//! It imitates what is known of Teslascope: Laravel Passport's OAuth, the REST API and the MCP server, with accounts and
//! cars that are made up. Every page says that it is not Teslascope. It stands on the other side of the wire and knows
//! nothing of Keyfob but the names of scopes.
//!
//! In reading order: `config` (how it is set up), `serve` (the listener), `routes`, then what a person sees (`session`,
//! `authorize`, `developers`, `pages`), what a client sees (`token`, `discovery`, `register`), what an app sees (`api`, `mcp`,
//! `cars`), what is behind it (`tokens`, `mint`, `state`), and how tests make it misbehave (`faults`, `moments`).

mod account;
mod answer;
mod api;
mod authorize;
mod call;
mod cars;
mod config;
mod developers;
mod discovery;
mod fault;
mod faults;
mod json;
mod mcp;
mod mint;
mod moments;
mod pages;
mod rate;
mod record;
mod register;
mod routes;
mod serve;
mod session;
mod state;
mod token;
mod tokens;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use config::{Account, Client, Discovery, Issuer, RedirectRule, RefreshErrors, SandboxConfig, TokensAlive};
pub use fault::{CallFault, RawAnswer, TokenFault};
pub use faults::{Faults, Times};
pub use moments::{Hold, Moment};
pub use record::Received;

use crate::domain::scope::ScopeSet;

/// What a person says on the consent page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// "Authorize", with these scopes ticked, as far as they were asked for.
    Authorize(ScopeSet),
    /// "Cancel".
    Cancel,
}

/// Tokens that were made without a browser.
#[derive(Clone)]
pub struct IssuedGrant {
    /// The access token.
    pub access_token: String,
    /// The refresh token.
    pub refresh_token: String,
    /// How long the access token lives.
    pub expires_in: Duration,
}

impl fmt::Debug for IssuedGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedGrant").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// A running sandbox. It stops when it is dropped.
pub struct Sandbox {
    shared: Arc<serve::Shared>,
    stop: watch::Sender<bool>,
    served: Option<JoinHandle<()>>,
}

impl Sandbox {
    /// Binds the configured address and serves in the background.
    ///
    /// # Errors
    /// When the address can't be had, or when the state file can't be read.
    pub async fn start(config: SandboxConfig) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        Self::serve_on(listener, config)
    }

    /// Serves in the background on a listener that somebody else has bound. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When the state file can't be read.
    pub fn serve_on(listener: TcpListener, config: SandboxConfig) -> io::Result<Self> {
        let memory = state::Memory::open(config.state_file.clone())?;
        let (stop, stopping) = watch::channel(false);
        let shared = Arc::new(serve::Shared::new(config, memory, listener.local_addr()?, stopping));
        let served = Some(tokio::spawn(serve::accept(listener, Arc::clone(&shared))));
        Ok(Self { shared, stop, served })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.shared.local
    }

    /// Its origin, such as `http://127.0.0.1:8799`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.shared.local)
    }

    /// Its MCP server: the same origin, and `/mcp`.
    #[must_use]
    pub fn mcp_url(&self) -> String {
        format!("{}/mcp", self.url())
    }

    /// Makes it misbehave and tells what it has seen. Requests are counted and recorded from the first call on.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.shared.faults.counts.begin();
        self.shared.faults.clone()
    }

    /// Answers an authorization request, given by its URL, as an account that is signed in: what pressing the buttons of
    /// the consent page does. Gives the address at the client to which the browser would go.
    ///
    /// # Errors
    /// The body of the provider's answer, when it would not redirect.
    pub fn decide(&self, url: &str, account: u32, consent: Consent) -> Result<String, String> {
        authorize::decide_without_browser(&self.shared, url, account, consent)
    }

    /// Makes a grant of the first client, as if a person had gone all the way.
    #[must_use]
    pub fn issue_grant(&self, account: u32, scopes: ScopeSet) -> IssuedGrant {
        let client = self.shared.config.clients.first().map_or("", |client| &client.id);
        let holder = tokens::Holder { client, account, scopes };
        let span = self.shared.span();
        let issued = self.shared.memory.change(|state| state.tokens.issue(&self.shared.mint, &holder, span));
        IssuedGrant {
            access_token: issued.access,
            refresh_token: issued.refresh,
            expires_in: self.shared.config.access_lifetime,
        }
    }

    /// Makes a personal access token of an account, as its page does.
    #[must_use]
    pub fn issue_personal_access_token(&self, account: u32, scopes: ScopeSet) -> String {
        developers::personal_access_token(&self.shared, account, scopes, "Made by the library")
    }

    /// Makes a legacy API key of an account, as its page does.
    #[must_use]
    pub fn issue_api_key(&self, account: u32) -> String {
        self.shared.memory.change(|state| state.tokens.issue_api_key(&self.shared.mint, account))
    }

    /// Accepts no more connections and lets running requests end, for two seconds at most.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(served) = self.served.take() {
            let _ = served.await;
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("addr", &self.shared.local).finish_non_exhaustive()
    }
}
