//! Every answer that the proxy makes itself instead of passing a call on: status, code, and what to do about it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::json;

use super::answer::Answer;
use super::head::HeadFault;
use crate::domain::id::GrantId;
use crate::domain::route::MethodSet;
use crate::domain::scope::Scope;

/// The header that tells our answers from the provider's.
pub(super) const KEYFOB_ERROR: HeaderName = HeaderName::from_static("keyfob-error");

/// Why a call goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// What is wrong with the request, in a few words that follow "The request is refused: ".
    BadRequest(&'static str),
    /// The same of its path.
    AmbiguousPath(&'static str),
    HeadTooLarge,
    Expectation,
    ForbiddenHost,
    ForbiddenOrigin,
    MissingKey,
    InvalidKey,
    ExpiredKey,
    UnknownEndpoint,
    Method(MethodSet),
    InsufficientScope {
        scope: Scope,
        consent_url: String,
    },
    RateLimited(Duration),
    TooManyAtOnce,
    TooLarge {
        /// The most bytes that a body may have.
        limit: u64,
    },
    NoGrant {
        scope: Scope,
        make_narrower: bool,
        /// The app is tied to one grant.
        tied: bool,
        consent_url: String,
    },
    NeedsConsent {
        grant: GrantId,
        reason: &'static str,
        consent_url: String,
    },
    Unreachable,
    ProtocolError,
    RefreshUnavailable(Duration),
    StorageUnavailable,
    Timeout,
}

impl From<HeadFault> for Refusal {
    fn from(fault: HeadFault) -> Self {
        match fault {
            HeadFault::Malformed(why) => Self::BadRequest(why),
            HeadFault::Expectation => Self::Expectation,
            HeadFault::TooLarge => Self::HeadTooLarge,
        }
    }
}

impl Refusal {
    /// Its status, code and title.
    const fn row(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest(_) | Self::AmbiguousPath(_) => {
                (StatusCode::BAD_REQUEST, "bad_request_target", "The request can be read in more than one way")
            }
            Self::HeadTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "request_head_too_large",
                "The request's head is too large",
            ),
            Self::Expectation => {
                (StatusCode::EXPECTATION_FAILED, "expectation_failed", "The expectation cannot be met")
            }
            Self::ForbiddenHost => (StatusCode::MISDIRECTED_REQUEST, "forbidden_host", "This is not that host"),
            Self::ForbiddenOrigin => {
                (StatusCode::FORBIDDEN, "forbidden_origin", "Web pages of this origin may not call")
            }
            Self::MissingKey => (StatusCode::UNAUTHORIZED, "missing_app_key", "An app key is needed"),
            Self::InvalidKey => (StatusCode::UNAUTHORIZED, "invalid_app_key", "The app key is not valid"),
            Self::ExpiredKey => (StatusCode::UNAUTHORIZED, "expired_app_key", "The app key has expired"),
            Self::UnknownEndpoint => (StatusCode::FORBIDDEN, "unknown_endpoint", "The path is not known"),
            Self::Method(_) => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "The path does not take this method")
            }
            Self::InsufficientScope { .. } => {
                (StatusCode::FORBIDDEN, "insufficient_scope", "The app is not allowed to do this")
            }
            Self::RateLimited(_) | Self::TooManyAtOnce => {
                (StatusCode::TOO_MANY_REQUESTS, "rate_limited", "The app calls too often")
            }
            Self::TooLarge { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", "The request's body is too large")
            }
            Self::NoGrant { .. } => (StatusCode::CONFLICT, "no_grant", "No grant can serve this call"),
            Self::NeedsConsent { .. } => {
                (StatusCode::CONFLICT, "needs_consent", "The grant must be renewed by its user")
            }
            Self::Unreachable => (StatusCode::BAD_GATEWAY, "upstream_unreachable", "The provider cannot be reached"),
            Self::ProtocolError => {
                (StatusCode::BAD_GATEWAY, "upstream_protocol_error", "The provider's answer cannot be read")
            }
            Self::RefreshUnavailable(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "refresh_unavailable",
                "The grant's token cannot be refreshed just now",
            ),
            Self::StorageUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "storage_unavailable", "Nothing can be recorded just now")
            }
            Self::Timeout => (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", "The provider took too long"),
        }
    }

    /// The code, as the `Keyfob-Error` header and the audit trail have it.
    pub(super) const fn code(&self) -> &'static str {
        self.row().1
    }

    /// The status.
    pub(super) const fn status(&self) -> StatusCode {
        self.row().0
    }

    /// What to do about it.
    fn detail(&self) -> String {
        match self {
            Self::BadRequest(why) => format!("The request is refused: {why}."),
            Self::AmbiguousPath(why) => format!("The path is refused: {why}. Send it in its plain form."),
            Self::HeadTooLarge => "Send fewer or shorter headers: 32 KiB and 100 lines are the most.".into(),
            Self::Expectation => "Leave out the Expect header, or send 100-continue.".into(),
            Self::ForbiddenHost => {
                "Call the address that Keyfob tells for its proxy; to add a host name, set KEYFOB_PROXY_PUBLIC_URL.".into()
            }
            Self::ForbiddenOrigin => {
                "Call from a program instead of a web page, or list the page's origin in KEYFOB_ALLOWED_ORIGINS.".into()
            }
            Self::MissingKey => "Send the app's key as \"Authorization: Bearer kf_...\".".into(),
            Self::InvalidKey => {
                "Check the key, or have its user make or roll one; a key in the URL works only for apps made for it.".into()
            }
            Self::ExpiredKey => "Have the app's user make a new app or roll the key.".into(),
            Self::UnknownEndpoint => "Check the path; to add one, list it in the routes file.".into(),
            Self::Method(allow) => format!("Use one of {allow}."),
            Self::InsufficientScope { scope, .. } => {
                format!("Have the app's user allow it the scope {scope}, at the address in consent_url.")
            }
            Self::RateLimited(_) => "Wait as long as Retry-After says, and call less often.".into(),
            Self::TooManyAtOnce => "Let some of the app's running calls end first.".into(),
            Self::TooLarge { limit } => format!("Send at most {limit} bytes, or raise KEYFOB_MAX_REQUEST_BODY."),
            Self::NoGrant { scope, make_narrower: false, tied: true, .. } => {
                format!("This app is tied to one grant, which does not hold the scope {scope} or is disconnected. Have the user widen that grant, or make an app that is tied to another, at the address in consent_url.")
            }
            Self::NoGrant { scope, make_narrower: false, .. } => {
                format!("Have the user grant the scope {scope} at the address in consent_url.")
            }
            Self::NoGrant { make_narrower: true, tied: true, .. } => {
                "This app is tied to one grant, which holds more than the app may use. Have the user allow the app the rest of it, or make an app that is tied to a narrower grant, at the address in consent_url.".into()
            }
            Self::NoGrant { make_narrower: true, .. } => {
                "Have the user make a narrower grant, one that holds no scope that this app lacks, at the address in consent_url.".into()
            }
            Self::NeedsConsent { .. } => "Have the user renew the grant at the address in consent_url.".into(),
            Self::Unreachable => "Try again later; if it goes on, check the network and KEYFOB_TESLASCOPE_URL.".into(),
            Self::ProtocolError | Self::Timeout => "Try again later; a command may have been carried out, so check before you repeat it.".into(),
            Self::RefreshUnavailable(_) => "Try again after the time in Retry-After.".into(),
            Self::StorageUnavailable => "Try again soon; if it goes on, check the disk that holds the data directory.".into(),
        }
    }

    /// What `WWW-Authenticate` says (RFC 6750 3); an error only where a key was sent.
    fn challenge(&self) -> Option<HeaderValue> {
        let value = match self {
            Self::MissingKey => "Bearer realm=\"keyfob\"",
            Self::InvalidKey => {
                "Bearer realm=\"keyfob\", error=\"invalid_token\", error_description=\"The app key is not valid\""
            }
            Self::ExpiredKey => {
                "Bearer realm=\"keyfob\", error=\"invalid_token\", error_description=\"The app key has expired\""
            }
            Self::InsufficientScope { scope, .. } => {
                let text = format!("Bearer realm=\"keyfob\", error=\"insufficient_scope\", scope=\"{scope}\"");
                return HeaderValue::from_str(&text).ok();
            }
            _ => return None,
        };
        Some(HeaderValue::from_static(value))
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimited(wait) | Self::RefreshUnavailable(wait) => {
                Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).map(|secs| secs.max(1))
            }
            Self::TooManyAtOnce | Self::StorageUnavailable => Some(1),
            _ => None,
        }
    }

    /// Whether nothing more can be read from the connection.
    const fn ends_connection(&self) -> bool {
        matches!(self, Self::BadRequest(_) | Self::HeadTooLarge | Self::Expectation)
    }

    fn problem(&self) -> serde_json::Value {
        let (status, code, title) = self.row();
        let mut problem = json!({
            "type": format!("urn:keyfob:problem:{code}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.detail(),
            "code": code,
        });
        match self {
            Self::InsufficientScope { scope, consent_url } | Self::NoGrant { scope, consent_url, .. } => {
                problem["scope"] = json!(scope);
                problem["consent_url"] = json!(consent_url);
            }
            Self::NeedsConsent { reason, consent_url, .. } => {
                problem["reason"] = json!(reason);
                problem["consent_url"] = json!(consent_url);
            }
            _ => {}
        }
        if let Some(seconds) = self.retry_after() {
            problem["retry_after"] = json!(seconds);
        }
        problem
    }

    /// The answer.
    pub(super) fn answer(&self) -> Response<Answer> {
        let text = self.problem().to_string();
        let mut response = Response::new(Answer::whole(Bytes::from(text)));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(KEYFOB_ERROR, HeaderValue::from_static(self.code()));
        if let Some(challenge) = self.challenge() {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Self::Method(allow) = self
            && let Ok(allow) = HeaderValue::from_str(&allow.to_string())
        {
            headers.insert(ALLOW, allow);
        }
        if self.ends_connection() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
