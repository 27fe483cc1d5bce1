//! What the proxy needs of the settings.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use rustls::ClientConfig;
use url::Url;

use super::incoming::Addresses;
use super::lanes;
use super::pulse::Patience;
use crate::config::Settings;
use crate::domain::route::RouteTable;

/// One of the provider's servers: its address, and the path that goes before every path.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub(super) url: Url,
    pub(super) prefix: String,
    /// What `Host` says of it.
    pub(super) host: HeaderValue,
}

impl Base {
    fn new(text: &str) -> Result<Self, SettingsError> {
        let url = Url::parse(text).map_err(|_| SettingsError::Url(text.to_owned()))?;
        let host = url.host_str().ok_or_else(|| SettingsError::Url(text.to_owned()))?;
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let host = HeaderValue::from_str(&authority).map_err(|_| SettingsError::Url(text.to_owned()))?;
        Ok(Self { prefix: url.path().trim_end_matches('/').to_owned(), url, host })
    }
}

/// What the proxy needs to know.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    pub(super) table: Arc<RouteTable>,
    pub(super) api: Base,
    pub(super) mcp: Base,
    pub(super) tls: ClientConfig,
    pub(super) public_url: String,
    pub(super) proxy_public_url: String,
    pub(super) hosts: Vec<String>,
    pub(super) origins: Vec<String>,
    pub(super) max_body: u64,
    pub(super) max_connections: usize,
    pub(super) max_per_source: usize,
    pub(super) drain: Duration,
    /// How many threads calls run on.
    pub lanes: NonZeroUsize,
    /// How long waits may be; tests make them shorter.
    pub patience: Patience,
    /// How long a connection to the provider may take to be made.
    pub connect_timeout: Duration,
    /// How long a connection to the provider is kept for the next call.
    pub keep_upstream: Duration,
}

/// Why the proxy cannot be set up. One line that names the setting and the mend.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// An address is none.
    #[error("{0} is not a usable address")]
    Url(String),
}

impl ProxySettings {
    /// Where the provider's servers are, and where the proxy stands in for them.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        Addresses::new(&self.api, &self.mcp, &self.proxy_public_url)
    }

    /// From the settings; `tls` is for the provider, `connections` how many the limit of open files leaves room for.
    ///
    /// # Errors
    /// [`SettingsError`], to be shown with exit code 2.
    pub fn new(settings: &Settings, tls: ClientConfig, connections: usize) -> Result<Self, SettingsError> {
        let (api, mcp) =
            (Base::new(settings.teslascope_url.as_str())?, Base::new(settings.teslascope_mcp_url.as_str())?);
        Ok(Self {
            table: Arc::clone(&settings.routes),
            tls,
            api,
            mcp,
            public_url: settings.public_url.as_str().to_owned(),
            proxy_public_url: settings.proxy_public_url.as_str().to_owned(),
            hosts: vec![settings.public_url.host().to_owned(), settings.proxy_public_url.host().to_owned()],
            origins: settings.allowed_origins.clone(),
            max_body: settings.max_request_body,
            max_connections: settings.max_connections.min(connections),
            max_per_source: 1_024,
            drain: settings.drain,
            lanes: lanes::usual(),
            patience: Patience {
                head: Duration::from_secs(8),
                idle: Duration::from_secs(75),
                body: Duration::from_secs(30),
                write: Duration::from_secs(30),
                linger: Duration::from_secs(2),
                first_byte: settings.upstream_timeout,
                upstream_idle: Duration::from_mins(2),
                stream_idle: Duration::from_mins(15),
            },
            connect_timeout: Duration::from_secs(10).min(settings.upstream_timeout),
            keep_upstream: Duration::from_secs(15),
        })
    }
}
