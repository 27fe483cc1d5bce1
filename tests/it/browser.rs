//! A Keyfob of its own in a temporary directory, and browsers that visit it: cookies, redirects, forms.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use keyfob::ambient::{Clock, Entropy};
use keyfob::broker::{Broker, Door};
use keyfob::config::{Given, Settings};
use keyfob::domain::time::Timestamp;
use keyfob::oauth::tls_config;
use keyfob::proxy::{self, ProxySettings};
use keyfob::sandbox::{Sandbox, SandboxConfig};
use keyfob::web::{Web, WebSettings};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::start::Start;

pub(crate) const PASSWORD: &str = "correct horse CANARY staple";

/// A running Keyfob without its listeners.
pub(crate) struct House {
    pub(crate) broker: Broker,
    pub(crate) clock: Clock,
    pub(crate) public_url: String,
    pub(crate) sandbox: Sandbox,
    router: Router,
    /// The proxy serves as long as this is there.
    _proxy: watch::Sender<bool>,
    directory: TempDir,
}

/// What the program would have read, for its proxy and the page of settings.
fn of_the_program(directory: &TempDir, sandbox: &Sandbox, public_url: &str) -> Settings {
    let set = [
        ("KEYFOB_DATA_DIR", directory.path().to_str().unwrap().to_owned()),
        ("KEYFOB_PUBLIC_URL", public_url.to_owned()),
        ("KEYFOB_TESLASCOPE_URL", sandbox.url()),
        ("KEYFOB_TESLASCOPE_MCP_URL", sandbox.mcp_url()),
        ("KEYFOB_OAUTH_CLIENT_ID", "keyfob-sandbox".to_owned()),
        ("KEYFOB_OAUTH_CLIENT_SECRET", "CANARY-client-secret".to_owned()),
    ];
    let environment = set.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    Settings::load(&Given { environment, ..Given::default() }).unwrap()
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::at("http://localhost:8700").await
    }

    pub(crate) async fn at(public_url: &str) -> Self {
        Self::with(public_url, SandboxConfig::default(), true).await
    }

    /// A house beside a sandbox of its own, and with a client id or without one.
    pub(crate) async fn with(public_url: &str, config: SandboxConfig, registered: bool) -> Self {
        Self::of(tempfile::tempdir().unwrap(), public_url, config, registered).await
    }

    /// A house in a directory, which may hold a database already.
    pub(crate) async fn of(directory: TempDir, public_url: &str, config: SandboxConfig, registered: bool) -> Self {
        let (clock, entropy) = (Clock::test(Timestamp::from_secs(1_795_000_000)), Entropy::seeded(7));
        let sandbox = Sandbox::start(SandboxConfig { clock: clock.clone(), ..config }).await.unwrap();
        let start = Start {
            directory: directory.path(),
            sandbox: &sandbox,
            clock: clock.clone(),
            entropy,
            public_url,
            client_id: if registered { "keyfob-sandbox" } else { "" },
            token_timeout: Duration::from_secs(5),
            rate: 30,
        };
        let broker = start.broker().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = of_the_program(&directory, &sandbox, public_url);
        let web = WebSettings {
            in_effect: settings.in_effect.clone(),
            proxy: Some(Door::new(listener.local_addr().unwrap(), "127.0.0.1")),
            ..WebSettings::default()
        };
        let router = Web::new(broker.clone(), web).router(keyfob::api::router(broker.clone()));
        let (stop, stopping) = watch::channel(false);
        let wanted = ProxySettings::new(&settings, tls_config(None, false).unwrap(), 64).unwrap();
        tokio::spawn(proxy::serve(listener, broker.clone(), wanted, broker.metrics.clone(), stopping).unwrap());
        Self { broker, clock, public_url: public_url.to_owned(), sandbox, router, _proxy: stop, directory }
    }

    /// The same house after a restart of the program, at the same time of day.
    pub(crate) async fn restarted(self) -> Self {
        let (now, before) = (self.clock.now(), self.public_url.clone());
        let house = Self::of(self.directory, &before, SandboxConfig::default(), true).await;
        house.clock.advance(Duration::from_secs(u64::try_from(now.secs() - house.clock.now().secs()).unwrap()));
        house
    }

    /// A house with an admin named `ada`.
    pub(crate) async fn with_admin() -> Self {
        let house = Self::new().await;
        house.add_user("ada", keyfob::domain::user::Role::Admin).await;
        house
    }

    pub(crate) async fn add_user(&self, name: &str, role: keyfob::domain::user::Role) {
        self.broker.add_user(name, role, Some(keyfob::domain::secret::Secret::new(PASSWORD))).await.unwrap();
    }

    pub(crate) fn browser(&self) -> Browser<'_> {
        Browser {
            house: self,
            cookies: BTreeMap::new(),
            source: "127.0.0.1:50000".parse().unwrap(),
            headers: Vec::new(),
        }
    }

    /// A browser in which somebody is signed in.
    pub(crate) async fn signed_in(&self, name: &str) -> Browser<'_> {
        let mut browser = self.browser();
        let page = browser.sign_in(name, PASSWORD).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.body);
        browser
    }
}

/// What a browser keeps and sends.
#[derive(Clone)]
pub(crate) struct Browser<'h> {
    pub(crate) house: &'h House,
    pub(crate) cookies: BTreeMap<String, String>,
    pub(crate) source: SocketAddr,
    /// Sent with every request.
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Page {
    pub(crate) fn location(&self) -> &str {
        self.headers.get(LOCATION).map_or("", |value| value.to_str().unwrap())
    }

    /// The form token of the page.
    pub(crate) fn token(&self) -> String {
        let found =
            self.body.split_once("name=\"csrf_token\" value=\"").unwrap_or_else(|| panic!("no form in {}", self.body));
        found.1.split('"').next().unwrap().to_owned()
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        self.body.contains(text)
    }

    #[track_caller]
    pub(crate) fn shows(&self, text: &str) -> &Self {
        assert!(self.has(text), "“{text}” is not on the page ({}):\n{}", self.status, self.body);
        self
    }
}

impl Browser<'_> {
    /// The answer to a request, its body still to come.
    pub(crate) async fn answer(&mut self, request: Request<Body>) -> Response<Body> {
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
        response
    }

    pub(crate) async fn send(&mut self, request: Request<Body>) -> Page {
        let response = self.answer(request).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = axum::body::to_bytes(response.into_body(), 10 << 20).await.unwrap();
        if let Some(length) = headers.get(CONTENT_LENGTH) {
            // A wrong one makes hyper drop the connection, which cannot be seen from in here.
            assert_eq!(length.to_str().unwrap(), body.len().to_string(), "{status}");
        }
        Page { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    pub(crate) async fn open(&mut self, path: &str) -> Page {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// Sends a form as it stands.
    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request =
            Request::builder().method(Method::POST).uri(path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    /// Opens a page and sends a form of it, with its token.
    pub(crate) async fn fill(&mut self, page: &str, action: &str, fields: &[(&str, &str)]) -> Page {
        let token = self.open(page).await.token();
        let mut all = vec![("csrf_token", token.as_str())];
        all.extend_from_slice(fields);
        self.post(action, &all).await
    }

    pub(crate) async fn sign_in(&mut self, name: &str, password: &str) -> Page {
        self.fill("/sign-in", "/sign-in", &[("username", name), ("password", password)]).await
    }

    pub(crate) fn session(&self) -> Option<&str> {
        self.cookies.get("keyfob_session").map(String::as_str)
    }
}

/// What a person does at the provider.
pub(crate) struct Provider {
    client: reqwest::Client,
    cookie: Option<String>,
}

impl Provider {
    pub(crate) fn new() -> Self {
        // The first to do so wins; all install the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        Self { client, cookie: None }
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> (StatusCode, String, String) {
        let request = match &self.cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        };
        let answer = request.send().await.unwrap();
        if let Some(cookie) = answer.headers().get("set-cookie") {
            self.cookie = Some(cookie.to_str().unwrap().split(';').next().unwrap().to_owned());
        }
        let location = answer.headers().get("location").map_or("", |value| value.to_str().unwrap()).to_owned();
        (answer.status(), location, answer.text().await.unwrap())
    }

    /// Signs in as an account and presses a button of the consent page; gives the path and query of the callback.
    pub(crate) async fn decide(&mut self, address: &str, account: &str, scopes: &[&str], decision: &str) -> String {
        let origin = &address[..address.find("/oauth/").unwrap()];
        let (_, login, _) = self.send(self.client.get(address)).await;
        if login.ends_with("/login") {
            let (_, _, page) = self.send(self.client.get(&login)).await;
            let fields = [("_token", value_of(&page, "_token")), ("account", account.to_owned())];
            self.send(self.client.post(&login).form(&fields)).await;
        }
        let (_, location, page) = self.send(self.client.get(address)).await;
        let back = if location.is_empty() {
            let mut fields = vec![("_token", value_of(&page, "_token")), ("auth_token", value_of(&page, "auth_token"))];
            fields.extend(scopes.iter().map(|scope| ("scope", (*scope).to_owned())));
            fields.push(("decision", decision.to_owned()));
            self.send(self.client.post(format!("{origin}/oauth/authorize")).form(&fields)).await.1
        } else {
            location
        };
        let at = back.find("/oauth/callback").unwrap_or_else(|| panic!("not sent back: {back}"));
        back[at..].to_owned()
    }

    pub(crate) async fn authorize(&mut self, address: &str, scopes: &[&str]) -> String {
        self.decide(address, "1", scopes, "authorize").await
    }
}

fn value_of(page: &str, name: &str) -> String {
    let found = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("no {name} in {page}"));
    found.1.split('"').next().unwrap().to_owned()
}

impl Browser<'_> {
    /// Ticks scopes, consents, comes back: the path of the new grant's page.
    pub(crate) async fn connect(&mut self, scopes: &[&str]) -> String {
        let fields: Vec<_> = scopes.iter().map(|scope| ("scope", *scope)).collect();
        let page = self.fill("/connect", "/connect", &fields).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.body);
        let callback = Provider::new().authorize(page.location(), scopes).await;
        let page = self.open(&callback).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.body);
        page.location().to_owned()
    }
}
