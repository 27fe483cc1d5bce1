//! A data directory with a grant and an app, a sandbox beside it, and the real program on it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyfob::ambient::{Clock, Entropy};
use keyfob::broker::{AppWish, AuthorizationWish, Broker};
use keyfob::domain::app::KeyHash;
use keyfob::domain::id::{GrantId, UserId};
use keyfob::domain::scope::ScopeSet;
use keyfob::domain::user::Role;
use keyfob::sandbox::{Consent, Faults, Sandbox, SandboxConfig};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::start::Start;

const CLIENT: &str = "keyfob-sandbox";
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

/// What the program works with.
pub(crate) struct Town {
    pub(crate) sandbox: Sandbox,
    pub(crate) faults: Faults,
    pub(crate) data: PathBuf,
    pub(crate) http: reqwest::Client,
    log: Arc<Mutex<String>>,
    _dir: tempfile::TempDir,
}

/// A user's grant, and an app that may use it.
pub(crate) struct Connected {
    pub(crate) user: UserId,
    pub(crate) grant: GrantId,
    pub(crate) key: String,
    /// For the management API.
    pub(crate) admin_key: String,
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
    pub(crate) web: SocketAddr,
    pub(crate) proxy: SocketAddr,
    pub(crate) ops: SocketAddr,
}

impl Town {
    pub(crate) async fn new(config: SandboxConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        let sandbox = Sandbox::start(SandboxConfig { token_rate: None, ..config }).await.unwrap();
        let faults = sandbox.faults();
        Self { sandbox, faults, data: dir.path().join("data"), http, log: Arc::default(), _dir: dir }
    }

    /// The library on the data directory, as a second process would be.
    pub(crate) async fn broker(&self) -> Broker {
        let start = Start {
            directory: &self.data,
            sandbox: &self.sandbox,
            clock: Clock::system(),
            entropy: Entropy::system(),
            public_url: "http://localhost:8700",
            client_id: CLIENT,
            token_timeout: TIMEOUT,
            rate: 6_000,
        };
        start.broker().await
    }

    /// A user with a grant for cars, and an app that may use it.
    pub(crate) async fn connect(&self) -> Connected {
        self.connect_with("vehicles").await
    }

    /// The same with other scopes.
    pub(crate) async fn connect_with(&self, scopes: &str) -> Connected {
        let broker = self.broker().await;
        let password = Some(keyfob::domain::secret::Secret::new("correct horse CANARY staple"));
        let user = broker.add_user("ada", Role::Admin, password).await.unwrap().id;
        let scopes = ScopeSet::parse_list(scopes).unwrap();
        let grant = self.consent(&broker, user, None, scopes).await;
        let wish = AppWish {
            user,
            name: "Dashboard".to_owned(),
            scopes,
            expires_in: None,
            query_key: false,
            grant: None,
            rate: None,
        };
        let key = broker.make_app(wish).await.unwrap().key.expose().to_owned();
        let admin_key = broker.make_admin_key("robot").await.unwrap().1.expose().to_owned();
        broker.trail().finish(Duration::from_secs(5)).await;
        broker.store.close().await;
        Connected { user, grant, key, admin_key }
    }

    /// Gives a new grant, or an old one anew.
    pub(crate) async fn consent(
        &self,
        broker: &Broker,
        user: UserId,
        grant: Option<GrantId>,
        scopes: ScopeSet,
    ) -> GrantId {
        let browser = KeyHash::of(b"a browser");
        let wish = AuthorizationWish { user, browser, scopes, label: String::new(), grant, return_to: None };
        let address = broker.begin_authorization(wish).await.unwrap();
        let callback = self.sandbox.decide(address.as_str(), 1, Consent::Authorize(scopes)).unwrap();
        let query = callback.split_once('?').unwrap().1;
        broker.complete_authorization(query, user, browser).await.unwrap().grant.id
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
        for listener in ["WEB", "PROXY", "OPS"] {
            command.env(format!("KEYFOB_{listener}_LISTEN"), "127.0.0.1:0");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
    }

    /// The program, to be started by a script that ends in `exec "$0" serve`.
    pub(crate) fn script(&self, before: &[&str], script: &str) -> Command {
        let words = [before, &["/bin/sh", "-c", script, env!("CARGO_BIN_EXE_keyfob")]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        self.set_up(&mut command);
        command
    }

    /// Starts the program and waits until it is ready.
    pub(crate) async fn serve(&self) -> Running {
        self.serve_by(self.command(&["serve"])).await
    }

    /// Starts a command that becomes the program, and waits until it is ready.
    pub(crate) async fn serve_by(&self, mut command: Command) -> Running {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (lines, log) = (BufReader::new(child.stderr.take().unwrap()).lines(), Arc::clone(&self.log));
        let (said, mut ready) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                log.lock().unwrap().extend([&*line, "\n"]);
                if let Ok(line) = serde_json::from_str::<Value>(&line)
                    && line["message"] == "Keyfob is ready"
                {
                    let _ = said.send(line);
                }
            }
        });
        let ready = timeout(Duration::from_secs(20), ready.recv()).await.ok().flatten();
        let ready = ready.unwrap_or_else(|| panic!("never ready: {}", self.said()));
        let address = |name: &str| ready[format!("{name}.address")].as_str().unwrap().parse().unwrap();
        Running { child, web: address("web"), proxy: address("proxy"), ops: address("ops") }
    }

    /// What the programs have logged.
    pub(crate) fn said(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The status of `/readyz`; 0 when nobody listens.
    pub(crate) async fn ready(&self, running: &Running) -> u16 {
        let answer = self.http.get(format!("http://{}/readyz", running.ops)).send().await;
        answer.map_or(0, |answer| answer.status().as_u16())
    }

    /// The value of a metric's line.
    pub(crate) async fn metric(&self, running: &Running, line: &str) -> u64 {
        let answer = self.http.get(format!("http://{}/metrics", running.ops)).send().await.unwrap();
        let text = answer.text().await.unwrap();
        text.lines().find_map(|found| found.strip_prefix(line)).map_or(0, |value| value.trim().parse().unwrap())
    }

    /// An app's call; nothing when the program went away under it.
    pub(crate) async fn call(&self, running: &Running, method: http::Method, path: &str, key: &str) -> Option<Got> {
        call(&self.http, method, format!("http://{}{path}", running.proxy), key).await
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
        sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut self.database().await).await.unwrap()
    }

    /// The database as another program sees it.
    pub(crate) async fn database(&self) -> sqlx::SqliteConnection {
        use sqlx::Connection as _;
        let address = format!("sqlite://{}", self.data.join("keyfob.db").display());
        sqlx::SqliteConnection::connect(&address).await.unwrap()
    }
}

pub(crate) async fn call(http: &reqwest::Client, method: http::Method, url: String, key: &str) -> Option<Got> {
    let answer = http.request(method, url).bearer_auth(key).send().await.ok()?;
    let status = answer.status().as_u16();
    let code = answer.headers().get("keyfob-error").map_or("", |code| code.to_str().unwrap()).to_owned();
    Some(Got { status, code, body: answer.text().await.ok()? })
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

/// Waits for something that will be within so long; gives how long it took.
pub(crate) async fn within(most: Duration, what: &str, mut look: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !look().await {
        assert!(begun.elapsed() < most, "not within {most:?}: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    begun.elapsed()
}

/// Says past the capture of tests that a story can't be told on this machine. tests/run.sh counts these lines.
#[expect(clippy::explicit_write, reason = "what eprintln writes is captured")]
pub(crate) fn skipped(why: &str) {
    writeln!(std::io::stderr(), "\nskipped: {why}").unwrap();
}

/// A number from the environment, for a longer run.
pub(crate) fn number(variable: &str, usual: u64) -> u64 {
    let Some(set) = std::env::var_os(variable) else { return usual };
    set.to_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{variable}: {}", set.display()))
}
