//! A request as it arrived, and how Laravel reads it.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, Method};
use url::form_urlencoded;

/// The session cookie's name. Cookies ignore ports, so it must differ from Keyfob's own.
pub(super) const SESSION_COOKIE: &str = "keyfob_sandbox_session";

/// One request with its whole body.
#[derive(Debug)]
pub(super) struct Call {
    pub method: Method,
    /// Path and query, byte for byte.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// `http://` and the host by which it was asked, or the listener's address.
    pub origin: String,
    pub peer: IpAddr,
}

impl Call {
    /// A bare GET that nobody sent.
    pub(super) fn to(target: &str, local: SocketAddr) -> Self {
        Self {
            method: Method::GET,
            target: target.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            origin: format!("http://{local}"),
            peer: local.ip(),
        }
    }

    /// The path as it was sent.
    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The path's segments, decoded; one trailing slash is none.
    pub(super) fn segments(&self) -> Vec<String> {
        let path = self.path();
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        path.split('/').map(decode).collect()
    }

    /// A query parameter; of several PHP takes the last.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        let query = self.target.split_once('?').map(|(_, query)| query).unwrap_or_default();
        last(query.as_bytes(), name)
    }

    /// A field of the form in the body.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        last(&self.body, name)
    }

    /// All values of a field of the form in the body.
    pub(super) fn fields(&self, name: &str) -> Vec<String> {
        form_urlencoded::parse(&self.body).filter(|(key, _)| key == name).map(|(_, value)| value.into_owned()).collect()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether Laravel's `expectsJson()` says so: the first type of `Accept` is JSON, or it is an XHR that takes anything.
    pub(super) fn expects_json(&self) -> bool {
        let accept = self.header("accept").unwrap_or_default();
        let first = accept.split(',').next().unwrap_or_default();
        let first = first.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let xhr = self.header("x-requested-with") == Some("XMLHttpRequest") && self.header("x-pjax").is_none();
        first.contains("/json") || first.contains("+json") || (xhr && matches!(first.as_str(), "" | "*/*" | "*"))
    }

    /// The bearer token as Laravel reads it: what stands after the last `Bearer `, up to the first comma.
    pub(super) fn bearer(&self) -> Option<String> {
        let header = self.header("authorization")?;
        let at = header.to_ascii_lowercase().rfind("bearer ")?;
        let token = header.get(at + "bearer ".len()..)?;
        Some(token.split(',').next().unwrap_or_default().to_owned())
    }

    /// Client id and secret of HTTP Basic, which league does not decode any further.
    pub(super) fn basic(&self) -> Option<(String, String)> {
        use base64::Engine as _;
        let encoded = self.header("authorization")?.strip_prefix("Basic ")?;
        let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        text.split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned()))
    }

    /// The session cookie's value.
    pub(super) fn session(&self) -> Option<&str> {
        let cookies = self.headers.get_all("cookie").into_iter().filter_map(|value| value.to_str().ok());
        cookies
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(name, value)| (name == SESSION_COOKIE).then_some(value))
    }
}

fn last(form: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(form).filter(|(key, _)| key == name).last().map(|(_, value)| value.into_owned())
}

/// Percent-decoding as in a path, where `+` is a plus.
fn decode(segment: &str) -> String {
    let mut rest = segment.as_bytes();
    let mut out = Vec::with_capacity(rest.len());
    while let Some((byte, after)) = rest.split_first() {
        let pair = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let decoded = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).filter(|_| *byte == b'%');
        out.push(decoded.unwrap_or(*byte));
        rest = if decoded.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(target: &str, headers: &[(&str, &str)]) -> Call {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        Call {
            method: Method::GET,
            target: target.to_owned(),
            headers: map,
            body: Bytes::new(),
            origin: "http://127.0.0.1:8799".to_owned(),
            peer: std::net::IpAddr::from([127, 0, 0, 1]),
        }
    }

    #[test]
    fn the_token_stands_after_the_last_bearer_and_ends_at_the_first_comma() {
        let read = |value| call("/", &[("authorization", value)]).bearer();
        assert_eq!(read("Bearer abc"), Some("abc".to_owned()));
        assert_eq!(read("bearer abc"), Some("abc".to_owned()));
        assert_eq!(read("Bearer abc, Bearer def"), Some("def".to_owned()));
        assert_eq!(read("Bearer abc, Basic xyz"), Some("abc".to_owned()));
        assert_eq!(read("Basic abc"), None);
    }

    #[test]
    fn only_the_first_accepted_type_decides_whether_json_is_expected() {
        let asks = |value| call("/", &[("accept", value)]).expects_json();
        assert!(asks("application/json"));
        assert!(asks("application/vnd.api+json, text/html"));
        assert!(!asks("text/html, application/json"));
        assert!(!asks("*/*"));
        assert!(!call("/", &[]).expects_json());
        assert!(call("/", &[("x-requested-with", "XMLHttpRequest")]).expects_json());
    }

    #[test]
    fn paths_are_split_and_decoded() {
        assert_eq!(call("/api/vehicle/a%20b+c/?x=1", &[]).segments(), ["api", "vehicle", "a b+c"]);
        assert_eq!(call("/x?page=1&page=2", &[]).query("page"), Some("2".to_owned()));
    }
}
