//! How a sandbox is set up: clients, accounts, lifetimes, and which documents it publishes.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::ambient::{Clock, Entropy};
use crate::domain::scope::ScopeSet;

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Everything that can be chosen about a sandbox; [`SandboxConfig::default`] is what `keyfob sandbox` runs.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The provider's time. It is another machine, so a correction of the clock does not move it.
    pub clock: Clock,
    /// Where its secrets come from.
    pub entropy: Entropy,
    /// Registered OAuth applications.
    pub clients: Vec<Client>,
    /// People who can sign in.
    pub accounts: Vec<Account>,
    /// How long an access token lives.
    pub access_lifetime: Duration,
    /// How long a refresh token lives.
    pub refresh_lifetime: Duration,
    /// How long a personal access token lives.
    pub personal_lifetime: Duration,
    /// How long an authorization code lives.
    pub code_lifetime: Duration,
    /// Requests a minute and address at the token endpoint; `None` is no limit.
    pub token_rate: Option<u32>,
    /// Requests a minute and token at the API; `None` is no limit.
    pub api_rate: Option<u32>,
    /// What `.well-known` says.
    pub discovery: Discovery,
    /// Whether `/oauth/revoke` (RFC 7009) exists; the provider's framework has none.
    pub revoke_endpoint: bool,
    /// Whether a token answer names the granted scopes; the provider's framework does not.
    pub answer_scope: bool,
    /// How a dead refresh token is refused.
    pub refresh_errors: RefreshErrors,
    /// A text that every secret made here contains, so that tests can search for leaks.
    pub marker: Option<String>,
    /// Where tokens and cars are kept over a restart, if anywhere: digests only, never a secret.
    pub state_file: Option<PathBuf>,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            clock: Clock::system(),
            entropy: Entropy::system(),
            clients: vec![Client::public("keyfob-sandbox", "Keyfob", RedirectRule::LoopbackCallback)],
            accounts: vec![
                Account::new(1, "Ada Calloway", "ada@sandbox.invalid"),
                Account::new(2, "Ben Okafor", "ben@sandbox.invalid"),
            ],
            access_lifetime: YEAR,
            refresh_lifetime: YEAR,
            personal_lifetime: YEAR,
            code_lifetime: Duration::from_secs(600),
            token_rate: Some(60),
            api_rate: None,
            discovery: Discovery::default(),
            revoke_endpoint: false,
            answer_scope: false,
            refresh_errors: RefreshErrors::League9,
            marker: None,
            state_file: None,
        }
    }
}

/// Someone who can sign in at the sandbox with one click.
#[derive(Clone, Debug)]
pub struct Account {
    /// What tokens name as `sub`.
    pub id: u32,
    /// Full name.
    pub name: String,
    /// Mail address; never one that exists.
    pub email: String,
}

impl Account {
    /// An account with this number, name and address.
    #[must_use]
    pub fn new(id: u32, name: &str, email: &str) -> Self {
        Self { id, name: name.to_owned(), email: email.to_owned() }
    }
}

/// A registered OAuth application.
#[derive(Clone)]
pub struct Client {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) secret: Option<String>,
    pub(super) redirects: RedirectRule,
}

impl Client {
    /// A client without a secret: PKCE is required of it.
    #[must_use]
    pub fn public(id: &str, name: &str, redirects: RedirectRule) -> Self {
        Self { id: id.to_owned(), name: name.to_owned(), secret: None, redirects }
    }

    /// A client with a secret.
    #[must_use]
    pub fn confidential(id: &str, secret: &str, name: &str, redirects: RedirectRule) -> Self {
        Self { id: id.to_owned(), name: name.to_owned(), secret: Some(secret.to_owned()), redirects }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.secret.is_some() { "confidential" } else { "public" };
        f.debug_struct("Client").field("id", &self.id).field("kind", &kind).finish_non_exhaustive()
    }
}

/// Which redirect URIs a client may name.
#[derive(Clone, Debug)]
pub enum RedirectRule {
    /// `http://` on `localhost`, `127.0.0.1` or `[::1]`, any port, any path that ends in `/oauth/callback`: so that
    /// Keyfob can be tried on any port without registering anything.
    LoopbackCallback,
    /// Exactly one of these, save that the port is ignored on `http://127.0.0.1` and `http://[::1]`, as in league.
    Exact(Vec<String>),
}

impl RedirectRule {
    pub(super) fn accepts(&self, uri: &str) -> bool {
        match self {
            Self::LoopbackCallback => split_http(uri).is_some_and(|(host, path)| {
                matches!(host, "localhost" | "127.0.0.1" | "[::1]")
                    && path.split(['?', '#']).next().is_some_and(|path| path.ends_with("/oauth/callback"))
            }),
            Self::Exact(registered) => registered.iter().any(|known| {
                known == uri
                    || split_http(known).is_some_and(|(host, path)| {
                        matches!(host, "127.0.0.1" | "[::1]") && split_http(uri) == Some((host, path))
                    })
            }),
        }
    }

    /// The one registered URI, where there is just one: used when a request names none.
    pub(super) fn only(&self) -> Option<&str> {
        match self {
            Self::Exact(registered) if registered.len() == 1 => registered.first().map(String::as_str),
            _ => None,
        }
    }
}

/// Host without its port, and what follows, of an `http://` URI without user information.
fn split_http(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let bracket = authority.find(']').map_or(0, |at| at + 1);
    let host_end = authority[bracket..].find(':').map_or(authority.len(), |at| bracket + at);
    let (host, port) = authority.split_at(host_end);
    let port = port.strip_prefix(':').unwrap_or_default();
    port.bytes().all(|b| b.is_ascii_digit()).then_some((host, path))
}

/// What the `.well-known` documents say, or that there are none.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// Whether `/.well-known/oauth-protected-resource` (RFC 9728) exists.
    pub protected_resource: bool,
    /// Whether `/.well-known/oauth-authorization-server` (RFC 8414) exists.
    pub authorization_server: bool,
    /// Whether `/oauth/register` (RFC 7591) exists and is announced.
    pub registration: bool,
    /// How the authorization server calls itself.
    pub issuer: Issuer,
    /// Authorization and token endpoint to announce instead of the sandbox's own.
    pub endpoints: Option<(String, String)>,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            protected_resource: true,
            authorization_server: true,
            registration: true,
            issuer: Issuer::Host,
            endpoints: None,
        }
    }
}

impl Discovery {
    /// No documents at all.
    #[must_use]
    pub fn absent() -> Self {
        Self { protected_resource: false, authorization_server: false, registration: false, ..Self::default() }
    }
}

/// How the authorization server calls itself in its documents.
#[derive(Clone, Debug)]
pub enum Issuer {
    /// By its origin.
    Host,
    /// By its origin and the path that was asked for, as laravel/mcp up to 0.6 does.
    WithPath,
    /// By somebody else's name.
    Foreign(String),
}

/// How a dead refresh token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshErrors {
    /// 400 `invalid_grant`.
    League9,
    /// 401 `invalid_request` with a `message`.
    League8,
}

/// Which of someone's tokens work at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokensAlive {
    /// Access tokens of OAuth grants.
    pub access: usize,
    /// Refresh tokens.
    pub refresh: usize,
    /// Personal access tokens.
    pub personal: usize,
    /// Legacy API keys.
    pub api_keys: usize,
    /// The scopes that the living access tokens hold between them.
    pub scopes: ScopeSet,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_port_of_loopback_and_any_prefix_is_taken_by_default() {
        let rule = RedirectRule::LoopbackCallback;
        for good in [
            "http://localhost:8700/oauth/callback",
            "http://[::1]/oauth/callback",
            "http://127.0.0.1:1/k/oauth/callback",
        ] {
            assert!(rule.accepts(good), "{good}");
        }
        for bad in [
            "https://localhost/oauth/callback",
            "http://localhost.evil.example/oauth/callback",
            "http://localhost:80@evil.example/oauth/callback",
            "http://localhost/elsewhere?/oauth/callback",
            "http://evil.example/oauth/callback",
        ] {
            assert!(!rule.accepts(bad), "{bad}");
        }
    }

    #[test]
    fn exact_rules_ignore_the_port_of_loopback_addresses_only() {
        let rule = RedirectRule::Exact(vec!["http://127.0.0.1:1/cb".into(), "http://localhost:1/cb".into()]);
        assert!(rule.accepts("http://127.0.0.1:9999/cb"));
        assert!(!rule.accepts("http://127.0.0.1:9999/cb2"));
        assert!(rule.accepts("http://localhost:1/cb"));
        assert!(!rule.accepts("http://localhost:2/cb"));
    }
}
