//! Everything secret that the sandbox hands out, made to look like the provider's own.
//!
//! The sandbox remembers digests only. Its tokens are not real, but a data directory that held them in plain text would
//! make a bad example, and would blind a search for leaks.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ambient::Entropy;
use crate::domain::scope::ScopeSet;

/// The SHA-256 of a secret, in hex: all that is kept of it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Digest(String);

impl Digest {
    pub(super) fn of(secret: &str) -> Self {
        Self(hex(&Sha256::digest(secret.as_bytes())))
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lower-case hex.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// What a form must show to prove that it came from a page of this session. It follows from the session's secret, so it
/// need not be kept.
pub(super) fn form_token(session: &str) -> String {
    hex(&Sha256::digest(format!("form of {session}").as_bytes()))
}

/// PKCE's S256 transformation (RFC 7636 4.2).
pub(super) fn s256(verifier: &str) -> String {
    BASE64URL.encode(Sha256::digest(verifier.as_bytes()))
}

/// What goes into an access token.
pub(super) struct Claims<'a> {
    pub client: &'a str,
    pub account: u32,
    pub scopes: ScopeSet,
    /// Milliseconds since 1970.
    pub issued: i64,
    /// Milliseconds since 1970.
    pub expires: i64,
}

/// Makes secrets.
#[derive(Debug)]
pub(super) struct Mint {
    entropy: Entropy,
    marker: String,
}

impl Mint {
    pub(super) fn new(entropy: Entropy, marker: Option<&str>) -> Self {
        Self { entropy, marker: marker.unwrap_or_default().to_owned() }
    }

    /// An access token that looks like Passport's RS256 JWT. Its signature is random: the sandbox recognises a token by
    /// its digest, and a client has no business to verify it.
    pub(super) fn access_token(&self, claims: &Claims<'_>) -> String {
        let header = BASE64URL.encode(r#"{"typ":"JWT","alg":"RS256"}"#);
        let scopes: Vec<String> = claims.scopes.iter().map(|scope| format!("\"{scope}\"")).collect();
        let [a, b] = self.entropy.bytes::<2>();
        let micros = 1 + (u16::from(a) << 8 | u16::from(b)) % 998;
        // Times are floats, as lcobucci/jwt formats microseconds: `iat` is not a whole number.
        let payload = BASE64URL.encode(format!(
            r#"{{"aud":{},"jti":"{}","iat":{},"nbf":{},"exp":{},"sub":"{}","scopes":[{}]}}"#,
            serde_json::Value::from(claims.client),
            hex(&self.entropy.bytes::<40>()),
            seconds(claims.issued, micros),
            seconds(claims.issued, micros + 1),
            seconds(claims.expires, micros),
            claims.account,
            scopes.join(",")
        ));
        let signature = self.marked("", BASE64URL.encode(self.entropy.bytes::<512>()));
        format!("{header}.{payload}.{signature}")
    }

    /// A refresh token: what `defuse/php-encryption` makes of the payload, in hex.
    pub(super) fn refresh_token(&self) -> String {
        self.marked("def50200", hex(&self.entropy.bytes::<348>()))
    }

    /// An authorization code, encrypted likewise.
    pub(super) fn code(&self) -> String {
        self.marked("def50200", hex(&self.entropy.bytes::<340>()))
    }

    /// A legacy API key.
    pub(super) fn api_key(&self) -> String {
        self.marked("", hex(&self.entropy.bytes::<20>()))
    }

    /// A session cookie's value.
    pub(super) fn session(&self) -> String {
        self.marked("", BASE64URL.encode(self.entropy.bytes::<32>()))
    }

    /// Names a thing that is no secret.
    pub(super) fn id(&self) -> String {
        hex(&self.entropy.bytes::<8>())
    }

    /// A client id as Passport makes them.
    pub(super) fn uuid(&self) -> String {
        let hex = hex(&self.entropy.bytes::<16>());
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// The secret with the marker written over its beginning, so that its length stays real.
    fn marked(&self, prefix: &str, mut random: String) -> String {
        let end = self.marker.len().min(random.len());
        random.replace_range(..end, &self.marker);
        format!("{prefix}{random}")
    }
}

/// Milliseconds and microseconds as the provider writes seconds.
fn seconds(millis: i64, micros: u16) -> String {
    let text = format!("{}.{:03}{micros:03}", millis.div_euclid(1000), millis.rem_euclid(1000));
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::scope::Scope;

    #[test]
    fn secrets_have_the_shape_and_size_of_the_captured_ones() {
        let mint = Mint::new(Entropy::seeded(1), Some("CANARY"));
        let claims = Claims {
            client: "keyfob-sandbox",
            account: 1,
            scopes: ScopeSet::of(Scope::Account),
            issued: 1_795_397_737_028,
            expires: 1_826_933_736_974,
        };
        let token = mint.access_token(&claims);
        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!(parts[0], "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9");
        assert_eq!(parts[2].len(), 683);
        assert!(parts[2].starts_with("CANARY"));
        let claims: serde_json::Value = serde_json::from_slice(&BASE64URL.decode(parts[1]).unwrap()).unwrap();
        assert_eq!(claims["aud"], "keyfob-sandbox");
        assert_eq!(claims["sub"], "1");
        assert_eq!(claims["scopes"], serde_json::json!(["account"]));
        assert!(claims["iat"].is_f64() && claims["exp"].is_f64() && claims["nbf"].is_f64());
        assert_eq!(claims["jti"].as_str().unwrap().len(), 80);
        assert!(mint.refresh_token().starts_with("def50200CANARY"));
        assert_eq!(mint.refresh_token().len(), 704);
        assert_ne!(mint.api_key(), mint.api_key());
    }

    #[test]
    fn the_challenge_is_the_one_of_rfc_7636() {
        assert_eq!(s256("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
