//! Settings: read once, at the start, from flags over environment over `keyfob.toml` over defaults.
//!
//! [`Settings::load`] is the only place that knows where a value came from; everything after it gets typed values.
//! All faults are found in one go, so that a person mends them in one go.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::domain::app::Rate;
use crate::domain::route::RouteTable;
use crate::domain::secret::{ClientSecret, Secret};

mod address;
mod fault;
// The settings by name.
pub mod keys;
mod layers;
mod load;
mod provider;
mod reader;
mod routes;
mod values;

#[cfg(test)]
mod tests;

pub use address::{BaseUrl, Network};
pub use fault::{Fault, Faults};
pub use layers::{Given, Source};
pub use reader::InEffect;
pub use values::LogFormat;

/// Every setting, resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Holds the database, the master keys and spill files.
    pub data_dir: PathBuf,
    /// The SQLite file.
    pub database: PathBuf,
    /// The master keys.
    pub master_keys_file: PathBuf,
    /// Where systemd puts credentials (`$CREDENTIALS_DIRECTORY`), whose files others may read.
    pub credentials_directory: Option<PathBuf>,
    /// Where pages and the management API are served.
    pub web_listen: SocketAddr,
    /// Where apps call.
    pub proxy_listen: SocketAddr,
    /// Where health and metrics are served.
    pub ops_listen: SocketAddr,
    /// Where the sandbox listens.
    pub sandbox_listen: SocketAddr,
    /// Whether addresses that are not loopback may be listened on.
    pub allow_remote: bool,
    /// What the browser sees.
    pub public_url: BaseUrl,
    /// What apps are told.
    pub proxy_public_url: BaseUrl,
    /// Reverse proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Origins of web pages that may call the proxy, as browsers send them.
    pub allowed_origins: Vec<String>,
    /// The provider's origin; never a path prefix.
    pub teslascope_url: BaseUrl,
    /// The provider's MCP server.
    pub teslascope_mcp_url: BaseUrl,
    /// PEM roots trusted for the provider only.
    pub teslascope_ca_file: Option<PathBuf>,
    /// The client id of our registration at the provider.
    pub oauth_client_id: Option<String>,
    /// Its secret; without one it is a public client.
    pub oauth_client_secret: Option<Secret<ClientSecret>>,
    /// The authorization endpoint, where it is not to be discovered.
    pub oauth_authorize_url: Option<Url>,
    /// The token endpoint, where it is not to be discovered.
    pub oauth_token_url: Option<Url>,
    /// The revocation endpoint, where it is not to be discovered.
    pub oauth_revoke_url: Option<Url>,
    /// How long a call to the token endpoint may take.
    pub token_timeout: Duration,
    /// Calls to the token endpoint a minute.
    pub refresh_rate_per_minute: u32,
    /// The largest body that an app may send, in bytes.
    pub max_request_body: u64,
    /// How long the provider may take to its first byte.
    pub upstream_timeout: Duration,
    /// Connections that the proxy holds at once.
    pub max_connections: usize,
    /// Calls of one app.
    pub app_rate: Option<Rate>,
    /// How long running calls may take to end at a stop.
    pub drain: Duration,
    /// How long audit rows are kept.
    pub audit_keep: Duration,
    /// How many audit rows are kept.
    pub audit_rows: u64,
    /// Told by POST when a grant needs its user.
    pub notify_url: Option<Url>,
    /// A program and its arguments, run when a grant needs its user; empty for none.
    pub notify_command: Vec<String>,
    /// The path and scope table with the rows of the routes file.
    pub routes: Arc<RouteTable>,
    /// What is logged: a level, or a list of levels and `target=level`.
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Each setting with its source and its value as it may be shown.
    pub in_effect: Vec<InEffect>,
    /// What should be said once the log is open: nothing that stops the program.
    pub notices: Vec<String>,
}

impl Settings {
    /// Reads every layer.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(given: &Given) -> Result<Self, Faults> {
        load::load(given)
    }

    /// Puts another provider and registration in the place of those that are set; what was set for the real one is not
    /// used, and that is noted.
    pub fn replace_provider(&mut self, url: &str, mcp_url: &str, client_id: &str) {
        let (Ok(url), Ok(mcp_url)) = (BaseUrl::parse(url), BaseUrl::parse(mcp_url)) else { return };
        for set in self.in_effect.iter_mut().filter(|set| set.key.is_of_provider()) {
            if set.source != Source::Default {
                self.notices.push(format!("{} is not used: the sandbox stands in for Teslascope", set.key.env()));
            }
            set.source = Source::Sandbox;
            set.value = match set.key.name {
                name if name == keys::TESLASCOPE_URL.name => Some(url.as_str().to_owned()),
                name if name == keys::TESLASCOPE_MCP_URL.name => Some(mcp_url.as_str().to_owned()),
                name if name == keys::OAUTH_CLIENT_ID.name => Some(client_id.to_owned()),
                _ => None,
            };
        }
        (self.teslascope_url, self.teslascope_mcp_url) = (url, mcp_url);
        (self.oauth_client_id, self.oauth_client_secret) = (Some(client_id.to_owned()), None);
        (self.oauth_authorize_url, self.oauth_token_url, self.oauth_revoke_url) = (None, None, None);
        self.teslascope_ca_file = None;
    }

    /// Where the value of a setting came from.
    #[must_use]
    pub fn source(&self, key: &keys::Key) -> Source {
        self.in_effect.iter().find(|set| set.key.name == key.name).map_or(Source::Default, |set| set.source)
    }
}
