//! The app key that a request shows: in `Authorization`, in `X-Keyfob-Key`, or as `?api_key=`.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

use super::outgoing::every;
use super::refusal::Refusal;
use crate::broker::KeyVia;
use crate::domain::app::APP_KEY_PREFIX;
use crate::domain::query;

const X_KEYFOB_KEY: HeaderName = HeaderName::from_static("x-keyfob-key");

/// The one key that a request shows, and how.
///
/// The same key shown twice is one; two that differ are refused, whatever they are (RFC 6750 2). A parameter `api_key`
/// beside a key in a header counts only if it looks like a key of ours: else it is a key of the provider's that its
/// program still sends, and is taken out like any.
pub(super) fn presented<'a>(headers: &'a HeaderMap, raw_query: &'a str) -> Result<(&'a [u8], KeyVia), Refusal> {
    let mut authorization = every(headers, &AUTHORIZATION);
    let (first, second) = (authorization.next(), authorization.next());
    if second.is_some() {
        return Err(Refusal::BadRequest("it has two Authorization headers"));
    }
    let mut key = None;
    if let Some(value) = first {
        let bytes = value.as_bytes();
        let bearer = bytes.len() >= 7 && bytes[..7].eq_ignore_ascii_case(b"bearer ");
        key = Some(if bearer { bytes[7..].trim_ascii() } else { b"" });
    }
    for value in every(headers, &X_KEYFOB_KEY) {
        same(&mut key, value.as_bytes())?;
    }
    let in_header = key;
    for value in query::presented_keys(raw_query).map(str::as_bytes) {
        if in_header.is_none() || value.starts_with(APP_KEY_PREFIX.as_bytes()) {
            same(&mut key, value)?;
        }
    }
    match (in_header, key) {
        (Some(b""), _) if !headers.contains_key(X_KEYFOB_KEY) && !shows_bearer(headers) => Err(Refusal::MissingKey),
        (Some(key), _) => Ok((key, KeyVia::Header)),
        (None, Some(key)) => Ok((key, KeyVia::Query)),
        (None, None) => Err(Refusal::MissingKey),
    }
}

fn shows_bearer(headers: &HeaderMap) -> bool {
    headers.get(AUTHORIZATION).is_some_and(|value| {
        let bytes = value.as_bytes();
        bytes.len() >= 6 && bytes[..6].eq_ignore_ascii_case(b"bearer")
    })
}

fn same<'a>(key: &mut Option<&'a [u8]>, other: &'a [u8]) -> Result<(), Refusal> {
    match key {
        Some(key) if *key != other => Err(Refusal::BadRequest("it shows two credentials that differ")),
        _ => {
            *key = Some(other);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn shown(pairs: &[(&'static str, &str)], raw_query: &str) -> Result<(String, KeyVia), &'static str> {
        let headers: HeaderMap = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        presented(&headers, raw_query)
            .map(|(key, via)| (String::from_utf8_lossy(key).into_owned(), via))
            .map_err(|refusal| refusal.code())
    }

    #[test]
    fn a_key_comes_in_one_of_three_ways() {
        let header = |key: &str| Ok((key.to_owned(), KeyVia::Header));
        assert_eq!(shown(&[("authorization", "Bearer kf_1")], ""), header("kf_1"));
        assert_eq!(shown(&[("authorization", "bEARER  kf_1 ")], ""), header("kf_1"));
        assert_eq!(shown(&[("x-keyfob-key", "kf_1")], "a=b"), header("kf_1"));
        assert_eq!(shown(&[], "a=b&api_key=kf_1"), Ok(("kf_1".to_owned(), KeyVia::Query)));
        assert_eq!(shown(&[], "api_key=old"), Ok(("old".to_owned(), KeyVia::Query)));
        assert_eq!(shown(&[], "api.key=kf_1"), Err("missing_app_key"));
        assert_eq!(shown(&[], ""), Err("missing_app_key"));
        assert_eq!(shown(&[("authorization", "Basic eDp5")], ""), Err("missing_app_key"));
        assert_eq!(shown(&[("authorization", "Bearer")], ""), header(""));
    }

    #[test]
    fn the_same_key_twice_is_one_and_two_that_differ_are_refused() {
        let both = [("authorization", "Bearer kf_1"), ("x-keyfob-key", "kf_1")];
        assert_eq!(shown(&both, "api_key=kf_1"), Ok(("kf_1".to_owned(), KeyVia::Header)));
        assert_eq!(shown(&both, "api_key=old&api_key="), Ok(("kf_1".to_owned(), KeyVia::Header)));
        assert_eq!(shown(&both, "api_key=kf_2"), Err("bad_request_target"));
        assert_eq!(shown(&[], "api_key=a&api_key=b"), Err("bad_request_target"));
        assert_eq!(shown(&[("authorization", "Bearer kf_1"), ("x-keyfob-key", "kf_2")], ""), Err("bad_request_target"));
        assert_eq!(shown(&[("authorization", "Basic x"), ("x-keyfob-key", "kf_2")], ""), Err("bad_request_target"));
        assert_eq!(shown(&[("x-keyfob-key", "kf_1"), ("x-keyfob-key", "kf_2")], ""), Err("bad_request_target"));
        assert_eq!(
            shown(&[("authorization", "Bearer kf_1"), ("authorization", "Bearer kf_1")], ""),
            Err("bad_request_target")
        );
    }
}
