//! The authorization response, as the browser brings it to the redirect URI (RFC 6749 4.1.2, RFC 9207).

use crate::domain::secret::{AuthorizationCode, Secret, State};

/// What a well-formed authorization response holds. Nothing in it is to be acted on before the state is known.
#[derive(Debug)]
pub struct Callback {
    /// Which authorization request it answers.
    pub state: Secret<State>,
    /// The issuer, when the provider names itself (RFC 9207).
    pub issuer: Option<String>,
    /// A code or an error.
    pub outcome: Result<Secret<AuthorizationCode>, AuthorizationError>,
}

/// The query is no authorization response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCallback {
    /// There is no state, or it is not one of ours by its form.
    #[error("the answer names no request of yours: start again from the connect page")]
    State,
    /// A parameter is there twice.
    #[error("the answer is ambiguous: start again from the connect page")]
    Repeated,
    /// There is neither a code nor an error, or there are both.
    #[error("the answer holds neither a code nor an error: start again from the connect page")]
    Outcome,
}

impl Callback {
    /// Reads the query of the callback, without its question mark.
    ///
    /// # Errors
    /// It is no authorization response.
    pub fn parse(query: &str) -> Result<Self, BadCallback> {
        let (mut state, mut code, mut error, mut issuer) = (None, None, None, None);
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let slot = match &*name {
                "state" => &mut state,
                "code" => &mut code,
                "error" => &mut error,
                "iss" => &mut issuer,
                _ => continue,
            };
            if slot.replace(value.into_owned()).is_some() {
                return Err(BadCallback::Repeated);
            }
        }
        let state = state.filter(|state| (1..=200).contains(&state.len())).ok_or(BadCallback::State)?;
        let outcome = match (code.filter(|code| !code.is_empty()), error) {
            (Some(code), None) => Ok(Secret::new(code)),
            (None, Some(error)) => Err(AuthorizationError::of(&error)),
            _ => return Err(BadCallback::Outcome),
        };
        Ok(Self { state: Secret::new(state), issuer, outcome })
    }
}

/// The provider's refusal of an authorization request (RFC 6749 4.1.2.1, and what the provider's framework adds). Its own
/// description is never shown: anyone can write one into a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorizationError {
    /// The person pressed Cancel.
    AccessDenied,
    /// A scope is not known there, or not open to this application.
    InvalidScope,
    /// The person is not signed in there, and was not asked to.
    LoginRequired,
    /// The person would have to consent, and was not asked to.
    ConsentRequired,
    /// The application may not ask like this.
    UnauthorizedClient,
    /// The request is refused as malformed.
    InvalidRequest,
    /// A fault of the provider's own.
    ServerError,
    /// It is overloaded or under maintenance.
    TemporarilyUnavailable,
    /// Something that is not known.
    Other,
}

impl AuthorizationError {
    fn of(error: &str) -> Self {
        match error {
            "access_denied" => Self::AccessDenied,
            "invalid_scope" => Self::InvalidScope,
            "login_required" => Self::LoginRequired,
            "consent_required" | "interaction_required" => Self::ConsentRequired,
            "unauthorized_client" | "invalid_client" => Self::UnauthorizedClient,
            "invalid_request" | "unsupported_response_type" => Self::InvalidRequest,
            "server_error" => Self::ServerError,
            "temporarily_unavailable" => Self::TemporarilyUnavailable,
            _ => Self::Other,
        }
    }

    /// One word for the log.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::InvalidScope => "invalid_scope",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::InvalidRequest => "invalid_request",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::Other => "other",
        }
    }

    /// What happened and what to do, for the person.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::AccessDenied => {
                "You did not authorize Keyfob at Teslascope, so nothing was changed. Start again whenever you like."
            }
            Self::InvalidScope => {
                "Teslascope does not give this application one of the scopes you ticked. Try fewer, or ask your administrator to look at the application there."
            }
            Self::LoginRequired => "You are not signed in at Teslascope. Sign in there, then start again.",
            Self::ConsentRequired => "Teslascope needs you to authorize Keyfob on its own page. Start again.",
            Self::UnauthorizedClient => {
                "Teslascope does not let this application ask for access. Your administrator must check the client id and the application at Teslascope."
            }
            Self::InvalidRequest => {
                "Teslascope did not understand Keyfob's request. Your administrator must check the application's redirect address and client id."
            }
            Self::ServerError => "Teslascope had a fault of its own. Nothing was changed; try again in a while.",
            Self::TemporarilyUnavailable => "Teslascope is too busy or under maintenance. Try again in a while.",
            Self::Other => "Teslascope refused without a reason that Keyfob knows. Nothing was changed; try again.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_comes_with_its_state_and_issuer() {
        let callback = Callback::parse("code=c%2B1&state=s&iss=https%3A%2F%2Fteslascope.com&session_state=x").unwrap();
        assert_eq!(callback.state.expose(), b"s");
        assert_eq!(callback.issuer.as_deref(), Some("https://teslascope.com"));
        assert_eq!(callback.outcome.unwrap().expose(), b"c+1");
    }

    #[test]
    fn the_providers_refusals_are_put_into_words() {
        let denied =
            "error=access_denied&error_description=The+resource+owner&hint=The+user+denied+the+request&state=s";
        assert_eq!(Callback::parse(denied).unwrap().outcome.unwrap_err(), AuthorizationError::AccessDenied);
        let captured = "state=s&error=invalid_scope&error_description=The+requested+scope+is+invalid%2C&hint=Check+the+%60nonesuch%60+scope";
        assert_eq!(Callback::parse(captured).unwrap().outcome.unwrap_err(), AuthorizationError::InvalidScope);
        let foreign = Callback::parse("state=s&error=%3Cscript%3E").unwrap().outcome.unwrap_err();
        assert!(!foreign.advice().contains('<'));
    }

    #[test]
    fn what_is_no_authorization_response_is_refused() {
        for (query, why) in [
            ("", BadCallback::State),
            ("code=c", BadCallback::State),
            ("code=c&state=", BadCallback::State),
            ("state=s", BadCallback::Outcome),
            ("state=s&code=", BadCallback::Outcome),
            ("state=s&code=c&error=access_denied", BadCallback::Outcome),
            ("state=s&code=c&code=d", BadCallback::Repeated),
            ("state=s&state=t&code=c", BadCallback::Repeated),
            ("state=s&code=c&iss=a&iss=b", BadCallback::Repeated),
        ] {
            assert_eq!(Callback::parse(query).unwrap_err(), why, "{query}");
        }
    }
}
