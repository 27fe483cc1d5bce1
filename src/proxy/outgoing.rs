//! The request as the provider gets it: the judged bytes of the path, headers by allow-list, one credential of ours.

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use url::form_urlencoded;

use super::coding;
use super::response::named;
use super::settings::Base;
use crate::broker::{Bearer, Credential};
use crate::domain::query::QueryVerdict;
use crate::domain::route::Upstream;

/// Whether a request header of this name, in lower case, is passed on.
pub(super) fn is_listed(name: &str) -> bool {
    // A name with `_` becomes another one in CGI's spelling: the provider could take it for what it is not.
    match name.as_bytes().first() {
        Some(b'a') => name.starts_with("accept") && !name.contains('_'),
        Some(b'c') => name == "cache-control" || (name.starts_with("content-") && !name.contains('_')),
        Some(b'i') => name.starts_with("if-") && !name.contains('_'),
        Some(b'l') => name == "last-event-id",
        Some(b'm') => name.starts_with("mcp-") && !name.contains('_'),
        Some(b'p') => matches!(name, "pragma" | "prefer"),
        Some(b'r') => name == "range",
        Some(b't') => matches!(name, "traceparent" | "tracestate"),
        Some(b'u') => name == "user-agent",
        _ => false,
    }
}

/// Gives `line` each header to send: what of the app's may be passed on, and what must be set: the provider's `Host`, exactly
/// one `Authorization` or none, and an `Accept` that keeps the provider from answering with its login page.
pub fn dress(
    asked: &HeaderMap,
    host: &HeaderValue,
    bearer: Option<&Bearer>,
    upstream: Upstream,
    mut line: impl FnMut(&HeaderName, &HeaderValue),
) {
    line(&HOST, host);
    let named: Vec<_> = every(asked, &CONNECTION).flat_map(|value| named(value.as_bytes())).collect();
    let passes = |name: &HeaderName| is_listed(name.as_str()) && (!named.contains(name) || name == CONTENT_LENGTH);
    let indifferent = |accept: &HeaderValue| accept.as_bytes().trim_ascii() == b"*/*";
    let accept = every(asked, &ACCEPT).next().filter(|_| passes(&ACCEPT));
    let ours = upstream == Upstream::Api && accept.is_none_or(indifferent);
    if ours {
        line(&ACCEPT, &HeaderValue::from_static("application/json"));
    }
    for (name, value) in asked.iter().filter(|(name, _)| passes(name) && !(ours && *name == ACCEPT)) {
        // A body that may hold our token must be one that can be looked into.
        let openable = if name == ACCEPT_ENCODING && bearer.is_some() { coding::openable(value) } else { None };
        line(name, openable.as_ref().unwrap_or(value));
    }
    if let Some(Credential::Header(value)) = bearer.map(Bearer::credential) {
        line(&AUTHORIZATION, value);
    }
}

/// The values of every header of this name. A message has few headers: to pass them all costs less than to hash the name.
pub(super) fn every<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a HeaderValue> {
    headers.iter().filter(move |(other, _)| *other == name).map(|(_, value)| value)
}

/// The target to send: the judged path byte for byte, the query without what PHP reads as `api_key`, and the provider's
/// own old key where the grant is one. Nothing when it would be longer than a target can be.
pub(super) fn target(
    asked: &PathAndQuery,
    query: &QueryVerdict,
    upstream: Upstream,
    base: &Base,
    bearer: Option<&Bearer>,
) -> Option<PathAndQuery> {
    let api_key = match bearer.map(Bearer::credential) {
        Some(Credential::ApiKey(key)) => Some(key.expose_str()?),
        Some(Credential::Header(_)) | None => None,
    };
    let as_it_stands = upstream == Upstream::Api && base.prefix.is_empty();
    if as_it_stands && *query == QueryVerdict::Clean && api_key.is_none() {
        return Some(asked.clone());
    }
    let below = match upstream {
        Upstream::Api => asked.path(),
        Upstream::Mcp => asked.path().strip_prefix("/mcp")?,
    };
    let mut text = String::with_capacity(base.prefix.len() + asked.as_str().len() + 64);
    text.push_str(&base.prefix);
    text.push_str(below);
    if text.is_empty() {
        text.push('/');
    }
    let query = match query {
        QueryVerdict::Clean => asked.query(),
        QueryVerdict::Stripped(left) => Some(left.as_str()).filter(|left| !left.is_empty()),
        QueryVerdict::MethodOverride => return None,
    };
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    if let Some(key) = api_key {
        text.push(if query.is_some() { '&' } else { '?' });
        text.push_str("api_key=");
        // The usual alphabet of keys needs no encoding; what does is encoded.
        text.extend(form_urlencoded::byte_serialize(key.as_bytes()));
    }
    PathAndQuery::from_maybe_shared(bytes::Bytes::from(text)).ok()
}
