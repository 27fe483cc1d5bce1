//! The ways in which the token endpoint, the API and the MCP server can misbehave.

use std::time::Duration;

use serde_json::Value;

use super::answer::OAuthError;
use crate::domain::scope::ScopeSet;

/// An answer in place of the provider's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAnswer {
    /// Status code.
    pub status: u16,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
    /// Body, byte for byte.
    pub body: Vec<u8>,
}

impl RawAnswer {
    /// An answer with this status, content type and body.
    #[must_use]
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("Content-Type".to_owned(), content_type.to_owned())], body: body.into() }
    }

    /// One more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Laravel's JSON for a status: 500 `Server Error`, 503 `Service Unavailable`, else a `message` with the number.
    #[must_use]
    pub fn status(status: u16) -> Self {
        let message = match status {
            401 => "Unauthenticated.".to_owned(),
            403 => "Invalid scope(s) provided.".to_owned(),
            429 => "Too Many Attempts.".to_owned(),
            500 => "Server Error".to_owned(),
            503 => "Service Unavailable".to_owned(),
            other => format!("Status {other}"),
        };
        Self::new(status, "application/json", serde_json::json!({ "message": message }).to_string())
    }

    /// The throttle's 429.
    #[must_use]
    pub fn too_many(retry_after: u64) -> Self {
        Self::status(429)
            .with("Retry-After", &retry_after.to_string())
            .with("X-RateLimit-Limit", "60")
            .with("X-RateLimit-Remaining", "0")
    }

    /// A page of a machine that stands in front of the provider.
    #[must_use]
    pub fn html(status: u16) -> Self {
        let body = format!("<!DOCTYPE html>\n<html><head><title>{status}</title></head><body>A page.</body></html>\n");
        Self::new(status, "text/html; charset=UTF-8", body)
    }

    /// A redirect without a body.
    #[must_use]
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::new(status, "text/html; charset=utf-8", "").with("Location", location)
    }
}

/// What the token endpoint does instead of its duty.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenFault {
    /// Waits, then does everything as usual.
    DelayBefore(Duration),
    /// Does everything, and waits before it answers.
    DelayAfter(Duration),
    /// Breaks the connection; nothing is rotated.
    DropBefore,
    /// Rotates, then breaks the connection.
    DropAfter,
    /// Answers this; nothing is rotated.
    Instead(RawAnswer),
    /// Rotates, then answers this.
    After(RawAnswer),
    /// Rotates; the JSON of the answer ends in the middle, as if it were whole.
    TruncatedJson,
    /// Rotates; half of the answer arrives, then the connection breaks.
    CutBody,
    /// Rotates; members of the answer are set to a value, or left out where there is none.
    Edit(Vec<(String, Option<Value>)>),
    /// Rotates; the new tokens really hold only these scopes, and the answer does not say so.
    Narrow(ScopeSet),
    /// Answers with this status and throws back what it was sent, body and `Authorization`; nothing is rotated.
    Echo(u16),
}

impl TokenFault {
    /// A plain error; nothing is rotated.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Instead(RawAnswer::status(status))
    }

    /// The throttle's refusal; nothing is rotated.
    #[must_use]
    pub fn too_many(retry_after: u64) -> Self {
        Self::Instead(RawAnswer::too_many(retry_after))
    }

    /// A page; nothing is rotated.
    #[must_use]
    pub fn html(status: u16) -> Self {
        Self::Instead(RawAnswer::html(status))
    }

    /// A redirect; nothing is rotated.
    #[must_use]
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::Instead(RawAnswer::redirect(status, location))
    }

    /// Says that the refresh token is dead, as league 9 does, though it is not.
    #[must_use]
    pub fn rejected() -> Self {
        Self::Instead(OAuthError::invalid_refresh_token("Token has been revoked").into_raw())
    }

    /// The same as league 8 says it.
    #[must_use]
    pub fn rejected_by_league_8() -> Self {
        Self::Instead(OAuthError::invalid_refresh_token_league8("Token has been revoked").into_raw())
    }

    /// Rotates; one member of the answer is set.
    #[must_use]
    pub fn with(name: &str, value: impl Into<Value>) -> Self {
        Self::Edit(vec![(name.to_owned(), Some(value.into()))])
    }

    /// Rotates; one member of the answer is left out.
    #[must_use]
    pub fn without(name: &str) -> Self {
        Self::Edit(vec![(name.to_owned(), None)])
    }
}

/// What the API or MCP does instead of its duty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallFault {
    /// Waits, then does everything as usual.
    DelayBefore(Duration),
    /// Carries the call out, and waits before it answers.
    DelayAfter(Duration),
    /// Breaks the connection; nothing is carried out.
    DropBefore,
    /// Carries the call out, then breaks the connection.
    DropAfter,
    /// Answers this; nothing is carried out.
    Instead(RawAnswer),
    /// Carries the call out, then answers this.
    After(RawAnswer),
    /// Carries the call out; half of the answer arrives, then the connection breaks.
    CutBody,
    /// Answers with this status and throws the `Authorization` header back in body and headers.
    Echo(u16),
    /// As if the token were dead: 401 or the redirect to the login page, as `Accept` has it.
    Unauthenticated,
    /// The redirect to the login page, whatever `Accept` says.
    LoginRedirect,
}

impl CallFault {
    /// A plain error; nothing is carried out.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Instead(RawAnswer::status(status))
    }
}
