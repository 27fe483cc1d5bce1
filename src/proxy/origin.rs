//! Loopback is no trust boundary: which hosts the proxy answers to, and which web pages may call it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use memchr::memrchr;

use super::answer::Answer;
use super::outgoing::{self, every};
use super::refusal::Refusal;
use crate::domain::route::MethodSet;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// The hosts and origins that are ours or listed.
#[derive(Clone, Debug)]
pub(super) struct Neighbours {
    hosts: Vec<String>,
    origins: Vec<HeaderValue>,
}

impl Neighbours {
    /// `hosts` without ports, as they stand in a `Host` header; `origins` as browsers send them.
    pub(super) fn new(hosts: &[&str], origins: &[String]) -> Self {
        Self {
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            origins: origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect(),
        }
    }

    /// Exactly one `Host`, and it is ours.
    pub(super) fn check_host(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut hosts = every(headers, &HOST);
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(Refusal::ForbiddenHost) };
        match host.to_str().ok().and_then(without_port) {
            Some(name) if self.hosts.iter().any(|ours| ours.eq_ignore_ascii_case(name)) || is_loopback(name) => Ok(()),
            _ => Err(Refusal::ForbiddenHost),
        }
    }

    /// The listed origin that a web page calls from, if one does.
    pub(super) fn check_origin(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
        let mut origins = every(headers, &ORIGIN);
        match (origins.next(), origins.next()) {
            (None, _) => {
                let cross = every(headers, &SEC_FETCH_SITE)
                    .any(|site| site.as_bytes().trim_ascii().eq_ignore_ascii_case(b"cross-site"));
                if cross { Err(Refusal::ForbiddenOrigin) } else { Ok(None) }
            }
            (Some(origin), None) if self.origins.contains(origin) => Ok(Some(origin.clone())),
            _ => Err(Refusal::ForbiddenOrigin),
        }
    }
}

/// The host of a `Host` header whose port, if any, is a number.
fn without_port(host: &str) -> Option<&str> {
    let (name, port) = match memrchr(b':', host.as_bytes()) {
        Some(colon) if !host.ends_with(']') => (&host[..colon], Some(&host[colon + 1..])),
        _ => (host, None),
    };
    let good = port.is_none_or(|port| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()));
    (good && !name.is_empty()).then_some(name)
}

fn is_loopback(name: &str) -> bool {
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let address = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(six) => six.parse::<Ipv6Addr>().map(IpAddr::V6),
        None => name.parse::<Ipv4Addr>().map(IpAddr::V4),
    };
    address.is_ok_and(|address| address.is_loopback())
}

/// Whether a browser asks if a page may make the call; it shows no key then.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight of a listed origin.
pub(super) fn preflight(origin: &HeaderValue, asked: &HeaderMap) -> Response<Answer> {
    let mut response = Response::new(Answer::none());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(VARY, HeaderValue::from_static("origin, access-control-request-headers"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    if let Ok(methods) = HeaderValue::from_str(&MethodSet::ALL.to_string()) {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    let asked_for = asked.get(ACCESS_CONTROL_REQUEST_HEADERS).and_then(|names| names.to_str().ok()).unwrap_or_default();
    let names: Vec<String> = asked_for
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| matches!(&**name, "authorization" | "x-keyfob-key") || outgoing::is_listed(name))
        .collect();
    if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
    if asked.contains_key(PRIVATE_NETWORK) {
        headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    response
}

/// Lets the page of a listed origin read an answer.
pub(super) fn let_read(origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(VARY, HeaderValue::from_static("origin"));
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "keyfob-error, keyfob-request-id, keyfob-required-scope, retry-after, location, link, mcp-session-id, \
             x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset",
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn neighbours() -> Neighbours {
        Neighbours::new(&["keyfob.example", "[fd00::1]"], &["https://page.example".to_owned()])
    }

    #[test]
    fn only_hosts_of_our_own_are_answered() {
        for host in [
            "localhost",
            "LOCALHOST:8701",
            "127.0.0.1",
            "127.0.0.1:8701",
            "127.9.9.9:1",
            "[::1]",
            "[::1]:8701",
            "keyfob.example",
            "Keyfob.Example:443",
            "[fd00::1]:8701",
        ] {
            assert_eq!(neighbours().check_host(&headers(&[("host", host)])), Ok(()), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.1",
            "2130706433",
            "0.0.0.0",
            "localhost:x",
            "localhost:80:80",
            "user@localhost",
            "localhost/",
            "::1",
            "[::1",
            "[::1]x",
            "192.168.1.2",
            "localhost, localhost",
            "127.0.0.1:999999",
            ":8701",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(neighbours().check_host(&headers(&[("host", host)])).is_err(), "{host}");
        }
        assert!(neighbours().check_host(&headers(&[])).is_err());
        assert!(neighbours().check_host(&headers(&[("host", "localhost"), ("host", "localhost")])).is_err());
    }

    #[test]
    fn pages_call_only_from_listed_origins() {
        let check = |pairs: &[(&'static str, &str)]| neighbours().check_origin(&headers(pairs));
        assert_eq!(check(&[]), Ok(None));
        assert_eq!(check(&[("sec-fetch-site", "same-origin")]), Ok(None));
        assert!(check(&[("origin", "https://page.example")]).is_ok_and(|origin| origin.is_some()));
        assert!(check(&[("origin", "https://page.example"), ("sec-fetch-site", "cross-site")]).is_ok());
        for origin in [
            "null",
            "",
            "https://page.example.evil",
            "http://page.example",
            "https://page.example:444",
            "https://PAGE.example",
        ] {
            assert!(check(&[("origin", origin)]).is_err(), "{origin}");
        }
        assert!(check(&[("sec-fetch-site", "cross-site")]).is_err());
        assert!(check(&[("origin", "https://page.example"), ("origin", "https://page.example")]).is_err());
    }
}
