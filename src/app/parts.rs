//! From settings to a broker.

use std::time::Duration;

use super::StartError;
use super::in_use::InUse;
use super::open::Kept;
use crate::ambient::{Clock, Entropy};
use crate::broker::{Broker, BrokerSettings, Door, Notifier, Parts};
use crate::config::keys::{self, Key};
use crate::config::{InEffect, Settings, Source};
use crate::domain::grant::Binding;
use crate::oauth::{Client, ClientSettings, Places, Registration, Webhook, tls_config};
use crate::proxy::ProxySettings;
use crate::store::Store;
use crate::telemetry::{Health, Metrics};
use crate::vault::Vault;
use crate::web::WebSettings;

/// What a broker is made of beside the settings.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) vault: Vault,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    pub(super) health: Health,
    pub(super) metrics: Metrics,
    pub(super) in_use: InUse,
}

/// The fact by which a database is known as a demo's: its sandbox's address, MCP server and client id.
pub const DEMO: &str = "demo";

impl Opened {
    /// Opens what the settings name.
    pub(super) async fn open(settings: &Settings) -> Result<Self, StartError> {
        let (clock, entropy, health) = (Clock::system(), Entropy::system(), Health::starting());
        let Kept { store, vault, in_use } = super::open::open(settings, &entropy).await?;
        let metrics = Metrics::new(clock.clone(), health.clone());
        Ok(Self { store, vault, clock, entropy, health, metrics, in_use })
    }

    /// A command on a demo's data directory means the demo's provider, unless another one is named.
    pub(super) async fn follow_demo(&self, settings: &mut Settings) {
        if settings.in_effect.iter().any(|set| set.key.is_of_provider() && set.source != Source::Default) {
            return;
        }
        let Ok(Some(fact)) = self.store.find_fact(DEMO).await else { return };
        let words: Vec<_> = fact.split(|b| *b == b' ').filter_map(|word| str::from_utf8(word).ok()).collect();
        if let [url, mcp_url, client_id] = words[..] {
            settings.replace_provider(url, mcp_url, client_id);
        }
    }
}

pub(super) async fn broker(settings: &Settings, opened: Opened) -> Result<(Broker, InUse), StartError> {
    let oauth = oauth(settings, &opened.clock)?;
    let Opened { store, vault, clock, entropy, health, metrics, in_use } = opened;
    let path = store.path().to_owned();
    let parts = Parts { store, vault, oauth, clock, entropy, health, metrics, settings: broker_settings(settings) };
    let broker = Broker::start(parts)
        .await
        .map_err(|error| StartError::Database(format!("{}: {error}; run keyfob doctor", path.display())))?;
    Ok((broker, in_use))
}

pub(super) fn oauth(settings: &Settings, clock: &Clock) -> Result<Client, StartError> {
    let places = Places {
        api: settings.teslascope_url.url().clone(),
        mcp: settings.teslascope_mcp_url.url().clone(),
        authorize: settings.oauth_authorize_url.clone(),
        token: settings.oauth_token_url.clone(),
        revoke: settings.oauth_revoke_url.clone(),
    };
    places.check().map_err(|error| StartError::Settings(error.to_string()))?;
    let registration = settings
        .oauth_client_id
        .clone()
        .map(|client_id| Registration { client_id, client_secret: settings.oauth_client_secret.clone() });
    let needed = settings.teslascope_url.is_https() || settings.teslascope_mcp_url.is_https();
    let tls = tls_config(settings.teslascope_ca_file.as_deref(), needed)
        .map_err(|error| StartError::Settings(error.to_string()))?;
    let client = ClientSettings { places, registration, timeout: settings.token_timeout, tls };
    Client::new(client, clock.clone()).map_err(|error| StartError::Settings(error.to_string()))
}

/// What the proxy needs to know.
pub(super) fn proxy(settings: &Settings, connections: usize) -> Result<ProxySettings, StartError> {
    let needed = settings.teslascope_url.is_https() || settings.teslascope_mcp_url.is_https();
    let tls = tls_config(settings.teslascope_ca_file.as_deref(), needed)
        .map_err(|error| StartError::Settings(error.to_string()))?;
    ProxySettings::new(settings, tls, connections).map_err(|error| StartError::Settings(error.to_string()))
}

/// What the pages need to know; the listeners are bound already.
pub(super) fn web(settings: &Settings) -> WebSettings {
    WebSettings {
        trusted_proxies: settings.trusted_proxies.clone(),
        in_effect: in_effect(settings),
        routes: settings.routes.clone(),
        proxy: Some(Door::new(settings.proxy_listen, settings.proxy_public_url.host())),
    }
}

/// The settings, with what those came to that are made of others where nothing is set.
fn in_effect(settings: &Settings) -> Vec<InEffect> {
    let came_to = |key: &Key| match key.name {
        name if name == keys::DATA_DIR.name => Some(settings.data_dir.display().to_string()),
        name if name == keys::DATABASE_URL.name => Some(format!("sqlite://{}", settings.database.display())),
        name if name == keys::MASTER_KEYS_FILE.name => Some(settings.master_keys_file.display().to_string()),
        name if name == keys::PUBLIC_URL.name => Some(settings.public_url.as_str().to_owned()),
        name if name == keys::PROXY_PUBLIC_URL.name => Some(settings.proxy_public_url.as_str().to_owned()),
        name if name == keys::WEB_LISTEN.name => Some(settings.web_listen.to_string()),
        name if name == keys::PROXY_LISTEN.name => Some(settings.proxy_listen.to_string()),
        name if name == keys::OPS_LISTEN.name => Some(settings.ops_listen.to_string()),
        _ => None,
    };
    let filled = |set: &InEffect| InEffect { value: came_to(set.key).or_else(|| set.value.clone()), ..set.clone() };
    settings.in_effect.iter().map(filled).collect()
}

/// Who is told when a grant needs its user; the roots trusted for the provider are not trusted for them.
pub(super) fn notifier(settings: &Settings, clock: &Clock) -> Result<Notifier, StartError> {
    let webhook = settings.notify_url.as_ref().map(|address| {
        let tls = tls_config(None, address.scheme() == "https")?;
        Webhook::new(address.clone(), tls, NOTIFY_PATIENCE, clock.clone())
    });
    let webhook = webhook.transpose().map_err(|error| StartError::Settings(format!("KEYFOB_NOTIFY_URL: {error}")))?;
    Ok(Notifier { webhook, command: settings.notify_command.clone(), patience: NOTIFY_PATIENCE })
}

/// How long the address or the program may take that is told when a grant needs its user.
const NOTIFY_PATIENCE: Duration = Duration::from_secs(10);

fn broker_settings(settings: &Settings) -> BrokerSettings {
    let address = |url: &Option<url::Url>| url.as_ref().map_or("", |url| url.as_str()).to_owned();
    BrokerSettings {
        public_url: settings.public_url.as_str().to_owned(),
        proxy_public_url: settings.proxy_public_url.as_str().to_owned(),
        binding: Binding {
            api_origin: settings.teslascope_url.origin(),
            mcp_origin: settings.teslascope_mcp_url.origin(),
            token_origin: String::new(),
            client_id: settings.oauth_client_id.clone().unwrap_or_default(),
        },
        provider_key: [
            settings.teslascope_url.as_str().to_owned(),
            settings.teslascope_mcp_url.as_str().to_owned(),
            address(&settings.oauth_authorize_url),
            address(&settings.oauth_token_url),
            address(&settings.oauth_revoke_url),
        ]
        .join(" "),
        app_rate: settings.app_rate,
        refresh_rate_per_minute: settings.refresh_rate_per_minute,
        token_timeout: settings.token_timeout,
        audit_keep: settings.audit_keep,
        audit_rows: settings.audit_rows,
    }
}
