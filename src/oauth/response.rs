//! Reads the token endpoint's answer, leniently: whatever else is odd, a rotated refresh token is never thrown away.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::domain::scope::ScopeSet;
use crate::domain::secret::{AccessToken, RefreshToken, Secret};
use crate::domain::time::Timestamp;

/// The longest token that is taken. Passport's are 1 to 2 kB.
const MAX_TOKEN: usize = 16 * 1024;

/// The longest lifetime that is believed: ten years.
const MAX_LIFETIME: Duration = Duration::from_hours(10 * 365 * 24);

/// What a token endpoint gave, judged part by part (RFC 6749 5.1).
#[derive(Debug, Default)]
pub struct TokenAnswer {
    /// The new refresh token; nothing when it was left out or empty, and then the old one stays good (RFC 6749 6).
    pub refresh_token: Option<Secret<RefreshToken>>,
    /// The new access token; nothing when what came is not one, which is a fault of the provider.
    pub access_token: Option<Secret<AccessToken>>,
    /// How long the access token lives, counted from before the request; nothing when that is not known.
    pub lifetime: Option<Duration>,
    /// The scopes that the answer names, if it names any.
    pub scopes: Option<ScopeSet>,
    /// What the access token says of itself, if it is a JWT. For display, never for trust.
    pub claims: Option<Claims>,
    /// What was not as it should be, for the log.
    pub oddities: Vec<Oddity>,
}

/// What an access token says of itself. Not verified: for display only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// The provider's name for the account.
    pub subject: Option<String>,
    /// The token's scopes.
    pub scopes: Option<ScopeSet>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

/// Something in an answer that is not as RFC 6749 has it, and was dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// `token_type` is missing; Bearer is assumed.
    TypeMissing,
    /// `token_type` is not Bearer: the access token is refused.
    TypeForeign,
    /// The access token is missing, too long, or has characters that no header may carry: it is refused.
    AccessTokenUnusable,
    /// `expires_in` is missing: the expiry is not known.
    LifetimeMissing,
    /// `expires_in` is zero or negative: the expiry is not known.
    LifetimeNotPositive,
    /// `expires_in` is no number: the expiry is not known.
    LifetimeUnreadable,
    /// `expires_in` is a string, read as a number.
    LifetimeText,
    /// `expires_in` is over ten years: ten years.
    LifetimeHuge,
    /// `scope` names something that Keyfob does not know: it is not shown, and no token of it goes to the MCP server.
    ScopeUnknown,
    /// The body is broken; the tokens were found in it whole.
    Salvaged,
}

impl Oddity {
    /// One word for the log.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::TypeMissing => "token_type_missing",
            Self::TypeForeign => "token_type_foreign",
            Self::AccessTokenUnusable => "access_token_unusable",
            Self::LifetimeMissing => "expires_in_missing",
            Self::LifetimeNotPositive => "expires_in_not_positive",
            Self::LifetimeUnreadable => "expires_in_unreadable",
            Self::LifetimeText => "expires_in_text",
            Self::LifetimeHuge => "expires_in_huge",
            Self::ScopeUnknown => "scope_unknown",
            Self::Salvaged => "salvaged",
        }
    }
}

impl TokenAnswer {
    /// Reads a body that came with a success status; nothing when there is no token in it.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let mut answer = Self::default();
        let mut members = if let Some(members) = object(body) {
            members
        } else {
            answer.oddities.push(Oddity::Salvaged);
            salvage(body)
        };
        // First the refresh token: what follows may be refused, this is kept.
        answer.refresh_token =
            text(&mut members, "refresh_token").filter(|token| !token.is_empty()).map(Secret::<RefreshToken>::new);
        answer.access_token = access_token(&mut members, &mut answer.oddities);
        if answer.refresh_token.is_none() && answer.access_token.is_none() {
            return None;
        }
        answer.lifetime = lifetime(members.get("expires_in"), &mut answer.oddities);
        answer.scopes = members.get("scope").and_then(|scope| scopes(scope, &mut answer.oddities));
        answer.claims = answer.access_token.as_ref().and_then(Claims::of);
        // An answer does not hide what the token itself says that nobody here knows.
        if answer.claims.as_ref().and_then(|claims| claims.scopes).is_some_and(ScopeSet::holds_more) {
            answer.scopes = answer.scopes.map(ScopeSet::and_more);
        }
        Some(answer)
    }
}

/// The members of a JSON object, after a byte order mark, whitespace, or what a server's warnings put around it. Of a
/// repeated member the last counts.
pub(super) fn object(body: &[u8]) -> Option<Map<String, Value>> {
    let start = memchr::memchr(b'{', body)?;
    serde_json::Deserializer::from_slice(&body[start..]).into_iter::<Map<String, Value>>().next()?.ok()
}

fn text(members: &mut Map<String, Value>, name: &str) -> Option<String> {
    match members.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// Finds whole tokens in a body that was cut short.
fn salvage(body: &[u8]) -> Map<String, Value> {
    let mut found = Map::new();
    for name in ["refresh_token", "access_token", "token_type"] {
        let key = format!("\"{name}\"");
        let Some(at) = memchr::memmem::find(body, key.as_bytes()) else { continue };
        let rest = body[at + key.len()..].trim_ascii_start();
        let Some(rest) = rest.strip_prefix(b":") else { continue };
        if let Some(Ok(value)) = serde_json::Deserializer::from_slice(rest).into_iter::<String>().next() {
            found.insert(name.to_owned(), Value::String(value));
        }
    }
    found
}

fn access_token(members: &mut Map<String, Value>, oddities: &mut Vec<Oddity>) -> Option<Secret<AccessToken>> {
    let token = text(members, "access_token").map(Secret::<AccessToken>::new);
    match members.get("token_type") {
        Some(Value::String(kind)) if kind.eq_ignore_ascii_case("bearer") => {}
        None | Some(Value::Null) => oddities.push(Oddity::TypeMissing),
        Some(_) => {
            oddities.push(Oddity::TypeForeign);
            return None;
        }
    }
    let token = token.filter(is_b64token);
    if token.is_none() {
        oddities.push(Oddity::AccessTokenUnusable);
    }
    token
}

/// RFC 6750 2.1: the characters that a bearer token may have, so that it can stand in a header.
pub(super) fn is_b64token(token: &Secret<AccessToken>) -> bool {
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(b);
    (1..=MAX_TOKEN).contains(&token.len()) && token.expose().iter().all(allowed)
}

fn lifetime(value: Option<&Value>, oddities: &mut Vec<Oddity>) -> Option<Duration> {
    let seconds = match value {
        None | Some(Value::Null) => {
            oddities.push(Oddity::LifetimeMissing);
            return None;
        }
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => {
            oddities.push(Oddity::LifetimeText);
            text.trim().parse().ok()
        }
        Some(_) => None,
    };
    match seconds.filter(|seconds: &f64| !seconds.is_nan()) {
        None => {
            oddities.push(Oddity::LifetimeUnreadable);
            None
        }
        Some(seconds) if seconds <= 0.0 => {
            oddities.push(Oddity::LifetimeNotPositive);
            None
        }
        Some(seconds) if seconds > MAX_LIFETIME.as_secs_f64() => {
            oddities.push(Oddity::LifetimeHuge);
            Some(MAX_LIFETIME)
        }
        Some(seconds) => Some(Duration::from_secs_f64(seconds)),
    }
}

/// A string of names (RFC 6749 3.3) or, as some servers have it, an array of them. None named: nothing said.
fn scopes(value: &Value, oddities: &mut Vec<Oddity>) -> Option<ScopeSet> {
    let names: Vec<&str> = match value {
        Value::String(text) => text.split([' ', ',']).filter(|name| !name.is_empty()).collect(),
        // What is no name stands for one that is not known.
        Value::Array(items) => items.iter().map(|item| item.as_str().unwrap_or_default()).collect(),
        _ => return None,
    };
    let told = ScopeSet::told_of(names.iter().copied());
    if told.holds_more() {
        oddities.push(Oddity::ScopeUnknown);
    }
    (!names.is_empty()).then_some(told)
}

impl Claims {
    /// Reads the claims of a token that looks like a JWT (RFC 7519); nothing when it does not. The signature is not
    /// looked at, since nothing is decided by this.
    #[must_use]
    pub fn of(token: &Secret<AccessToken>) -> Option<Self> {
        let mut parts = token.expose_str().filter(|token| token.len() <= MAX_TOKEN)?.split('.');
        let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
        let members: Map<String, Value> = serde_json::from_slice(&payload).ok()?;
        let subject = match members.get("sub") {
            Some(Value::String(text)) if text.len() <= 200 => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let named = members.get("scopes").or_else(|| members.get("scope"));
        // Passport writes microseconds as a float.
        let expires_at = members.get("exp").and_then(Value::as_f64).and_then(moment);
        Some(Self {
            subject: subject.filter(|text| !text.is_empty()),
            scopes: named.and_then(|value| scopes(value, &mut Vec::new())),
            expires_at,
        })
    }
}

fn moment(seconds: f64) -> Option<Timestamp> {
    // The year 9999, so that it can be shown.
    const LAST: f64 = 253_402_300_799.0;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
    (0.0..=LAST).contains(&seconds).then(|| Timestamp::from_millis((seconds * 1000.0) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expose(answer: &TokenAnswer) -> (Option<&str>, Option<&str>) {
        (
            answer.access_token.as_ref().and_then(Secret::expose_str),
            answer.refresh_token.as_ref().and_then(Secret::expose_str),
        )
    }

    #[test]
    fn an_answer_as_the_provider_gives_it_is_read() {
        let capture = include_str!("../../tests/data/token-answer.json");
        let answer = TokenAnswer::read(capture.as_bytes()).unwrap();
        assert_eq!(answer.lifetime, Some(Duration::from_secs(31_535_999)));
        assert_eq!(answer.oddities, []);
        assert_eq!(answer.scopes, None);
        let claims = answer.claims.unwrap();
        assert_eq!(claims.subject.as_deref(), Some("1"));
        assert_eq!(claims.scopes, Some(ScopeSet::ALL));
        assert_eq!(claims.expires_at, Some(Timestamp::from_millis(1_826_935_382_980)));
    }

    #[test]
    fn a_rotated_refresh_token_is_kept_whatever_else_is_wrong() {
        for body in [
            r#"{"refresh_token":"R"}"#,
            r#"{"refresh_token":"R","access_token":17,"token_type":"Bearer"}"#,
            r#"{"refresh_token":"R","access_token":"a b","token_type":"Bearer"}"#,
            r#"{"refresh_token":"R","access_token":"a\r\nX: y","token_type":"Bearer"}"#,
            r#"{"refresh_token":"R","access_token":"a","token_type":"mac"}"#,
            r#"{"refresh_token":"R","access_token":"","expires_in":{}}"#,
        ] {
            let answer = TokenAnswer::read(body.as_bytes()).unwrap();
            assert_eq!(expose(&answer), (None, Some("R")), "{body}");
        }
        let long = format!(r#"{{"refresh_token":"R","access_token":"{}"}}"#, "a".repeat(MAX_TOKEN + 1));
        assert_eq!(expose(&TokenAnswer::read(long.as_bytes()).unwrap()), (None, Some("R")));
    }

    #[test]
    fn a_missing_or_empty_refresh_token_means_that_the_old_one_stays() {
        for body in [
            r#"{"access_token":"A"}"#,
            r#"{"access_token":"A","refresh_token":""}"#,
            r#"{"access_token":"A","refresh_token":null}"#,
        ] {
            assert_eq!(expose(&TokenAnswer::read(body.as_bytes()).unwrap()), (Some("A"), None), "{body}");
        }
    }

    #[test]
    fn the_type_may_have_any_case_or_be_missing() {
        for (kind, odd) in [(r#""bearer""#, vec![]), (r#""BEARER""#, vec![]), ("null", vec![Oddity::TypeMissing])] {
            let body = format!(r#"{{"access_token":"A","token_type":{kind},"expires_in":5}}"#);
            let answer = TokenAnswer::read(body.as_bytes()).unwrap();
            assert_eq!((expose(&answer).0, &answer.oddities), (Some("A"), &odd), "{kind}");
        }
    }

    #[test]
    fn a_lifetime_is_read_in_every_form_and_never_overflows() {
        use Oddity::{LifetimeHuge, LifetimeMissing, LifetimeNotPositive, LifetimeText, LifetimeUnreadable};
        let secs = |n| Some(Duration::from_secs(n));
        for (value, lifetime, odd) in [
            ("3600", secs(3600), vec![]),
            ("3600.0", secs(3600), vec![]),
            (r#""3600""#, secs(3600), vec![LifetimeText]),
            (r#"" 60 ""#, secs(60), vec![LifetimeText]),
            (r#""soon""#, None, vec![LifetimeText, LifetimeUnreadable]),
            (r#""NaN""#, None, vec![LifetimeText, LifetimeUnreadable]),
            (r#""inf""#, Some(MAX_LIFETIME), vec![LifetimeText, LifetimeHuge]),
            ("null", None, vec![LifetimeMissing]),
            ("0", None, vec![LifetimeNotPositive]),
            ("-1", None, vec![LifetimeNotPositive]),
            ("[]", None, vec![LifetimeUnreadable]),
            ("9223372036854775808", Some(MAX_LIFETIME), vec![LifetimeHuge]),
            ("1e300", Some(MAX_LIFETIME), vec![LifetimeHuge]),
        ] {
            let body = format!(r#"{{"access_token":"A","token_type":"Bearer","expires_in":{value}}}"#);
            let answer = TokenAnswer::read(body.as_bytes()).unwrap();
            assert_eq!((answer.lifetime, answer.oddities), (lifetime, odd), "{value}");
        }
    }

    #[test]
    fn scopes_are_those_that_are_known_and_none_said_is_none_said() {
        for (scope, expected) in [
            (r#""vehicles controls""#, Some("vehicles controls")),
            (r#"["vehicles"]"#, Some("vehicles")),
            (r#""vehicles openid""#, Some("vehicles")),
            (r#""openid""#, Some("")),
            (r#""""#, None),
            ("null", None),
        ] {
            let body = format!(r#"{{"access_token":"A","scope":{scope}}}"#);
            let scopes = TokenAnswer::read(body.as_bytes()).unwrap().scopes.map(|set| set.to_string());
            assert_eq!(scopes.as_deref(), expected, "{scope}");
        }
    }

    #[test]
    fn whole_tokens_are_found_in_a_body_that_was_cut_and_halves_are_not() {
        let whole = r#"{"token_type":"Bearer","access_token":"A","refresh_token":"R","more":"#;
        let answer = TokenAnswer::read(whole.as_bytes()).unwrap();
        assert_eq!(expose(&answer), (Some("A"), Some("R")));
        assert!(answer.oddities.contains(&Oddity::Salvaged));
        assert!(TokenAnswer::read(br#"{"token_type":"Bearer","access_token":"A"#).is_none());
        assert!(
            TokenAnswer::read(b"").is_none()
                && TokenAnswer::read(b"<html></html>").is_none()
                && TokenAnswer::read(b"[]").is_none()
        );
    }

    #[test]
    fn a_token_that_only_looks_like_a_jwt_does_no_harm() {
        for token in ["a.b.c", "a.b", "...", "a.e30.c.d", "x", "a.bnVsbA.c"] {
            assert_eq!(Claims::of(&Secret::new(token)), None, "{token}");
        }
        let odd = URL_SAFE_NO_PAD.encode(r#"{"sub":7,"exp":1e300,"scopes":"x"}"#);
        let claims = Claims::of(&Secret::new(format!("a.{odd}.c"))).unwrap();
        assert_eq!((claims.subject.as_deref(), claims.expires_at), (Some("7"), None));
    }

    proptest! {
        #[test]
        fn no_body_makes_the_parser_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = TokenAnswer::read(&body);
        }

        #[test]
        fn no_cut_or_changed_answer_makes_the_parser_panic_or_invents_a_token(cut in 0_usize..150, at in 0_usize..150, with in any::<u8>()) {
            let mut body = br#"{"token_type":"Bearer","expires_in":31536000,"access_token":"aaaa.bbbb.cccc","refresh_token":"def50200ab","scope":"vehicles"}"#.to_vec();
            body.truncate(cut);
            if let Some(byte) = body.get_mut(at) { *byte = with; }
            let before = body.clone();
            if let Some(answer) = TokenAnswer::read(&body) && let Some(token) = answer.refresh_token {
                let text = serde_json::to_string(token.expose_str().unwrap()).unwrap();
                prop_assert!(memchr::memmem::find(&before, &text.as_bytes()[1..text.len() - 1]).is_some() || before.contains(&b'\\'));
            }
        }
    }
}
