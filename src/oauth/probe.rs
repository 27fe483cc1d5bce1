//! Asking the provider whether it still takes a token, with one cheap call.

use url::Url;

use super::client::Client;
use super::response;
use super::transport::{Answer, Outcome};
use crate::domain::grant::GrantKind;
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::secret::{AccessToken, Secret};

/// Whether the provider takes a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It does.
    Accepted,
    /// It does not.
    Refused,
    /// No answer that tells.
    Unknown,
}

/// What the provider says of a token that a person has pasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PastedCheck {
    /// It takes it.
    Accepted,
    /// It does not know it.
    Refused,
    /// It takes it, but not for this scope.
    MissingScope(Scope),
    /// Nothing was asked, or no answer came that tells.
    NotChecked,
}

impl Client {
    /// One call that tells whether a token is alive: `/api/account` for a bearer, `/api/vehicles` for an API key.
    pub async fn probe(&self, kind: GrantKind, token: &Secret<AccessToken>) -> Probe {
        let path = if kind == GrantKind::ApiKey { "/api/vehicles" } else { "/api/account" };
        match self.call(kind, path, token).await {
            Some(answer) if matches!(answer.status, 200 | 403) => Probe::Accepted,
            Some(answer) if is_unauthenticated(&answer) => Probe::Refused,
            _ => Probe::Unknown,
        }
    }

    /// Tries a pasted token where its scopes say that it may go.
    pub async fn check_pasted(&self, kind: GrantKind, scopes: ScopeSet, token: &Secret<AccessToken>) -> PastedCheck {
        if !is_sendable(kind, token) {
            return PastedCheck::Refused;
        }
        let (path, scope) = if scopes.contains(Scope::Account) && kind != GrantKind::ApiKey {
            ("/api/account", Scope::Account)
        } else if scopes.contains(Scope::Vehicles) {
            ("/api/vehicles", Scope::Vehicles)
        } else {
            return PastedCheck::NotChecked;
        };
        match self.call(kind, path, token).await {
            Some(answer) if answer.status == 200 => PastedCheck::Accepted,
            Some(answer) if answer.status == 403 => PastedCheck::MissingScope(scope),
            Some(answer) if is_unauthenticated(&answer) => PastedCheck::Refused,
            _ => PastedCheck::NotChecked,
        }
    }

    /// The provider's name for the account behind a token: its own `sub`, else what `/api/account` says, where the scopes
    /// allow that call.
    pub async fn account_subject(&self, scopes: ScopeSet, token: &Secret<AccessToken>) -> Option<String> {
        if let Some(subject) = response::Claims::of(token).and_then(|claims| claims.subject) {
            return Some(subject);
        }
        if !scopes.contains(Scope::Account) {
            return None;
        }
        let answer = self.call(GrantKind::OAuth, "/api/account", token).await.filter(|answer| answer.status == 200)?;
        let account = response::object(answer.body.as_deref()?)?;
        let inner = account.get("response").or_else(|| account.get("data")).and_then(|inner| inner.as_object());
        match inner.unwrap_or(&account).get("id")? {
            serde_json::Value::String(id) if (1..=200).contains(&id.len()) => Some(id.clone()),
            serde_json::Value::Number(id) => Some(id.to_string()),
            _ => None,
        }
    }

    async fn call(&self, kind: GrantKind, path: &str, token: &Secret<AccessToken>) -> Option<Answer> {
        let mut address: Url = self.places().api.join(path).ok()?;
        let mut request = http::Request::builder().header(http::header::ACCEPT, "application/json");
        if kind == GrantKind::ApiKey {
            address.query_pairs_mut().append_pair("api_key", token.expose_str()?);
        } else {
            let mut value = http::HeaderValue::try_from([b"Bearer ", token.expose()].concat()).ok()?;
            value.set_sensitive(true);
            request = request.header(http::header::AUTHORIZATION, value);
        }
        let request = request.uri(address.as_str()).body(Vec::new()).ok()?;
        match self.transport().send(request).await {
            Outcome::Answered(answer) => Some(answer),
            Outcome::NotSent(_) | Outcome::TimedOut | Outcome::Cut => None,
        }
    }
}

/// Whether what was pasted can stand in a header, or in a query.
fn is_sendable(kind: GrantKind, token: &Secret<AccessToken>) -> bool {
    match kind {
        GrantKind::ApiKey => !token.is_empty() && token.expose().iter().all(u8::is_ascii_graphic),
        // Some of the framework's personal tokens have their number and a bar before them.
        GrantKind::OAuth | GrantKind::PersonalAccessToken => {
            let bare: Vec<u8> = token.expose().iter().copied().filter(|b| *b != b'|').collect();
            response::is_b64token(&Secret::new(bare))
        }
    }
}

/// 401, or its disguise: the framework sends who does not ask for JSON to its login page.
fn is_unauthenticated(answer: &Answer) -> bool {
    let path = |location: &str| location.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/').to_owned();
    let to_login = || answer.location.as_deref().is_some_and(|location| path(location).ends_with("/login"));
    answer.status == 401 || (answer.status == 302 && to_login())
}
