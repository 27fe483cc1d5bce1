//! A proxy over a real broker, between a raw client and a recording provider.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use keyfob::ambient::{Clock, Entropy};
use keyfob::broker::{AppWish, AuthorizationWish, Broker, BrokerSettings, MadeApp, Parts, PastedWish};
use keyfob::config::{Given, Settings};
use keyfob::domain::app::KeyHash;
use keyfob::domain::grant::{Binding, Grant, GrantKind};
use keyfob::domain::id::{GrantId, UserId};
use keyfob::domain::scope::ScopeSet;
use keyfob::domain::secret::Secret;
use keyfob::domain::time::Timestamp;
use keyfob::domain::user::Role;
use keyfob::oauth::{Client as OauthClient, ClientSettings, Places, Registration, tls_config};
use keyfob::proxy::{self, ProxySettings};
use keyfob::store::Store;
use keyfob::telemetry::{Health, Metrics};
use keyfob::vault::{KeyFile, KeyRing, Vault};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::{Client, Got};
use super::provider::{Provider, answer};

const CLIENT: &str = "keyfob-client";
pub(crate) const TOKEN: &str = "eyJ0eXAi.CANARY-access-token.c2lnbmF0dXJl";

pub(crate) struct World {
    pub(crate) broker: Broker,
    pub(crate) clock: Clock,
    pub(crate) provider: Provider,
    pub(crate) proxy: SocketAddr,
    pub(crate) user: UserId,
    /// An app that may do everything, and whose key may come in the URL.
    pub(crate) key: String,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) serving: JoinHandle<()>,
    directory: tempfile::TempDir,
    settings: Settings,
}

impl World {
    /// With a grant that holds everything and the app of `key`.
    pub(crate) async fn new() -> Self {
        let mut world = Self::bare(&[], |_| {}).await;
        world.grant("all", ScopeSet::ALL, GrantKind::PersonalAccessToken, TOKEN).await;
        world.app(ScopeSet::ALL).await.key.expose().clone_into(&mut world.key);
        world.provider.forget();
        world
    }

    /// The same with settings and patience of its own.
    pub(crate) async fn with(set: &[(&str, &str)], patience: impl FnOnce(&mut ProxySettings)) -> Self {
        let mut world = Self::bare(set, patience).await;
        world.grant("all", ScopeSet::ALL, GrantKind::PersonalAccessToken, TOKEN).await;
        world.app(ScopeSet::ALL).await.key.expose().clone_into(&mut world.key);
        world.provider.forget();
        world
    }

    /// The same, where the provider speaks TLS.
    pub(crate) async fn tls() -> Self {
        let provider = Provider::start_tls().await;
        let origin = format!("https://{}", provider.address);
        let tls = tls_config(Some(Path::new("tests/data/tls/ca.pem")), true).unwrap();
        let mut world = Self::over(provider, &origin, tls, &[], |_| {}).await;
        world.grant("all", ScopeSet::ALL, GrantKind::PersonalAccessToken, TOKEN).await;
        world.app(ScopeSet::ALL).await.key.expose().clone_into(&mut world.key);
        world.provider.forget();
        world
    }

    /// Without a grant and without an app.
    pub(crate) async fn bare(set: &[(&str, &str)], patience: impl FnOnce(&mut ProxySettings)) -> Self {
        let provider = Provider::start().await;
        let origin = format!("http://{}", provider.address);
        Self::over(provider, &origin, tls_config(None, false).unwrap(), set, patience).await
    }

    async fn over(
        provider: Provider,
        origin: &str,
        tls: rustls::ClientConfig,
        set: &[(&str, &str)],
        patience: impl FnOnce(&mut ProxySettings),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut environment = vec![
            ("KEYFOB_DATA_DIR".to_owned(), directory.path().to_str().unwrap().to_owned()),
            ("KEYFOB_TESLASCOPE_URL".to_owned(), origin.to_owned()),
            ("KEYFOB_TESLASCOPE_MCP_URL".to_owned(), format!("{origin}/ai/mcp")),
            ("KEYFOB_ALLOWED_ORIGINS".to_owned(), "https://page.example".to_owned()),
            ("KEYFOB_OAUTH_CLIENT_ID".to_owned(), CLIENT.to_owned()),
            ("KEYFOB_OAUTH_AUTHORIZE_URL".to_owned(), format!("{origin}/oauth/authorize")),
            ("KEYFOB_OAUTH_TOKEN_URL".to_owned(), format!("{origin}/oauth/token")),
        ];
        environment.extend(set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let given = Given {
            environment: environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            ..Given::default()
        };
        let settings = Settings::load(&given).unwrap();
        let (clock, entropy) = (Clock::test(Timestamp::from_secs(1_795_000_000)), Entropy::seeded(11));
        let file = KeyFile::new(directory.path().join("master.keys"), None);
        let ring = KeyRing::create_new(file, &entropy).unwrap();
        let broker = broker(&directory, &settings, &clock, &entropy, ring, tls.clone()).await;
        let user = broker.add_user("ada", Role::Admin, Some(Secret::new("correct horse staple"))).await.unwrap().id;

        let mut wanted = ProxySettings::new(&settings, tls, 16_384).unwrap();
        // What is kept between calls is kept by lane.
        wanted.lanes = NonZeroUsize::MIN;
        patience(&mut wanted);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = listener.local_addr().unwrap();
        let (stop, stopping) = watch::channel(false);
        let serving =
            tokio::spawn(proxy::serve(listener, broker.clone(), wanted, broker.metrics.clone(), stopping).unwrap());
        Self { broker, clock, provider, proxy, user, key: String::new(), stop, serving, directory, settings }
    }

    /// The database's file.
    pub(crate) fn database(&self) -> std::path::PathBuf {
        self.directory.path().join("keyfob.db")
    }

    /// What another process that shares the data directory does, as the command line is one.
    pub(crate) async fn another_process(&self) -> Broker {
        let ring = KeyRing::open(KeyFile::new(self.directory.path().join("master.keys"), None)).unwrap();
        let tls = tls_config(None, false).unwrap();
        broker(&self.directory, &self.settings, &self.clock, &Entropy::seeded(12), ring, tls).await
    }

    /// A grant, pasted; the provider is asked about it once.
    pub(crate) async fn grant(&self, label: &str, scopes: ScopeSet, kind: GrantKind, token: &str) -> Grant {
        self.grant_of(self.user, label, scopes, kind, token).await
    }

    pub(crate) async fn grant_of(
        &self,
        user: UserId,
        label: &str,
        scopes: ScopeSet,
        kind: GrantKind,
        token: &str,
    ) -> Grant {
        let secret = Secret::new(token);
        let wish = PastedWish { user, kind, scopes, label: label.to_owned(), secret };
        let (grant, _) = self.broker.add_pasted_token(wish).await.unwrap();
        grant
    }

    /// A grant that can be refreshed, given in a browser; its first access token is `first`.
    pub(crate) async fn oauth_grant(&self, scopes: ScopeSet, first: &str) {
        self.authorize(None, scopes, tokens(first)).await;
    }

    /// A grant given in a browser, or one that was there widened or renewed; the token endpoint answers `answer`.
    pub(crate) async fn authorize(&self, grant: Option<GrantId>, scopes: ScopeSet, answer: Vec<u8>) -> Grant {
        let browser = KeyHash::of(b"browser");
        let label = "oauth".to_owned();
        let wish = AuthorizationWish { user: self.user, browser, scopes, label, grant, return_to: None };
        let address = self.broker.begin_authorization(wish).await.unwrap();
        let state = address.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
        self.provider.will_answer(answer);
        let query = format!("code=c&state={state}");
        let completed = self.broker.complete_authorization(&query, self.user, browser).await.unwrap();
        self.provider.forget();
        completed.grant
    }

    pub(crate) async fn app(&self, scopes: ScopeSet) -> MadeApp {
        self.app_with(AppWish {
            user: self.user,
            name: "app".to_owned(),
            scopes,
            expires_in: None,
            query_key: true,
            grant: None,
            rate: None,
        })
        .await
    }

    pub(crate) async fn app_with(&self, wish: AppWish) -> MadeApp {
        self.broker.make_app(wish).await.unwrap()
    }

    pub(crate) fn wish(&self, scopes: ScopeSet) -> AppWish {
        AppWish {
            user: self.user,
            name: "app".to_owned(),
            scopes,
            expires_in: None,
            query_key: false,
            grant: None,
            rate: None,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.proxy).await
    }

    /// A head with the app's key, the proxy's host, and these lines.
    pub(crate) fn head(&self, method: &str, target: &str, lines: &[&str]) -> String {
        let lines = lines.iter().fold(String::new(), |head, line| head + line + "\r\n");
        format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{lines}\r\n",
            self.proxy, self.key
        )
    }

    /// One call on a connection of its own.
    pub(crate) async fn call(&self, method: &str, target: &str, lines: &[&str]) -> Got {
        self.raw(method, &self.head(method, target, lines)).await
    }

    pub(crate) async fn get(&self, target: &str) -> Got {
        self.call("GET", target, &[]).await
    }

    /// These bytes on a connection of their own, and the first response.
    pub(crate) async fn raw(&self, method: &str, bytes: &str) -> Got {
        let mut client = self.client().await;
        client.send(bytes).await;
        client.response_to(method).await
    }

    /// That the provider heard nothing.
    #[track_caller]
    pub(crate) fn unheard(&self) {
        let raw = self.provider.raw();
        assert!(raw.is_empty(), "{}", String::from_utf8_lossy(&raw));
    }
}

async fn broker(
    directory: &tempfile::TempDir,
    settings: &Settings,
    clock: &Clock,
    entropy: &Entropy,
    ring: KeyRing,
    tls: rustls::ClientConfig,
) -> Broker {
    let places = Places {
        api: settings.teslascope_url.url().clone(),
        mcp: settings.teslascope_mcp_url.url().clone(),
        authorize: settings.oauth_authorize_url.clone(),
        token: settings.oauth_token_url.clone(),
        revoke: None,
    };
    let timeout = Duration::from_secs(5);
    let registration = Some(Registration { client_id: CLIENT.to_owned(), client_secret: None });
    let oauth = OauthClient::new(ClientSettings { places, registration, timeout, tls }, clock.clone()).unwrap();
    let store = Store::open(&directory.path().join("keyfob.db")).await.unwrap();
    let health = Health::starting();
    let parts = Parts {
        store,
        vault: Vault::new(ring, entropy.clone()),
        oauth,
        clock: clock.clone(),
        entropy: entropy.clone(),
        metrics: Metrics::new(clock.clone(), health.clone()),
        health,
        settings: BrokerSettings {
            public_url: settings.public_url.as_str().to_owned(),
            proxy_public_url: settings.proxy_public_url.as_str().to_owned(),
            binding: Binding {
                api_origin: settings.teslascope_url.origin(),
                mcp_origin: settings.teslascope_mcp_url.origin(),
                token_origin: String::new(),
                client_id: CLIENT.to_owned(),
            },
            provider_key: settings.teslascope_url.origin(),
            app_rate: settings.app_rate,
            refresh_rate_per_minute: 30,
            token_timeout: timeout,
            audit_keep: settings.audit_keep,
            audit_rows: settings.audit_rows,
        },
    };
    Broker::start(parts).await.unwrap()
}

/// What the token endpoint answers.
pub(crate) fn tokens(access_token: &str) -> Vec<u8> {
    tokens_with(access_token, "")
}

/// The same, with the scopes that the token is said to have.
pub(crate) fn tokens_of(access_token: &str, scope: &str) -> Vec<u8> {
    tokens_with(access_token, &format!(",\"scope\":\"{scope}\""))
}

fn tokens_with(access_token: &str, more: &str) -> Vec<u8> {
    let body = format!(
        "{{\"token_type\":\"Bearer\",\"expires_in\":31536000,\"access_token\":\"{access_token}\",\"refresh_token\":\"refresh-{access_token}\"{more}}}"
    );
    answer("200 OK", &[("content-type", "application/json")], &body)
}

/// What the provider says to a token that it does not take.
pub(crate) fn unauthenticated() -> Vec<u8> {
    let headers = [("content-type", "application/json"), ("www-authenticate", "Bearer realm=\"mcp\"")];
    answer("401 Unauthorized", &headers, "{\"message\":\"Unauthenticated.\"}")
}
