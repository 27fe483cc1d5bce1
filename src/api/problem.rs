//! Every answer of the API that is no success: RFC 9457, with a code that programs can go by. The caller reads advice; the
//! cause goes to the log, once.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::broker::{AccountError, AppError};
use crate::store::StoreError;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $status:literal $code:literal $title:literal;)*) => {
        /// What is wrong, as far as programs need to tell it apart.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            pub(super) fn status(self) -> StatusCode {
                let status = match self { $(Self::$kind => $status,)* };
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            pub(super) const fn code(self) -> &'static str {
                match self { $(Self::$kind => $code,)* }
            }

            const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }
        }
    };
}

kinds! {
    /// The body can't be read.
    BadBody = 400 "malformed_body" "The body can't be read";
    /// No admin key came.
    MissingKey = 401 "missing_admin_key" "An admin key is needed";
    /// It is no live admin key.
    InvalidKey = 401 "invalid_admin_key" "The admin key is not valid";
    /// There is no such thing.
    NotFound = 404 "not_found" "There is no such thing";
    /// There is no such endpoint.
    UnknownEndpoint = 404 "unknown_endpoint" "There is no such endpoint";
    /// The endpoint does not take this method.
    WrongMethod = 405 "method_not_allowed" "The endpoint does not take this method";
    /// The body did not come in time.
    TooSlow = 408 "request_timeout" "The body did not come in time";
    /// It is the last admin.
    LastAdmin = 409 "last_admin" "At least one admin must remain";
    /// The grant has nothing to refresh with.
    NotRefreshable = 409 "not_refreshable" "The grant can't be refreshed";
    /// The grant's user must act.
    NeedsConsent = 409 "needs_consent" "The grant must be renewed by its user";
    /// Our registration at the provider is at fault.
    Misconfigured = 409 "configuration" "Keyfob's registration at the provider is at fault";
    /// The body is too large.
    TooLarge = 413 "request_too_large" "The body is too large";
    /// The body is no JSON.
    WrongType = 415 "unsupported_media_type" "The body must be JSON";
    /// A member or a parameter is bad.
    Invalid = 422 "invalid_request" "Something in the request is bad";
    /// A fault of the program.
    Internal = 500 "internal_error" "Something went wrong";
    /// The provider can't be reached, or gives no answer that tells.
    RefreshUnavailable = 503 "refresh_unavailable" "The grant can't be refreshed just now";
    /// The database does not do what was asked.
    StorageUnavailable = 503 "storage_unavailable" "Nothing can be read or written just now";
}

/// One bad member of a body, or one bad parameter of a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Fault {
    /// Its name.
    pub(super) member: String,
    /// What is wrong with it, and how to mend that.
    pub(super) detail: String,
}

/// Why a request is not done.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) shown: Shown,
    pub(super) cause: Option<String>,
}

/// What the caller reads. It cannot carry a cause: its texts are ours.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) kind: Kind,
    detail: Cow<'static, str>,
    faults: Vec<Fault>,
    retry_after: Option<u64>,
}

/// A problem as it is sent (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemMembers<'p> {
    /// Names the kind of problem: `urn:keyfob:problem:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// The kind of problem in words.
    title: &'p str,
    /// The status of the answer.
    status: u16,
    /// What is wrong and what to do.
    detail: &'p str,
    /// The kind of problem in one word.
    code: &'p str,
    /// Finds the request in Keyfob's log; the same as the header `Keyfob-Request-Id`.
    request_id: &'p str,
    /// With code `invalid_request`: every member or parameter that is bad.
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    #[schema(required = false)]
    errors: &'p [Fault],
}

impl Problem {
    pub(super) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { shown: Shown { kind, detail: detail.into(), faults: Vec::new(), retry_after: None }, cause: None }
    }

    /// What the log gets.
    pub(super) fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// When it is worth trying again.
    pub(super) fn retry_after(mut self, span: Duration) -> Self {
        self.shown.retry_after = Some(span.as_secs().max(1));
        self
    }

    /// Members or parameters that are bad, all of them.
    pub(super) fn invalid(faults: Vec<Fault>) -> Self {
        let words: Vec<_> = faults.iter().map(|fault| format!("{} {}", fault.member, fault.detail)).collect();
        let mut problem = Self::new(Kind::Invalid, format!("{}.", words.join("; ")));
        problem.shown.faults = faults;
        problem
    }

    /// One member that is bad.
    pub(super) fn fault(member: &str, detail: impl fmt::Display) -> Self {
        Self::invalid(vec![Fault { member: member.to_owned(), detail: detail.to_string() }])
    }

    pub(super) fn not_found(what: &'static str) -> Self {
        Self::new(Kind::NotFound, what)
    }

    pub(super) fn internal(cause: impl fmt::Display) -> Self {
        Self::new(Kind::Internal, "This is a fault of the program. The cause is in the log of this Keyfob.")
            .because(cause)
    }
}

impl From<StoreError> for Problem {
    fn from(cause: StoreError) -> Self {
        let advice = "Keyfob could not read or write its data. Nothing was half done. Try again in a moment; if it stays so, whoever runs this Keyfob finds the cause in its log.";
        Self::new(Kind::StorageUnavailable, advice).because(cause).retry_after(Duration::from_secs(5))
    }
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::NotFound => Self::not_found("There is no such user."),
            AccountError::BadName(why) => Self::fault("name", why),
            AccountError::NameTaken => Self::fault("name", "is taken by another user"),
            AccountError::BadPassword(why) => Self::fault("password", why),
            AccountError::LastAdmin => {
                Self::new(Kind::LastAdmin, "This is the last admin. Make another user an admin first.")
            }
            AccountError::WrongPassword => Self::fault("password", "is wrong"),
            AccountError::Storage(cause) => cause.into(),
        }
    }
}

impl From<AppError> for Problem {
    fn from(error: AppError) -> Self {
        match error {
            AppError::NotFound => Self::not_found("There is no such app, or it is revoked."),
            AppError::BadName(why) => Self::fault("name", why),
            AppError::NoScope => Self::fault("scopes", "must name at least one scope"),
            AppError::NoSuchGrant => Self::fault("grant", "is no grant of this user"),
            AppError::GrantTooNarrow(lacking) => Self::fault("grant", format_args!("does not hold {lacking}")),
            AppError::Storage(cause) => cause.into(),
        }
    }
}

impl IntoResponse for Problem {
    /// Status and headers; the body is written where the request's id is known.
    fn into_response(self) -> Response {
        let mut response = self.shown.kind.status().into_response();
        if let Some(seconds) = self.shown.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        let challenge = match self.shown.kind {
            Kind::MissingKey => Some(r#"Bearer realm="keyfob""#),
            // RFC 6750 3.1
            Kind::InvalidKey => Some(r#"Bearer realm="keyfob", error="invalid_token""#),
            _ => None,
        };
        if let Some(challenge) = challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response.extensions_mut().insert(std::sync::Arc::new(self));
        response
    }
}

impl Shown {
    /// Writes the problem into its answer.
    pub(super) fn write(&self, request_id: &str, response: &mut Response) {
        let code = self.kind.code();
        let members = ProblemMembers {
            kind: format!("urn:keyfob:problem:{code}"),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            code,
            request_id,
            errors: &self.faults,
        };
        *response.body_mut() = serde_json::to_vec(&members).unwrap_or_default().into();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    }
}
