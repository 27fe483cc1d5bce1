//! The form token: derived from what only this browser holds, so that nothing has to be kept for it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::ORIGIN;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use super::problem::Problem;
use super::site::Site;

/// What a form token is bound to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Holder<'a> {
    /// The session of somebody who is signed in.
    Session(&'a str),
    /// The visitor cookie of somebody who is not.
    Visitor(&'a str),
}

/// The token of a holder's forms. The label keeps it apart from every other digest of the same value.
pub(crate) fn token(holder: Holder<'_>) -> String {
    let (label, secret) = match holder {
        Holder::Session(id) => ("keyfob form of a session\0", id),
        Holder::Visitor(id) => ("keyfob form of a visitor\0", id),
    };
    URL_SAFE_NO_PAD.encode(Sha256::new().chain_update(label).chain_update(secret).finalize())
}

/// Compares a sent token in constant time.
pub(crate) fn check(expected: &str, sent: &str) -> Result<(), Problem> {
    let same: bool = expected.as_bytes().ct_eq(sent.as_bytes()).into();
    if same && !expected.is_empty() { Ok(()) } else { Err(Problem::forged("the form token is missing or wrong")) }
}

/// Refuses what a browser says comes from elsewhere. Browsers send `Origin: null` under our `no-referrer` policy, so that
/// `Sec-Fetch-Site` decides where it is there; where neither says anything, the token alone decides.
pub(crate) fn check_origin(site: &Site, headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).map(|value: &http::HeaderValue| value.to_str().unwrap_or("?"));
    if headers.get_all(ORIGIN).iter().count() > 1 {
        return Err(Problem::forged("two origins"));
    }
    match text("sec-fetch-site") {
        None | Some("same-origin" | "none") => {}
        Some(_) => return Err(Problem::forged("the browser says that the form comes from another site")),
    }
    match text("origin") {
        None | Some("null") => Ok(()),
        Some(origin) if origin == site.origin() => Ok(()),
        Some(_) => Err(Problem::forged("the form comes from another origin")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_belongs_to_its_holder() {
        let token_of_a = token(Holder::Session("a"));
        assert!(check(&token_of_a, &token_of_a).is_ok());
        for other in [token(Holder::Session("b")), token(Holder::Visitor("a")), String::new(), "x".to_owned()] {
            assert!(check(&token_of_a, &other).is_err());
        }
        assert!(check("", "").is_err());
    }

    #[test]
    fn only_this_site_may_post() {
        let site = Site::new("http://localhost:8700");
        let check = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            check_origin(&site, &headers).is_ok()
        };
        assert!(check(&[]));
        assert!(check(&[("origin", "http://localhost:8700")]));
        assert!(check(&[("origin", "null"), ("sec-fetch-site", "same-origin")]));
        assert!(!check(&[("origin", "null"), ("sec-fetch-site", "cross-site")]));
        assert!(!check(&[("sec-fetch-site", "same-site")]));
        assert!(!check(&[("origin", "http://localhost:8701")]));
        assert!(!check(&[("origin", "http://localhost:8700"), ("origin", "http://evil")]));
    }
}
