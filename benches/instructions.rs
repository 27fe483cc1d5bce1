//! How many instructions the steps take that every call goes through: neighbours on the machine don't disturb these counts.
//!
//! `bash benches/instructions.sh` runs it; it needs valgrind and the runner of gungraun's own version. It fails where a step takes
//! more than five hundredths over what README.md has down. After a change that is meant, put the new counts there and here.
#![expect(clippy::expect_used, reason = "a benchmark that can't go on ends")]
#![expect(missing_docs, clippy::must_use_candidate, reason = "what the macros write")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use http::{HeaderMap, HeaderName, HeaderValue};
use keyfob::ambient::{Clock, Entropy};
use keyfob::broker::{AppWish, Bearer, Broker, BrokerSettings, Caller, KeyVia, Parts, PastedWish, Permit};
use keyfob::config::{Given, Settings};
use keyfob::domain::grant::{Binding, GrantKind};
use keyfob::domain::route::{Route, RouteTable, Upstream};
use keyfob::domain::scope::ScopeSet;
use keyfob::domain::secret::Secret;
use keyfob::domain::user::Role;
use keyfob::oauth::{Client, ClientSettings, Places, tls_config};
use keyfob::proxy::{Addresses, ProxySettings, dress, filter};
use keyfob::store::Store;
use keyfob::telemetry::{Health, Metrics};
use keyfob::vault::{KeyFile, KeyRing, Vault};

/// A broker in memory and on disk, with one app and one grant.
struct House {
    broker: Broker,
    key: String,
    addresses: Addresses,
    _runtime: tokio::runtime::Runtime,
    _directory: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().expect("a directory");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // Nobody is there, so that nothing is waited for.
        let origin = "http://127.0.0.1:9";
        let environment = [
            ("KEYFOB_DATA_DIR", directory.path().to_str().expect("a path")),
            ("KEYFOB_TESLASCOPE_URL", origin),
            ("KEYFOB_TESLASCOPE_MCP_URL", origin),
        ];
        let environment = environment.map(|(name, value)| (name.into(), value.into())).into_iter().collect();
        let settings = Settings::load(&Given { environment, ..Given::default() }).expect("settings");
        let tls = tls_config(None, false).expect("TLS");
        let proxy = ProxySettings::new(&settings, tls.clone(), 1_024).expect("settings");
        let (broker, key) = runtime.block_on(async {
            let (clock, entropy, health) = (Clock::system(), Entropy::seeded(5), Health::starting());
            let file = KeyFile::new(directory.path().join("master.keys"), None);
            let vault = Vault::new(KeyRing::create_new(file, &entropy).expect("keys"), entropy.clone());
            let store = Store::open(&directory.path().join("keyfob.db")).await.expect("a database");
            let places = Places {
                api: settings.teslascope_url.url().clone(),
                mcp: settings.teslascope_mcp_url.url().clone(),
                authorize: None,
                token: None,
                revoke: None,
            };
            let timeout = Duration::from_secs(5);
            let client = ClientSettings { places, registration: None, timeout, tls };
            let oauth = Client::new(client, clock.clone()).expect("a client");
            let metrics = Metrics::new(clock.clone(), health.clone());
            let binding = Binding {
                api_origin: settings.teslascope_url.origin(),
                mcp_origin: settings.teslascope_mcp_url.origin(),
                token_origin: String::new(),
                client_id: String::new(),
            };
            let settings = BrokerSettings {
                public_url: "http://localhost:8700".to_owned(),
                proxy_public_url: "http://127.0.0.1:8701".to_owned(),
                binding,
                provider_key: origin.to_owned(),
                app_rate: None,
                refresh_rate_per_minute: 30,
                token_timeout: timeout,
                audit_keep: timeout,
                audit_rows: 1_000,
            };
            let parts = Parts { store, vault, oauth, clock, entropy, health, metrics, settings };
            let broker = Broker::start(parts).await.expect("a broker");
            let user = broker.add_user("ada", Role::Admin, None).await.expect("a user").id;
            let wish = PastedWish {
                user,
                kind: GrantKind::PersonalAccessToken,
                scopes: ScopeSet::ALL,
                label: "all".to_owned(),
                secret: Secret::new("eyJ0eXAi.a-token-of-some-length.c2lnbmF0dXJl"),
            };
            broker.add_pasted_token(wish).await.expect("a grant");
            let wish = AppWish {
                user,
                name: "app".to_owned(),
                scopes: ScopeSet::ALL,
                expires_in: None,
                query_key: false,
                grant: None,
                rate: None,
            };
            let key = broker.make_app(wish).await.expect("an app").key.expose().to_owned();
            (broker, key)
        });
        Self { broker, key, addresses: proxy.addresses(), _runtime: runtime, _directory: directory }
    }

    fn permit(&self) -> Permit {
        let route = route(&RouteTable::built_in(), "/api/vehicle/corsair");
        let Ok(permit) = caller(self).permit(route) else { panic!("the app may do everything") };
        permit
    }

    fn permitted() -> (Self, Permit) {
        let house = Self::new();
        let permit = house.permit();
        (house, permit)
    }

    fn bearer(&self, permit: &Permit) -> Arc<Bearer> {
        let chosen = self.broker.choose(permit).ok().flatten().expect("a grant");
        self.broker.bearer_now(&chosen).expect("a token")
    }
}

fn route(table: &RouteTable, path: &str) -> Route {
    table.judge("GET", path.as_bytes()).expect("a known path")
}

fn caller(house: &House) -> Caller {
    let known = house.broker.caller(house.key.as_bytes(), KeyVia::Header);
    let Ok(caller) = known else { panic!("a known key") };
    caller
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn asked() -> HeaderMap {
    headers(&[
        ("host", "127.0.0.1:8701"),
        ("user-agent", "python-httpx/0.28.1"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip, deflate, br"),
        ("connection", "keep-alive"),
        ("authorization", "Bearer kf_0123456789012345678901234567890123456789012"),
        ("cookie", "a=b"),
        ("x-forwarded-for", "10.0.0.1"),
    ])
}

fn to_send() -> (Arc<Bearer>, HeaderMap, HeaderValue) {
    let (house, permit) = House::permitted();
    (house.bearer(&permit), asked(), HeaderValue::from_static("teslascope.com"))
}

/// The head of an answer, its headers, and what they are filtered by.
type Answered = (House, Arc<Bearer>, String, HeaderMap);

fn to_pass_on() -> Answered {
    let pairs = [
        ("server", "nginx"),
        ("date", "Tue, 24 Nov 2026 09:00:00 GMT"),
        ("content-type", "application/json"),
        ("content-length", "1000"),
        ("cache-control", "no-cache, private"),
        ("set-cookie", "session=x"),
        ("x-ratelimit-limit", "60"),
        ("x-ratelimit-remaining", "59"),
        ("vary", "Accept-Encoding"),
        ("strict-transport-security", "max-age=31536000"),
    ];
    let lines: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let (house, permit) = House::permitted();
    let bearer = house.bearer(&permit);
    // As it is after the first call with this token.
    let _ = bearer.lead();
    (house, bearer, lines.concat(), headers(&pairs))
}

fn most(instructions: u64) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(EventKind::Ir, instructions + instructions / 20)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

#[library_benchmark(config = most(PATH_JUDGE))]
#[bench::drives(RouteTable::built_in())]
fn path_judge(table: RouteTable) -> (Route, RouteTable) {
    (black_box(route(black_box(&table), black_box("/api/vehicle/corsair/drives"))), table)
}

#[library_benchmark(config = most(KEY_LOOK_UP))]
#[bench::known(House::new())]
fn key_look_up(house: House) -> (Caller, House) {
    (black_box(caller(black_box(&house))), house)
}

#[library_benchmark(config = most(GRANT_CHOICE))]
#[bench::one_grant(House::permitted())]
fn grant_choice((house, permit): (House, Permit)) -> (Arc<Bearer>, House, Permit) {
    (black_box(black_box(&house).bearer(black_box(&permit))), house, permit)
}

#[library_benchmark(config = most(REQUEST_HEADERS))]
#[bench::usual(to_send())]
fn request_headers((bearer, asked, host): (Arc<Bearer>, HeaderMap, HeaderValue)) -> (Vec<u8>, HeaderMap) {
    let mut out = Vec::with_capacity(1_024);
    dress(black_box(&asked), &host, Some(&bearer), Upstream::Api, |name, value| {
        for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(piece);
        }
    });
    (black_box(out), asked)
}

#[library_benchmark(config = most(RESPONSE_HEADERS))]
#[bench::usual(to_pass_on())]
fn response_headers((house, bearer, text, mut answered): Answered) -> (HeaderMap, Answered) {
    filter(black_box(&mut answered), text.as_bytes(), Some(&bearer), Upstream::Api, &house.addresses);
    let filtered = black_box(std::mem::take(&mut answered));
    (filtered, (house, bearer, text, answered))
}

/// As README.md has them down.
const PATH_JUDGE: u64 = 1_383;
const KEY_LOOK_UP: u64 = 4_175;
const GRANT_CHOICE: u64 = 613;
const REQUEST_HEADERS: u64 = 2_337;
const RESPONSE_HEADERS: u64 = 1_904;

library_benchmark_group!(
    name = call,
    benchmarks = [path_judge, key_look_up, grant_choice, request_headers, response_headers]
);

main!(library_benchmark_groups = call);
