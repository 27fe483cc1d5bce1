//! A data directory with a grant and an app, a sandbox beside it, and the real program on it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keyfob::ambient::{Clock, Entropy};
use keyfob::broker::{AppWish, AuthorizationWish, Broker, BrokerSettings, Parts};
use keyfob::domain::app::KeyHash;
use keyfob::domain::grant::Binding;
use keyfob::domain::id::{GrantId, UserId};
use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::domain::user::Role;
use keyfob::oauth::{Client, ClientSettings, Places, Registration, tls_config};
use keyfob::sandbox::{Faults, Sandbox, SandboxConfig};
use keyfob::store::Store;
use keyfob::telemetry::{Health, Metrics};
use keyfob::vault::{KeyFile, KeyRing, Vault};
use serde_json::Value;

const CLIENT: &str = "keyfob-sandbox";
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

/// What the program works with.
pub(crate) struct Town {
    pub(crate) sandbox: Sandbox,
    pub(crate) faults: Faults,
    pub(crate) data: PathBuf,
    pub(crate) http: reqwest::Client,
    _dir: tempfile::TempDir,
}

/// A user's grant, and an app that may use it.
pub(crate) struct Connected {
    pub(crate) user: UserId,
    pub(crate) grant: GrantId,
    pub(crate) key: String,
}

/// What an app got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) status: u16,
    /// The refusal's code, when the answer is our own.
    pub(crate) code: String,
    pub(crate) body: String,
}

/// The real program, serving. Killed when it is dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) proxy: SocketAddr,
    pub(crate) ops: SocketAddr,
}

impl Town {
    pub(crate) async fn new(config: SandboxConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        Self::at(config, dir, data).await
    }

    pub(crate) async fn at(config: SandboxConfig, dir: tempfile::TempDir, data: PathBuf) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        let sandbox = Sandbox::start(SandboxConfig { token_rate: None, ..config }).await.unwrap();
        let faults = sandbox.faults();
        Self { sandbox, faults, data, http, _dir: dir }
    }

    /// The library on the data directory, as a second process would be.
    pub(crate) async fn broker(&self) -> Broker {
        let (clock, entropy, health) = (Clock::system(), Entropy::system(), Health::starting());
        let api = self.sandbox.url();
        std::fs::create_dir_all(&self.data).unwrap();
        let file = KeyFile::new(self.data.join("master.keys"), None);
        let ring =
            if file.exists() { KeyRing::open(file).unwrap() } else { KeyRing::create_new(file, &entropy).unwrap() };
        let vault = Vault::new(ring, entropy.clone());
        let store = Store::open(&self.data.join("keyfob.db")).await.unwrap();
        store.keep_canary(&vault.seal_canary()).await.unwrap();
        let places = Places {
            api: api.parse().unwrap(),
            mcp: self.sandbox.mcp_url().parse().unwrap(),
            authorize: None,
            token: None,
            revoke: None,
        };
        let registration = Some(Registration { client_id: CLIENT.to_owned(), client_secret: None });
        let tls = tls_config(None, false).unwrap();
        let client = ClientSettings { places, registration, timeout: TIMEOUT, tls };
        let settings = BrokerSettings {
            public_url: "http://localhost:8700".to_owned(),
            proxy_public_url: "http://127.0.0.1:8701".to_owned(),
            binding: Binding {
                api_origin: api.clone(),
                mcp_origin: api.clone(),
                token_origin: String::new(),
                client_id: CLIENT.to_owned(),
            },
            provider_key: api,
            app_rate: None,
            refresh_rate_per_minute: 6_000,
            token_timeout: TIMEOUT,
            audit_keep: Duration::from_secs(86_400),
            audit_rows: 1_000_000,
        };
        let oauth = Client::new(client, clock.clone()).unwrap();
        let metrics = Metrics::new(clock.clone(), health.clone());
        Broker::start(Parts { store, vault, oauth, clock, entropy, health, metrics, settings }).await.unwrap()
    }

    /// A user with a grant and an app.
    pub(crate) async fn connect(&self) -> Connected {
        let broker = self.broker().await;
        let password = Some(keyfob::domain::secret::Secret::new("correct horse CANARY staple"));
        let user = broker.add_user("ada", Role::Admin, password).await.unwrap().id;
        let grant = self.consent(&broker, user, None).await;
        let wish = AppWish {
            user,
            name: "Dashboard".to_owned(),
            scopes: ScopeSet::of(Scope::Vehicles),
            expires_in: None,
            query_key: false,
            grant: None,
            rate: None,
        };
        let key = broker.make_app(wish).await.unwrap().key.expose().to_owned();
        broker.trail().finish(Duration::from_secs(5)).await;
        broker.store.close().await;
        Connected { user, grant, key }
    }

    /// Gives a new grant, or an old one anew.
    pub(crate) async fn consent(&self, broker: &Broker, user: UserId, grant: Option<GrantId>) -> GrantId {
        let browser = KeyHash::of(b"a browser");
        let scopes = ScopeSet::of(Scope::Vehicles);
        let wish = AuthorizationWish { user, browser, scopes, label: String::new(), grant, return_to: None };
        let address = broker.begin_authorization(wish).await.unwrap();
        let callback = self.authorize(address.as_str()).await;
        let query = callback.split_once('?').unwrap().1;
        broker.complete_authorization(query, user, browser).await.unwrap().grant.id
    }

    /// What a person does at the sandbox.
    async fn authorize(&self, address: &str) -> String {
        let mut cookie = String::new();
        let mut send = async |request: reqwest::RequestBuilder| {
            let answer = request.header("cookie", &cookie).send().await.unwrap();
            if let Some(set) = answer.headers().get("set-cookie") {
                set.to_str().unwrap().split(';').next().unwrap().clone_into(&mut cookie);
            }
            let location = answer.headers().get("location").map_or("", |value| value.to_str().unwrap()).to_owned();
            (location, answer.text().await.unwrap())
        };
        let origin = self.sandbox.url();
        let (login, _) = send(self.http.get(address)).await;
        let (_, page) = send(self.http.get(&login)).await;
        send(self.http.post(&login).form(&[("_token", value_of(&page, "_token")), ("account", "1".to_owned())])).await;
        let (_, page) = send(self.http.get(address)).await;
        let fields = [
            ("_token", value_of(&page, "_token")),
            ("auth_token", value_of(&page, "auth_token")),
            ("scope", "vehicles".to_owned()),
            ("decision", "authorize".to_owned()),
        ];
        send(self.http.post(format!("{origin}/oauth/authorize")).form(&fields)).await.0
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyfob"));
        command.args(arguments);
        self.set_up(&mut command);
        command
    }

    /// Gives the program its settings.
    pub(crate) fn set_up(&self, command: &mut Command) {
        let url = self.sandbox.url();
        command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").current_dir(self.data.parent().unwrap());
        command.env("KEYFOB_DATA_DIR", &self.data).env("KEYFOB_TESLASCOPE_URL", &url);
        command.env("KEYFOB_TESLASCOPE_MCP_URL", self.sandbox.mcp_url()).env("KEYFOB_OAUTH_CLIENT_ID", CLIENT);
        command.env("KEYFOB_TOKEN_TIMEOUT", "2s").env("KEYFOB_REFRESH_RATE_PER_MINUTE", "6000");
        command.env("KEYFOB_WEB_LISTEN", "127.0.0.1:0").stdin(Stdio::null()).stdout(Stdio::null());
    }

    /// Starts the program and waits until it is ready.
    pub(crate) async fn serve(&self) -> Running {
        self.serve_by(self.command(&["serve"])).await
    }

    /// Starts a command that becomes the program, and waits until it is ready.
    pub(crate) async fn serve_by(&self, mut command: Command) -> Running {
        let (proxy, ops) = (free_address(), free_address());
        let log = std::fs::File::options().create(true).append(true).open(self.log()).unwrap();
        command.env("KEYFOB_PROXY_LISTEN", proxy.to_string()).env("KEYFOB_OPS_LISTEN", ops.to_string()).stderr(log);
        let mut running = Running { child: command.spawn().unwrap(), proxy, ops };
        for _ in 0..400 {
            assert_eq!(running.child.try_wait().unwrap(), None, "it ended: {}", self.said());
            // The first setup's line comes with readiness, so one look is enough.
            if self.ready(&running).await == 200 {
                return running;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("never ready: {}", self.said());
    }

    fn log(&self) -> PathBuf {
        self.data.parent().unwrap().join("log")
    }

    /// What the program has logged.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// The status of `/readyz`; 0 when nobody listens.
    pub(crate) async fn ready(&self, running: &Running) -> u16 {
        let answer = self.http.get(format!("http://{}/readyz", running.ops)).send().await;
        answer.map_or(0, |answer| answer.status().as_u16())
    }

    /// An app's call; nothing when the program went away under it.
    pub(crate) async fn call(&self, running: &Running, method: http::Method, path: &str, key: &str) -> Option<Got> {
        let request = self.http.request(method, format!("http://{}{path}", running.proxy)).bearer_auth(key);
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        let code = answer.headers().get("keyfob-error").map_or("", |code| code.to_str().unwrap()).to_owned();
        Some(Got { status, code, body: answer.text().await.ok()? })
    }

    pub(crate) async fn vehicles(&self, running: &Running, key: &str) -> Option<Got> {
        self.call(running, http::Method::GET, "/api/vehicles", key).await
    }

    /// The grant as the command line tells it.
    pub(crate) async fn grant(&self, id: GrantId) -> Value {
        let mut command = self.command(&["grant", "list", "--json"]);
        let ended =
            tokio::task::spawn_blocking(move || command.stdout(Stdio::piped()).output().unwrap()).await.unwrap();
        let listed: Value = serde_json::from_slice(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        let own = listed.as_array().unwrap().iter().find(|grant| grant["id"] == id.to_string());
        own.unwrap_or_else(|| panic!("{listed}")).clone()
    }

    /// What SQLite says of the database.
    pub(crate) async fn integrity(&self) -> String {
        use sqlx::Connection as _;
        let address = format!("sqlite://{}", self.data.join("keyfob.db").display());
        let mut database = sqlx::SqliteConnection::connect(&address).await.unwrap();
        sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut database).await.unwrap()
    }
}

impl Running {
    /// What a power cut does to it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn value_of(page: &str, name: &str) -> String {
    let found = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("no {name} in {page}"));
    found.1.split('"').next().unwrap().to_owned()
}
