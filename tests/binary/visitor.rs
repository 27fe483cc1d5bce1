//! Somebody at a browser, with programs of their own: what they send to a running service, and all that comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::sandbox::{Consent, Sandbox};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};

use crate::program::Running;

/// A browser and a program at once: it keeps cookies, and remembers every answer.
pub(crate) struct Visitor {
    pub(crate) client: reqwest::Client,
    pub(crate) web: String,
    proxy: SocketAddr,
    pub(crate) cookies: BTreeMap<String, String>,
    /// Where each answer came from, and all of it.
    pub(crate) answers: Vec<(String, String)>,
    /// Secrets that Keyfob made; they contain no marker.
    pub(crate) made: BTreeSet<String>,
}

impl Visitor {
    pub(crate) fn new(running: &Running) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        Self {
            client,
            web: format!("http://localhost:{}", running.address("web").port()),
            proxy: running.address("proxy"),
            cookies: BTreeMap::new(),
            answers: Vec::new(),
            made: BTreeSet::new(),
        }
    }

    /// Sends a request; gives status, `Location` and body.
    pub(crate) async fn send(&mut self, name: &str, request: reqwest::RequestBuilder) -> (u16, String, String) {
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let mut head = String::new();
        for (header, value) in answer.headers() {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            if *header == SET_COOKIE {
                let (cookie, rest) = value.split_once('=').unwrap();
                let kept = rest.split(';').next().unwrap();
                if kept.len() > 20 {
                    self.made.insert(kept.to_owned());
                }
                self.cookies.insert(cookie.to_owned(), kept.to_owned());
            } else if *header != LOCATION {
                head.extend([header.as_str(), ": ", &value, "\n"]);
            }
        }
        let location = answer.headers().get(LOCATION).map_or("", |value| value.to_str().unwrap()).to_owned();
        let body = answer.text().await.unwrap();
        self.answers.push((format!("{name} ({status})"), format!("{head}\n{body}")));
        (status, location, body)
    }

    fn cookie(&self) -> String {
        self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    pub(crate) async fn open(&mut self, path: &str) -> (u16, String, String) {
        let request = self.client.get(format!("{}{path}", self.web)).header(COOKIE, self.cookie());
        self.send(&format!("GET {}", path.split('?').next().unwrap()), request).await
    }

    /// Opens a page and sends a form of it.
    pub(crate) async fn fill(&mut self, page: &str, action: &str, fields: &[(&str, &str)]) -> (u16, String, String) {
        let (_, _, body) = self.open(page).await;
        let token = body.split_once("name=\"csrf_token\" value=\"").unwrap_or_else(|| panic!("{page}: {body}")).1;
        let mut all = vec![("csrf_token", token.split('"').next().unwrap())];
        all.extend_from_slice(fields);
        let request = self.client.post(format!("{}{action}", self.web)).header(COOKIE, self.cookie()).form(&all);
        self.send(&format!("POST {action}"), request).await
    }

    /// Goes to the provider and comes back; gives where the callback leads.
    pub(crate) async fn consent(&mut self, provider: &Sandbox, to: &str) -> (u16, String) {
        let state = to.split_once("state=").unwrap().1.split('&').next().unwrap();
        self.made.insert(state.to_owned());
        let back = provider.decide(to, 1, Consent::Authorize(all_scopes())).unwrap();
        let at = back.find("/oauth/callback").unwrap();
        let (status, location, _) = self.open(&back[at..]).await;
        (status, location)
    }

    /// Makes the first admin, `ada`, by the setup link.
    pub(crate) async fn set_up(&mut self, token: &str, password: &str) {
        let fields = [("token", token), ("username", "ada"), ("password", password)];
        let made = self.fill(&format!("/setup?token={token}"), "/setup", &fields).await;
        assert_eq!(made.0, 303, "{made:?}");
    }

    /// Makes an app; gives its key.
    pub(crate) async fn make_app(&mut self, fields: &[(&str, &str)]) -> String {
        let (_, _, page) = self.fill("/apps/new", "/apps/new", fields).await;
        let at = page.find("kf_").unwrap_or_else(|| panic!("no key: {page}"));
        let key = page[at..at + 46].to_owned();
        self.made.insert(key.clone());
        key
    }

    pub(crate) async fn call(&mut self, method: &str, path: &str, key: Option<&str>) -> u16 {
        let url = format!("http://{}{path}", self.proxy);
        let mut request = self.client.request(method.parse().unwrap(), url);
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        self.send(&format!("{method} {}", path.split('?').next().unwrap()), request).await.0
    }
}

fn all_scopes() -> ScopeSet {
    Scope::ALL.into_iter().fold(ScopeSet::EMPTY, |set, scope| set.union(ScopeSet::of(scope)))
}
