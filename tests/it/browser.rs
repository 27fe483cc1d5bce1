//! A Keyfob of its own in a temporary directory, and browsers that visit it: cookies, redirects, forms.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::header::{CONTENT_TYPE, COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{HeaderMap, Method, Request, StatusCode};
use keyfob::ambient::{Clock, Entropy};
use keyfob::broker::{Broker, BrokerSettings, Parts};
use keyfob::domain::grant::Binding;
use keyfob::domain::time::Timestamp;
use keyfob::store::Store;
use keyfob::telemetry::{Health, Metrics};
use keyfob::vault::{KeyFile, KeyRing, Vault};
use keyfob::web::Web;
use tower::ServiceExt as _;

pub const PASSWORD: &str = "correct horse CANARY staple";

/// A running Keyfob without its listeners.
pub struct House {
    pub broker: Broker,
    pub clock: Clock,
    pub public_url: String,
    router: Router,
    _directory: tempfile::TempDir,
}

impl House {
    pub async fn new() -> Self {
        Self::at("http://localhost:8700").await
    }

    pub async fn at(public_url: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (clock, entropy) = (Clock::test(Timestamp::from_secs(1_795_000_000)), Entropy::seeded(7));
        let ring = KeyRing::create_new(KeyFile::new(directory.path().join("master.keys"), None), &entropy).unwrap();
        let store = Store::open(&directory.path().join("keyfob.db")).await.unwrap();
        let health = Health::starting();
        let settings = BrokerSettings {
            public_url: public_url.to_owned(),
            proxy_public_url: "http://127.0.0.1:8701".to_owned(),
            binding: Binding {
                api_origin: "https://teslascope.com".to_owned(),
                mcp_origin: "https://mcp.teslascope.com".to_owned(),
                token_origin: "https://teslascope.com".to_owned(),
                client_id: "client".to_owned(),
            },
            app_rate: None,
            refresh_rate_per_minute: 30,
            token_timeout: Duration::from_secs(30),
            audit_keep: Duration::from_secs(90 * 86_400),
            audit_rows: 1_000_000,
        };
        let parts = Parts {
            store,
            vault: Vault::new(ring, entropy.clone()),
            clock: clock.clone(),
            entropy,
            metrics: Metrics::new(clock.clone(), health.clone()),
            health,
            settings,
        };
        let broker = Broker::start(parts).await.unwrap();
        let router = Web::new(broker.clone(), Vec::new()).router(Router::new());
        Self { broker, clock, public_url: public_url.to_owned(), router, _directory: directory }
    }

    /// A house with an admin named `ada`.
    pub async fn with_admin() -> Self {
        let house = Self::new().await;
        house.add_user("ada", keyfob::domain::user::Role::Admin).await;
        house
    }

    pub async fn add_user(&self, name: &str, role: keyfob::domain::user::Role) {
        self.broker.add_user(name, role, Some(keyfob::domain::secret::Secret::new(PASSWORD))).await.unwrap();
    }

    pub fn browser(&self) -> Browser<'_> {
        Browser { house: self, cookies: BTreeMap::new(), source: "127.0.0.1:50000".parse().unwrap(), headers: Vec::new() }
    }

    /// A browser in which somebody is signed in.
    pub async fn signed_in(&self, name: &str) -> Browser<'_> {
        let mut browser = self.browser();
        let page = browser.sign_in(name, PASSWORD).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.body);
        browser
    }
}

/// What a browser keeps and sends.
#[derive(Clone)]
pub struct Browser<'h> {
    pub house: &'h House,
    pub cookies: BTreeMap<String, String>,
    pub source: SocketAddr,
    /// Sent with every request.
    pub headers: Vec<(&'static str, String)>,
}

/// An answer.
#[derive(Debug)]
pub struct Page {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Page {
    pub fn location(&self) -> &str {
        self.headers.get(LOCATION).map_or("", |value| value.to_str().unwrap())
    }

    /// The form token of the page.
    pub fn token(&self) -> String {
        let found = self.body.split_once("name=\"csrf_token\" value=\"").unwrap_or_else(|| panic!("no form in {}", self.body));
        found.1.split('"').next().unwrap().to_owned()
    }

    pub fn has(&self, text: &str) -> bool {
        self.body.contains(text)
    }

    #[track_caller]
    pub fn shows(&self, text: &str) -> &Self {
        assert!(self.has(text), "“{text}” is not on the page ({}):\n{}", self.status, self.body);
        self
    }
}

impl Browser<'_> {
    pub async fn send(&mut self, request: Request<Body>) -> Page {
        let (mut parts, body) = request.into_parts();
        if !parts.headers.contains_key(HOST) {
            let host = self.house.public_url.split("://").nth(1).unwrap().split('/').next().unwrap();
            parts.headers.insert(HOST, host.parse().unwrap());
        }
        if !self.cookies.is_empty() {
            let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            parts.headers.insert(COOKIE, cookies.join("; ").parse().unwrap());
        }
        for (name, value) in &self.headers {
            parts.headers.append(*name, value.parse().unwrap());
        }
        parts.extensions.insert(ConnectInfo(self.source));
        let response = self.house.router.clone().oneshot(Request::from_parts(parts, body)).await.unwrap();
        for cookie in response.headers().get_all(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            let (name, rest) = cookie.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let body = axum::body::to_bytes(response.into_body(), 10 << 20).await.unwrap();
        Page { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    pub async fn open(&mut self, path: &str) -> Page {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// Sends a form as it stands.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = Request::builder().method(Method::POST).uri(path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    /// Opens a page and sends a form of it, with its token.
    pub async fn fill(&mut self, page: &str, action: &str, fields: &[(&str, &str)]) -> Page {
        let token = self.open(page).await.token();
        let mut all = vec![("csrf_token", token.as_str())];
        all.extend_from_slice(fields);
        self.post(action, &all).await
    }

    pub async fn sign_in(&mut self, name: &str, password: &str) -> Page {
        self.fill("/sign-in", "/sign-in", &[("username", name), ("password", password)]).await
    }

    pub fn session(&self) -> Option<&str> {
        self.cookies.get("keyfob_session").map(String::as_str)
    }
}
