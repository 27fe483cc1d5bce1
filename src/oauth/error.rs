//! What a token endpoint's refusal means, by what to do next (RFC 6749 5.2, and what the provider's framework makes of it).

use std::time::Duration;

use super::response::{self, TokenAnswer};
use super::transport::{Answer, NotSent, Outcome};

/// Why no tokens came. Holds nothing of the answer but its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The refresh token, or the code, is dead. Only its user can go on.
    #[error("Teslascope rejects the token: {0}")]
    Rejected(Hint),
    /// Our registration is refused. No grant is at fault; an administrator must act.
    #[error("{0}")]
    Configuration(ConfigurationFault),
    /// It did not happen, and will work another time. What is stored stays good.
    #[error("Teslascope's token endpoint can't serve now: {kind}")]
    Transient {
        /// What was seen.
        kind: TransientFault,
        /// How long the provider asks to wait.
        retry_after: Option<Duration>,
    },
    /// It may have happened: the request was, or may have been, carried out, and its answer is not known.
    #[error("the answer of Teslascope's token endpoint is not known: {0}")]
    Uncertain(Doubt),
}

/// What the provider says of a dead token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// It was spent or revoked.
    Revoked,
    /// It is past its expiry.
    Expired,
    /// It is not one of the provider's.
    Undecipherable,
    /// The code verifier does not belong to the code.
    Verifier,
    /// Nothing that is known.
    None,
}

/// What is wrong with our registration or its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigurationFault {
    /// The client id or secret is refused (`invalid_client`).
    Client,
    /// The client may not use this grant type (`unauthorized_client`, `unsupported_grant_type`).
    GrantType,
    /// The token was given to another client id.
    OtherClient,
    /// The request is refused as malformed, or its scope is.
    Request,
    /// There is no token endpoint at this address.
    Address,
}

/// Why it will work another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransientFault {
    /// The connection could not be made.
    NotReached(NotSent),
    /// 429.
    Throttled,
    /// 408 or 425.
    TooSlow,
    /// 5xx.
    ServerError(u16),
    /// A redirect, which is never followed.
    Redirect,
    /// A page for people instead of an answer: maintenance, a captive portal, a challenge.
    Page,
    /// An answer that says nothing known.
    Other(u16),
}

/// Why an answer is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// No answer in time.
    TimedOut,
    /// The connection was cut after sending.
    Cut,
    /// A success whose body can't be read.
    Unreadable,
}

impl std::fmt::Display for Hint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Revoked => "it was revoked or already used",
            Self::Expired => "it is past its expiry",
            Self::Undecipherable => "it is not one of Teslascope's",
            Self::Verifier => "the code verifier does not match",
            Self::None => "no reason is given",
        })
    }
}

impl std::fmt::Display for ConfigurationFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Client => {
                "Teslascope refuses Keyfob's client id or secret: check KEYFOB_OAUTH_CLIENT_ID and KEYFOB_OAUTH_CLIENT_SECRET"
            }
            Self::GrantType => {
                "Teslascope does not let this OAuth application do that: make it an authorization code application"
            }
            Self::OtherClient => {
                "the token belongs to another client id than KEYFOB_OAUTH_CLIENT_ID: put the old one back, or renew the grant"
            }
            Self::Request => "Teslascope refuses the request as malformed: Keyfob may be too old for it",
            Self::Address => "there is no token endpoint at the address in use: check KEYFOB_OAUTH_TOKEN_URL",
        })
    }
}

impl std::fmt::Display for TransientFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotReached(why) => write!(f, "{why}"),
            Self::Throttled => f.write_str("it asks for fewer requests (429)"),
            Self::TooSlow => f.write_str("it gave up waiting"),
            Self::ServerError(status) => write!(f, "it has a fault of its own ({status})"),
            Self::Redirect => f.write_str("it answers with a redirect, which is not followed"),
            Self::Page => f.write_str("it answers with a web page"),
            Self::Other(status) => write!(f, "it answers with an unexpected status ({status})"),
        }
    }
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "none came in time",
            Self::Cut => "the connection was cut",
            Self::Unreadable => "it can't be read",
        })
    }
}

impl TokenError {
    /// One word for logs and metrics.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Rejected(_) => "rejected",
            Self::Configuration(_) => "configuration",
            Self::Transient { .. } => "transient",
            Self::Uncertain(_) => "uncertain",
        }
    }
}

/// What came of a token request.
pub(super) fn judge(outcome: &Outcome) -> Result<TokenAnswer, TokenError> {
    match outcome {
        Outcome::NotSent(why) => {
            Err(TokenError::Transient { kind: TransientFault::NotReached(*why), retry_after: None })
        }
        Outcome::TimedOut => Err(TokenError::Uncertain(Doubt::TimedOut)),
        Outcome::Cut => Err(TokenError::Uncertain(Doubt::Cut)),
        Outcome::Answered(answer) => judge_answer(answer),
    }
}

fn judge_answer(answer: &Answer) -> Result<TokenAnswer, TokenError> {
    let transient = |kind| TokenError::Transient { kind, retry_after: answer.retry_after };
    match answer.status {
        200..=299 => match &answer.body {
            // Tokens first: whatever else the body says, what was given is kept.
            Some(body) => match TokenAnswer::read(body) {
                Some(given) => Ok(given),
                None => Err(refusal(answer).unwrap_or_else(|| {
                    if answer.is_page() {
                        transient(TransientFault::Page)
                    } else {
                        TokenError::Uncertain(Doubt::Unreadable)
                    }
                })),
            },
            None => Err(TokenError::Uncertain(Doubt::Unreadable)),
        },
        429 => Err(transient(TransientFault::Throttled)),
        408 | 425 => Err(transient(TransientFault::TooSlow)),
        300..=399 => Err(transient(TransientFault::Redirect)),
        status @ 500..=599 => Err(transient(TransientFault::ServerError(status))),
        status => Err(refusal(answer).unwrap_or_else(|| match status {
            _ if answer.is_page() && !matches!(status, 404 | 405) => transient(TransientFault::Page),
            404 | 405 => TokenError::Configuration(ConfigurationFault::Address),
            _ => transient(TransientFault::Other(status)),
        })),
    }
}

/// An error in the words of RFC 6749 5.2, if that is what the body is.
fn refusal(answer: &Answer) -> Option<TokenError> {
    let members = response::object(answer.body.as_deref()?)?;
    let member = |name: &str| members.get(name).and_then(serde_json::Value::as_str);
    let hint = member("hint").unwrap_or_default();
    Some(match member("error")? {
        "invalid_grant" if hint == "Token is not linked to client" => {
            TokenError::Configuration(ConfigurationFault::OtherClient)
        }
        "invalid_grant" => TokenError::Rejected(Hint::of(hint)),
        // league/oauth2-server 8 says this of a dead refresh token, with the hints that version 9 has too.
        "invalid_request" if answer.status == 401 => match Hint::of(hint) {
            _ if hint == "Token is not linked to client" => TokenError::Configuration(ConfigurationFault::OtherClient),
            Hint::None if member("error_description") != Some("The refresh token is invalid.") => {
                TokenError::Configuration(ConfigurationFault::Request)
            }
            hint => TokenError::Rejected(hint),
        },
        "invalid_client" => TokenError::Configuration(ConfigurationFault::Client),
        "unauthorized_client" | "unsupported_grant_type" => TokenError::Configuration(ConfigurationFault::GrantType),
        "invalid_request" | "invalid_scope" => TokenError::Configuration(ConfigurationFault::Request),
        "temporarily_unavailable" | "server_error" | "slow_down" => {
            TokenError::Transient { kind: TransientFault::Other(answer.status), retry_after: answer.retry_after }
        }
        _ => return None,
    })
}

impl Hint {
    fn of(text: &str) -> Self {
        match text {
            "Token has been revoked" | "Authorization code has been revoked" => Self::Revoked,
            "Token has expired" | "Authorization code has expired" => Self::Expired,
            "Cannot decrypt the refresh token" | "Cannot decrypt the authorization code" => Self::Undecipherable,
            "Failed to verify `code_verifier`." => Self::Verifier,
            _ => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, kind: &str, body: &str) -> Outcome {
        Outcome::Answered(Answer {
            status,
            content_type: Some(kind.to_owned()),
            retry_after: Some(Duration::from_secs(7)),
            body: Some(body.as_bytes().to_vec().into()),
            ..Answer::default()
        })
    }

    #[test]
    fn a_dead_refresh_token_is_told_by_old_and_new_servers() {
        let nine = |hint: &str| {
            format!(
                r#"{{"error":"invalid_grant","error_description":"The refresh token is invalid.","hint":"{hint}"}}"#
            )
        };
        let eight = |hint: &str| {
            format!(
                r#"{{"error":"invalid_request","error_description":"The refresh token is invalid.","hint":"{hint}","message":"x"}}"#
            )
        };
        for (hint, known) in [
            ("Token has been revoked", Hint::Revoked),
            ("Token has expired", Hint::Expired),
            ("Cannot decrypt the refresh token", Hint::Undecipherable),
            ("another", Hint::None),
        ] {
            assert_eq!(judge(&answer(400, "application/json", &nine(hint))).unwrap_err(), TokenError::Rejected(known));
            assert_eq!(judge(&answer(401, "application/json", &eight(hint))).unwrap_err(), TokenError::Rejected(known));
        }
        let linked = "Token is not linked to client";
        for found in [answer(400, "application/json", &nine(linked)), answer(401, "application/json", &eight(linked))] {
            assert_eq!(judge(&found).unwrap_err(), TokenError::Configuration(ConfigurationFault::OtherClient));
        }
    }

    #[test]
    fn a_fault_of_the_registration_does_not_condemn_a_grant() {
        for (status, error, fault) in [
            (401, "invalid_client", ConfigurationFault::Client),
            (400, "unauthorized_client", ConfigurationFault::GrantType),
            (400, "unsupported_grant_type", ConfigurationFault::GrantType),
            (400, "invalid_scope", ConfigurationFault::Request),
            (400, "invalid_request", ConfigurationFault::Request),
            (401, "invalid_request", ConfigurationFault::Request),
        ] {
            let found = judge(&answer(status, "application/json", &format!(r#"{{"error":"{error}"}}"#)));
            assert_eq!(found.unwrap_err(), TokenError::Configuration(fault), "{error}");
        }
        let gone = judge(&answer(404, "text/html", "<html>"));
        assert_eq!(gone.unwrap_err(), TokenError::Configuration(ConfigurationFault::Address));
    }

    #[test]
    fn an_outage_is_transient_and_its_wait_is_kept() {
        for (status, kind, body, fault) in [
            (429, "application/json", r#"{"message":"Too Many Attempts."}"#, TransientFault::Throttled),
            (408, "text/plain", "", TransientFault::TooSlow),
            (500, "application/json", r#"{"error":"invalid_grant"}"#, TransientFault::ServerError(500)),
            (503, "text/html", "<html>", TransientFault::ServerError(503)),
            (302, "text/html", "<html>", TransientFault::Redirect),
            (307, "text/html", "", TransientFault::Redirect),
            (403, "text/html", "<!DOCTYPE html>", TransientFault::Page),
            (200, "text/html; charset=utf-8", "<html>maintenance</html>", TransientFault::Page),
            (401, "application/json", r#"{"message":"Unauthenticated."}"#, TransientFault::Other(401)),
        ] {
            let expected = TokenError::Transient { kind: fault, retry_after: Some(Duration::from_secs(7)) };
            assert_eq!(judge(&answer(status, kind, body)).unwrap_err(), expected, "{status} {body}");
        }
    }

    #[test]
    fn a_success_that_can_not_be_read_is_uncertain_and_a_success_that_is_an_error_is_that_error() {
        for body in ["", "{", r#"{"token_type":"Bearer","access_tok"#, "[]"] {
            let found = judge(&answer(200, "application/json", body)).unwrap_err();
            assert_eq!(found, TokenError::Uncertain(Doubt::Unreadable), "{body}");
        }
        let found = judge(&answer(200, "application/json", r#"{"error":"invalid_grant"}"#)).unwrap_err();
        assert_eq!(found, TokenError::Rejected(Hint::None));
        let cut = Outcome::Answered(Answer { status: 200, body: None, ..Answer::default() });
        assert_eq!(judge(&cut).unwrap_err(), TokenError::Uncertain(Doubt::Unreadable));
    }
}
