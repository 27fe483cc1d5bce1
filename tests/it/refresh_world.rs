//! Processes that share one database, beside a sandbox that misbehaves when told to.

use std::time::Duration;

use http::StatusCode;
use keyfob::ambient::{Clock, Entropy};
use keyfob::broker::{
    AppWish, AuthorizationWish, Bearer, BearerRefusal, Broker, Chosen, CompleteError, Completed, Credential, KeyVia,
};
use keyfob::domain::app::KeyHash;
use keyfob::domain::grant::{Grant, GrantStatus};
use keyfob::domain::id::{GrantId, UserId};
use keyfob::domain::route::RouteTable;
use keyfob::domain::scope::ScopeSet;
use keyfob::domain::time::Timestamp;
use keyfob::domain::user::Role;
use keyfob::sandbox::{Faults, Sandbox, SandboxConfig};

use super::browser::Provider;
use super::start::Start;

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
/// How long the processes wait for the token endpoint: not so short that a busy machine exceeds it.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(1_500);

/// A sandbox, a data directory, a clock that obeys.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) sandbox: Sandbox,
    pub(crate) faults: Faults,
    pub(crate) directory: tempfile::TempDir,
    rate: u32,
}

/// One process on the world's database.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) broker: Broker,
    http: reqwest::Client,
    api: String,
}

/// A user's grant, and an app that may use it.
#[derive(Clone)]
pub(crate) struct Connected {
    pub(crate) user: UserId,
    pub(crate) grant: GrantId,
    pub(crate) key: Vec<u8>,
}

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Called {
    Answered(StatusCode),
    Refused(BearerRefusal),
}

pub(crate) const OK: Called = Called::Answered(StatusCode::OK);

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(SandboxConfig { access_lifetime: HOUR, ..SandboxConfig::default() }, 30).await
    }

    pub(crate) async fn with(config: SandboxConfig, rate: u32) -> Self {
        let clock = Clock::test(Timestamp::from_secs(1_795_000_000));
        let sandbox = Sandbox::start(SandboxConfig { clock: clock.clone(), ..config }).await.unwrap();
        let faults = sandbox.faults();
        Self { clock, sandbox, faults, directory: tempfile::tempdir().unwrap(), rate }
    }

    pub(crate) fn database(&self) -> std::path::PathBuf {
        self.directory.path().join("keyfob.db")
    }

    /// One more process, with the world's clock.
    pub(crate) async fn process(&self) -> Process {
        self.another_process(self.clock.clone(), "keyfob-sandbox").await
    }

    pub(crate) async fn another_process(&self, clock: Clock, client_id: &str) -> Process {
        let start = Start {
            directory: self.directory.path(),
            sandbox: &self.sandbox,
            clock,
            entropy: Entropy::system(),
            public_url: "http://localhost:8700",
            client_id,
            token_timeout: TIMEOUT,
            rate: self.rate,
        };
        let broker = start.broker().await;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        Process { broker, http, api: self.sandbox.url() }
    }

    /// Every byte of the data directory.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(self.directory.path()).unwrap() {
            all.extend(std::fs::read(entry.unwrap().path()).unwrap());
        }
        all
    }
}

impl Process {
    /// A new user's grant with an app, by consenting at the sandbox.
    pub(crate) async fn connect(&self, name: &str, scopes: &[&str]) -> Connected {
        let password = Some(keyfob::domain::secret::Secret::new("correct horse CANARY staple"));
        let user = self.broker.add_user(name, Role::Admin, password).await.unwrap().id;
        let grant = self.consent(user, None, scopes).await;
        let scopes = ScopeSet::parse_list(&scopes.join(" ")).unwrap();
        let wish = AppWish {
            user,
            name: "Dashboard".to_owned(),
            scopes,
            expires_in: None,
            query_key: false,
            grant: None,
            rate: None,
        };
        let key = self.broker.make_app(wish).await.unwrap().key;
        Connected { user, grant, key: key.expose().as_bytes().to_owned() }
    }

    pub(crate) async fn consent(&self, user: UserId, grant: Option<GrantId>, scopes: &[&str]) -> GrantId {
        self.try_consent(user, grant, scopes).await.unwrap().grant.id
    }

    pub(crate) async fn try_consent(
        &self,
        user: UserId,
        grant: Option<GrantId>,
        scopes: &[&str],
    ) -> Result<Completed, CompleteError> {
        let browser = KeyHash::of(b"a browser");
        let wish = AuthorizationWish {
            user,
            browser,
            scopes: ScopeSet::parse_list(&scopes.join(" ")).unwrap(),
            label: "Mine".to_owned(),
            grant,
            return_to: None,
        };
        let address = self.broker.begin_authorization(wish).await.unwrap();
        let callback = Provider::new().authorize(address.as_str(), scopes).await;
        let query = callback.split_once('?').unwrap().1;
        self.broker.complete_authorization(query, user, browser).await
    }

    pub(crate) async fn grant(&self, id: GrantId) -> Grant {
        self.broker.store.find_grant(id, None).await.unwrap().unwrap().grant
    }

    pub(crate) async fn status(&self, id: GrantId) -> GrantStatus {
        self.grant(id).await.status
    }

    pub(crate) fn chosen(&self, key: &[u8]) -> Chosen {
        let route = RouteTable::built_in().judge("GET", b"/api/vehicles").unwrap();
        let permit = self.broker.caller(key, KeyVia::Header).unwrap().permit(route).unwrap();
        self.broker.choose(&permit).unwrap().unwrap()
    }

    /// What the proxy does with `GET /api/vehicles`.
    pub(crate) async fn call(&self, key: &[u8]) -> Called {
        let chosen = self.chosen(key);
        let bearer = match self.broker.bearer_now(&chosen) {
            Some(bearer) => bearer,
            None => match self.broker.wait_for_bearer(&chosen).await {
                Ok(bearer) => bearer,
                Err(refusal) => return Called::Refused(refusal),
            },
        };
        let status = self.send(&bearer).await;
        if status != StatusCode::UNAUTHORIZED {
            return Called::Answered(status);
        }
        match self.broker.bearer_after_401(&chosen, &bearer).await {
            Some(newer) => Called::Answered(self.send(&newer).await),
            None => Called::Answered(status),
        }
    }

    async fn send(&self, bearer: &Bearer) -> StatusCode {
        let Credential::Header(value) = bearer.credential() else { panic!("no header") };
        let request = self.http.get(format!("{}/api/vehicles", self.api)).header("accept", "application/json");
        request.header("authorization", value.clone()).send().await.unwrap().status()
    }

    /// The value of a metric's line.
    pub(crate) fn metric(&self, line: &str) -> u64 {
        let text = self.broker.metrics.render();
        text.lines().find_map(|found| found.strip_prefix(line)).map_or(0, |value| value.trim().parse().unwrap())
    }

    pub(crate) fn refreshes(&self, result: &str) -> u64 {
        self.metric(&format!("keyfob_refresh_attempts_total{{result=\"{result}\"}}"))
    }
}

/// Waits for something that will be.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..400 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("never: {what}");
}
