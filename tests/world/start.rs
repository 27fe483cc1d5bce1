//! A broker on a data directory beside a sandbox, as a process of its own would be.

use std::path::Path;
use std::time::Duration;

use keyfob::ambient::{Clock, Entropy};
use keyfob::broker::{Broker, BrokerSettings, Parts};
use keyfob::domain::grant::Binding;
use keyfob::oauth::{Client, ClientSettings, Places, Registration, tls_config};
use keyfob::sandbox::Sandbox;
use keyfob::store::Store;
use keyfob::telemetry::{Health, Metrics, Trouble};
use keyfob::vault::{KeyFile, KeyRing, Vault};

/// What it starts with. The directory may hold a database and keys already.
pub(crate) struct Start<'s> {
    pub(crate) directory: &'s Path,
    pub(crate) sandbox: &'s Sandbox,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) public_url: &'s str,
    /// Empty for a Keyfob that is not registered.
    pub(crate) client_id: &'s str,
    pub(crate) token_timeout: Duration,
    pub(crate) rate: u32,
}

impl Start<'_> {
    pub(crate) async fn broker(self) -> Broker {
        let Self { directory, sandbox, clock, entropy, public_url, client_id, token_timeout, rate } = self;
        let api = sandbox.url();
        std::fs::create_dir_all(directory).unwrap();
        let file = KeyFile::new(directory.join("master.keys"), None);
        let ring =
            if file.exists() { KeyRing::open(file).unwrap() } else { KeyRing::create_new(file, &entropy).unwrap() };
        let vault = Vault::new(ring, entropy.clone());
        let store = Store::open(&directory.join("keyfob.db")).await.unwrap();
        store.keep_canary(&vault.seal_canary()).await.unwrap();
        let places = Places {
            api: api.parse().unwrap(),
            mcp: sandbox.mcp_url().parse().unwrap(),
            authorize: None,
            token: None,
            revoke: None,
        };
        let registration =
            (!client_id.is_empty()).then(|| Registration { client_id: client_id.to_owned(), client_secret: None });
        let tls = tls_config(None, false).unwrap();
        let client = ClientSettings { places, registration, timeout: token_timeout, tls };
        let settings = BrokerSettings {
            public_url: public_url.to_owned(),
            proxy_public_url: "http://127.0.0.1:8701".to_owned(),
            binding: Binding {
                api_origin: api.clone(),
                mcp_origin: api.clone(),
                token_origin: String::new(),
                client_id: client_id.to_owned(),
            },
            provider_key: api,
            app_rate: None,
            refresh_rate_per_minute: rate,
            token_timeout,
            audit_keep: Duration::from_secs(90 * 86_400),
            audit_rows: 1_000_000,
        };
        let oauth = Client::new(client, clock.clone()).unwrap();
        let health = Health::starting();
        health.clear(Trouble::Starting);
        let metrics = Metrics::new(clock.clone(), health.clone());
        Broker::start(Parts { store, vault, oauth, clock, entropy, health, metrics, settings }).await.unwrap()
    }
}
