//! A client that follows nothing by itself and keeps the sandbox's cookie, and what a test needs to begin with.

use std::sync::Mutex;
use std::time::Duration;

use keyfob::ambient::{Clock, Entropy};
use keyfob::domain::time::Timestamp;
use keyfob::sandbox::{Sandbox, SandboxConfig};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;

pub(crate) const CALLBACK: &str = "http://localhost:8700/oauth/callback";
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub(crate) const ALL: &str = "account tesla-accounts vehicles controls mcp:use";

/// A sandbox with a clock that a test moves, at 2026-11-24T12:00:00Z.
pub(crate) fn config() -> SandboxConfig {
    SandboxConfig {
        clock: Clock::test(Timestamp::parse_rfc3339("2026-11-24T12:00:00Z").unwrap()),
        entropy: Entropy::seeded(7),
        ..SandboxConfig::default()
    }
}

pub(crate) async fn sandbox() -> Sandbox {
    Sandbox::start(config()).await.unwrap()
}

/// Somebody's browser, or a program.
pub(crate) struct Browser {
    client: Client,
    url: String,
    cookie: Mutex<Option<String>>,
}

impl Browser {
    pub(crate) fn new(sandbox: &Sandbox) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build()
            .unwrap();
        Self { client, url: sandbox.url(), cookie: Mutex::new(None) }
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        let path = path.strip_prefix(&self.url).unwrap_or(path);
        self.client.get(format!("{}{path}", self.url))
    }

    pub(crate) fn post(&self, path: &str, form: &[(&str, &str)]) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url)).form(form)
    }

    /// Sends with the session's cookie, and keeps a new one.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Response {
        let cookie = self.cookie.lock().unwrap().clone();
        let request = match cookie {
            Some(cookie) => request.header("Cookie", format!("other=1; {cookie}")),
            None => request,
        };
        let response = request.send().await.unwrap();
        if let Some(set) = response.headers().get("set-cookie") {
            let pair = set.to_str().unwrap().split(';').next().unwrap().to_owned();
            *self.cookie.lock().unwrap() = Some(pair);
        }
        response
    }

    /// Where a page lies that this path leads to, and its text.
    pub(crate) async fn visit(&self, path: &str) -> (String, String) {
        let mut path = path.to_owned();
        for _ in 0..5 {
            let response = self.send(self.get(&path)).await;
            match location(&response) {
                Some(next) if next.starts_with(&self.url) => path = next,
                Some(next) => return (next, String::new()),
                None => return (path, response.text().await.unwrap()),
            }
        }
        panic!("{path} redirects without end");
    }

    /// Signs in with one of the accounts, from the page that `path` leads to; gives the page behind it.
    pub(crate) async fn sign_in(&self, path: &str, account: &str) -> (String, String) {
        let (at, page) = self.visit(path).await;
        assert!(at.ends_with("/login"), "{at}");
        let form = [("_token", hidden(&page, "_token")), ("account", account.to_owned())];
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let response = self.send(self.post("/login", &form)).await;
        assert_eq!(response.status(), 302);
        self.visit(&location(&response).unwrap()).await
    }

    /// Presses a button on a consent page with these scopes ticked; gives where it leads.
    pub(crate) async fn consent(&self, page: &str, decision: &str, scopes: &str) -> String {
        let (token, asked) = (hidden(page, "_token"), hidden(page, "auth_token"));
        let mut form = vec![("_token", token.as_str()), ("auth_token", asked.as_str()), ("decision", decision)];
        form.extend(scopes.split(' ').filter(|scope| !scope.is_empty()).map(|scope| ("scope", scope)));
        let response = self.send(self.post("/oauth/authorize", &form)).await;
        assert_eq!(response.status(), 302);
        location(&response).unwrap()
    }

    /// Goes all the way from the request to a code.
    pub(crate) async fn code(&self, asked: &str, ticked: &str) -> String {
        let (_, page) = self.sign_in(&authorize(asked), "1").await;
        parameter(&self.consent(&page, "authorize", ticked).await, "code").unwrap()
    }

    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> Response {
        self.post("/oauth/token", form).header("Accept", "application/json").send().await.unwrap()
    }

    pub(crate) async fn exchange(&self, code: &str) -> Response {
        self.token(&[
            ("grant_type", "authorization_code"),
            ("client_id", "keyfob-sandbox"),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
            ("code", code),
        ])
        .await
    }

    pub(crate) async fn refresh(&self, refresh_token: &str) -> Response {
        let form = [("grant_type", "refresh_token"), ("client_id", "keyfob-sandbox"), ("refresh_token", refresh_token)];
        self.token(&form).await
    }

    /// Access and refresh token of a new grant.
    pub(crate) async fn grant(&self, scopes: &str) -> (String, String) {
        let code = self.code(scopes, scopes).await;
        pair(&self.exchange(&code).await.json().await.unwrap())
    }

    pub(crate) async fn api(&self, path: &str, token: &str) -> Response {
        let request = self.get(path).header("Accept", "application/json");
        request.header("Authorization", format!("Bearer {token}")).send().await.unwrap()
    }
}

pub(crate) fn pair(tokens: &Value) -> (String, String) {
    let member = |name: &str| tokens[name].as_str().unwrap().to_owned();
    (member("access_token"), member("refresh_token"))
}

/// The path of an authorization request for these scopes.
pub(crate) fn authorize(scopes: &str) -> String {
    authorize_with(scopes, &[])
}

pub(crate) fn authorize_with(scopes: &str, more: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let usual = [
        ("response_type", "code"),
        ("client_id", "keyfob-sandbox"),
        ("redirect_uri", CALLBACK),
        ("scope", scopes),
        ("state", "st-1"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    for (name, value) in usual.iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name)) {
        query.append_pair(name, value);
    }
    query.extend_pairs(more.iter().filter(|(_, value)| !value.is_empty()));
    format!("/oauth/authorize?{}", query.finish())
}

pub(crate) fn location(response: &Response) -> Option<String> {
    response.headers().get("location").map(|location| location.to_str().unwrap().to_owned())
}

pub(crate) fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

pub(crate) fn parameter(url: &str, name: &str) -> Option<String> {
    let url = url::Url::parse(url).unwrap();
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// The value of a hidden field on a page.
pub(crate) fn hidden(page: &str, name: &str) -> String {
    let at = page.find(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("no field {name} in {page}"));
    let value = &page[at + name.len() + 15..];
    value[..value.find('"').unwrap()].to_owned()
}
