//! `POST /oauth/register`: dynamic registration of public clients, open to anybody, as laravel/mcp has it (RFC 7591).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::{Answer, Outcome};
use super::call::Call;
use super::config::{Client, RedirectRule};
use super::json::object;
use super::serve::Shared;

/// Nobody registers more by hand.
const KEPT: usize = 1_000;

/// A client that registered itself.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Registered {
    name: String,
    redirect_uris: Vec<String>,
}

impl Registered {
    pub(super) fn as_client(&self, id: &str) -> Client {
        Client::public(id, &self.name, RedirectRule::Exact(self.redirect_uris.clone()))
    }
}

/// Registers a client.
pub(super) fn register(shared: &Shared, call: &Call) -> Outcome {
    let metadata: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    let uris: Option<Vec<String>> = metadata["redirect_uris"].as_array().and_then(|uris| {
        let texts = uris.iter().map(|uri| uri.as_str().map(str::to_owned));
        texts.collect::<Option<Vec<String>>>().filter(|uris| !uris.is_empty())
    });
    let Some(redirect_uris) = uris else {
        return refused("invalid_client_metadata", "The redirect uris field is required.");
    };
    let sound = |uri: &String| {
        url::Url::parse(uri).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.fragment().is_none())
    };
    if !redirect_uris.iter().all(sound) {
        return refused("invalid_redirect_uri", "A redirect uri is not a permitted URL.");
    }
    let name = metadata["client_name"].as_str().unwrap_or("Unnamed client").to_owned();
    let id = shared.mint.uuid();
    let kept = Registered { name, redirect_uris: redirect_uris.clone() };
    let room = shared.memory.change(|state| {
        let room = state.clients.len() < KEPT;
        if room {
            state.clients.insert(id.clone(), kept);
        }
        room
    });
    if !room {
        return refused("invalid_client_metadata", "The sandbox takes no more clients.");
    }
    let body = object! {
        "client_id": id,
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "redirect_uris": redirect_uris,
        "scope": "mcp:use",
        "token_endpoint_auth_method": "none",
    };
    Answer::json(201, body).into()
}

fn refused(error: &str, description: &str) -> Outcome {
    Answer::json(400, object! { "error": error, "error_description": description }).into()
}
