//! The provider's answer as the app gets it: headers filtered, addresses turned to the proxy's, the body as it is.

use http::header::{CONTENT_LOCATION, LINK, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use memchr::memmem;
use url::Url;

use super::settings::Base;
use crate::broker::Bearer;
use crate::domain::route::Upstream;

/// Whether a response header of this name goes no further: of this hop only, made for browsers at the provider's origin,
/// about the provider's own credentials, or a name that only we may set.
fn is_dropped(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'a') => {
            matches!(name, "alt-svc" | "authorization" | "authentication-info") || name.starts_with("access-control-")
        }
        Some(b'c') => name == "clear-site-data",
        Some(b'k') => name == "keep-alive" || name.starts_with("keyfob-"),
        Some(b'p') => name.starts_with("proxy-") || matches!(name, "public-key-pins"),
        Some(b'r') => matches!(name, "refresh" | "report-to"),
        Some(b's') => {
            matches!(name, "set-cookie" | "set-cookie2" | "strict-transport-security" | "service-worker-allowed")
        }
        Some(b't') => matches!(name, "te" | "trailer" | "transfer-encoding"),
        Some(b'u') => name == "upgrade",
        Some(b'w') => name == "www-authenticate",
        _ => false,
    }
}

/// Filters a response's headers, of which those of its hop are gone. `text` is the head as it came; no value may contain the
/// token of `bearer`.
pub fn filter(
    headers: &mut HeaderMap,
    text: &[u8],
    bearer: Option<&Bearer>,
    upstream: Upstream,
    addresses: &Addresses,
) {
    // Where not even the token's beginning is in the head, no value need be looked at.
    let token = bearer.filter(|bearer| bearer.lead().find(text).is_some()).map(Bearer::token);
    let mut dropped = Vec::new();
    let mut has_address = false;
    for (name, value) in headers.iter() {
        if is_dropped(name.as_str()) || token.is_some_and(|token| holds(value, token)) {
            dropped.push(name.clone());
        }
        has_address |= [LOCATION, CONTENT_LOCATION, LINK].contains(name);
    }
    for name in dropped {
        headers.remove(name);
    }
    if has_address {
        turn_addresses(headers, upstream, addresses);
    }
}

/// Addresses at the provider become addresses at the proxy.
fn turn_addresses(headers: &mut HeaderMap, upstream: Upstream, addresses: &Addresses) {
    for name in [LOCATION, CONTENT_LOCATION] {
        if let Some(value) = headers.get_mut(name)
            && let Some(ours) = value.to_str().ok().and_then(|text| addresses.ours(text, upstream))
        {
            *value = ours;
        }
    }
    let links: Vec<HeaderValue> = headers.get_all(LINK).iter().map(|link| addresses.links(link, upstream)).collect();
    headers.remove(LINK);
    for link in links {
        headers.append(LINK, link);
    }
}

fn holds(value: &HeaderValue, token: &[u8]) -> bool {
    value.len() >= token.len() && memmem::find(value.as_bytes(), token).is_some()
}

/// Where the provider's servers are, and where the proxy stands in for them.
#[derive(Clone, Debug)]
pub struct Addresses {
    api: Url,
    mcp: Url,
    proxy: String,
}

impl Addresses {
    pub(super) fn new(api: &Base, mcp: &Base, proxy: &str) -> Self {
        Self { api: api.url.clone(), mcp: mcp.url.clone(), proxy: proxy.trim_end_matches('/').to_owned() }
    }

    /// An address at one of the provider's servers as one of the proxy's; nothing when it may stay as it is.
    fn ours(&self, text: &str, upstream: Upstream) -> Option<HeaderValue> {
        let base = match upstream {
            Upstream::Api => &self.api,
            Upstream::Mcp => &self.mcp,
        };
        let absolute = text.contains("://") || text.starts_with("//") || text.starts_with('\\');
        let url = base.join(text).ok()?;
        let rest = &url[url::Position::BeforePath..];
        let same = |other: &Url| url.origin() == other.origin();
        let prefix = self.mcp.path().trim_end_matches('/');
        // Where both servers have one origin and the MCP server no path of its own, only its own answers mean it.
        let may_be_mcp = upstream == Upstream::Mcp || self.api.origin() != self.mcp.origin() || !prefix.is_empty();
        let below = rest.strip_prefix(prefix).filter(|below| below.starts_with(['/', '?', '#']) || below.is_empty());
        let path = if let Some(below) = below.filter(|_| may_be_mcp && same(&self.mcp)) {
            format!("{}/mcp{}", self.proxy, if below == "/" { "" } else { below })
        } else if same(&self.api) && (absolute || upstream == Upstream::Mcp) {
            format!("{}{rest}", self.proxy)
        } else {
            // A relative one of the API leads to the proxy by itself: its paths are the provider's.
            return None;
        };
        HeaderValue::from_str(&path).ok()
    }

    /// The same for every `<address>` of a `Link` header (RFC 8288 3).
    fn links(&self, value: &HeaderValue, upstream: Upstream) -> HeaderValue {
        let Ok(mut rest) = value.to_str() else { return value.clone() };
        let mut out = String::with_capacity(rest.len());
        while let Some((before, after)) = rest.split_once('<') {
            out.push_str(before);
            out.push('<');
            let Some((address, after)) = after.split_once('>') else {
                rest = after;
                break;
            };
            match self.ours(address, upstream) {
                Some(ours) => out.push_str(ours.to_str().unwrap_or(address)),
                None => out.push_str(address),
            }
            out.push('>');
            rest = after;
        }
        out.push_str(rest);
        HeaderValue::from_str(&out).unwrap_or_else(|_| value.clone())
    }

    /// Whether this is the provider's disguise of a 401: a redirect to its login page (Laravel, without a JSON `Accept`).
    pub(super) fn is_login(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        if status != StatusCode::FOUND {
            return false;
        }
        let Some(target) = headers.get(LOCATION).and_then(|location| location.to_str().ok()) else { return false };
        let Ok(url) = self.api.join(target) else { return false };
        let last = url.path().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        url.host_str() == self.api.host_str() && matches!(last, "login" | "signin" | "sign-in" | "log-in")
    }
}
