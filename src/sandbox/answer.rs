//! Answers as Laravel, Passport and league/oauth2-server give them.
//!
//! An answer is plain data until it is sent, so that a fault can bend it. `Host`, `Connection` and `X-Powered-By` of the
//! captures belong to PHP's built-in server, not to the provider, and are left out.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::fault::RawAnswer;
use super::json::{Json, object};
use super::pages;

/// What goes over the wire.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub content: Content,
}

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Content {
    Whole(Bytes),
    /// The first half of these bytes, announced as all of them; then the connection breaks.
    Cut(Bytes),
    /// Comes piece by piece.
    Stream(mpsc::Receiver<Bytes>),
}

/// An answer, or the end of the connection without one.
#[derive(Debug)]
pub(super) enum Outcome {
    Answer(Answer),
    HangUp,
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

impl From<RawAnswer> for Answer {
    fn from(raw: RawAnswer) -> Self {
        Self { status: raw.status, headers: raw.headers, content: Content::Whole(raw.body.into()) }
    }
}

impl Answer {
    pub(super) fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self { status, headers: Vec::new(), content: Content::Whole(body.into()) }
            .with("Cache-Control", "no-cache, private")
            .with("Content-Type", content_type)
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets a header in place of what there is.
    pub(super) fn replacing(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.with(name, value)
    }

    pub(super) fn json(status: u16, body: impl Into<Json>) -> Self {
        Self::new(status, "application/json", body.into().to_string())
    }

    /// `{"code":200,"response":…}`
    pub(super) fn enveloped(response: impl Into<Json>) -> Self {
        Self::json(200, object! { "code": 200, "response": response.into() })
    }

    /// The API's own 404.
    pub(super) fn missing(what: &str) -> Self {
        Self::json(404, object! { "code": 404, "response": format!("{what} not found.") })
    }

    /// `{"message":…}`
    pub(super) fn message(status: u16, message: &str) -> Self {
        Self::json(status, object! { "message": message })
    }

    /// Laravel's validation error of one field.
    pub(super) fn invalid(field: &str, message: &str) -> Self {
        let errors = Json::object([(field, Json::list([Json::from(message)]))]);
        Self::json(422, object! { "message": message, "errors": errors })
    }

    /// Symfony's redirect, whose body says the same.
    pub(super) fn redirect(location: &str) -> Self {
        let shown = pages::escape(location);
        let body = format!(
            "<!DOCTYPE html>\n<html>\n    <head>\n        <meta charset=\"UTF-8\" />\n        <meta http-equiv=\"refresh\" \
             content=\"0;url='{shown}'\" />\n\n        <title>Redirecting to {shown}</title>\n    </head>\n    <body>\n        \
             Redirecting to <a href=\"{shown}\">{shown}</a>.\n    </body>\n</html>"
        );
        Self::new(302, "text/html; charset=utf-8", body).with("Location", location)
    }

    /// A redirect without a body, as league makes it.
    pub(super) fn redirect_bare(location: &str) -> Self {
        Self::new(302, "text/html; charset=utf-8", "").with("Location", location)
    }

    pub(super) fn html(status: u16, body: String) -> Self {
        Self::new(status, "text/html; charset=UTF-8", body)
    }

    /// The error of a route that exists for other methods.
    pub(super) fn wrong_method(wants_json: bool, method: &str, path: &str, allow: &str) -> Self {
        let answer = if wants_json {
            let path = path.trim_matches('/');
            let message = format!("The {method} method is not supported for route {path}. Supported methods: {allow}.");
            Self::message(405, &message)
        } else {
            Self::html(405, pages::oops(405, "Method Not Allowed"))
        };
        answer.with("Allow", allow)
    }

    /// The error of a path that there is not.
    pub(super) fn unknown_route(wants_json: bool, path: &str) -> Self {
        if wants_json {
            Self::message(404, &format!("The route {} could not be found.", path.trim_matches('/')))
        } else {
            pages::notice(404, "Not found", "There is nothing at this address.")
        }
    }

    /// The throttle's refusal.
    pub(super) fn too_many(wants_json: bool, limit: u32, retry_after: u64, reset: i64) -> Self {
        let answer = if wants_json {
            Self::message(429, "Too Many Attempts.")
        } else {
            pages::notice(429, "Too many requests", "Wait a minute and try again.")
        };
        answer
            .with("Retry-After", retry_after.to_string())
            .with("X-RateLimit-Limit", limit.to_string())
            .with("X-RateLimit-Remaining", "0")
            .with("X-RateLimit-Reset", reset.to_string())
    }
}

/// Errors of league/oauth2-server, with its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OAuthError {
    pub status: u16,
    pub error: &'static str,
    pub description: &'static str,
    pub hint: Option<String>,
    /// Older servers say it all a second time.
    pub message: Option<&'static str>,
}

const MALFORMED: &str = "The request is missing a required parameter, includes an invalid parameter value, includes a \
                         parameter more than once, or is otherwise malformed.";
const BAD_GRANT: &str = "The provided authorization grant (e.g., authorization code, resource owner credentials) or \
                         refresh token is invalid, expired, revoked, does not match the redirection URI used in the \
                         authorization request, or was issued to another client.";
const BAD_REFRESH: &str = "The refresh token is invalid.";

impl OAuthError {
    fn new(status: u16, error: &'static str, description: &'static str, hint: Option<&str>) -> Self {
        Self { status, error, description, hint: hint.map(str::to_owned), message: None }
    }

    pub(super) fn invalid_request(hint: &str) -> Self {
        Self::new(400, "invalid_request", MALFORMED, Some(hint))
    }

    pub(super) fn missing(parameter: &str) -> Self {
        Self::invalid_request(&format!("Check the `{parameter}` parameter"))
    }

    pub(super) fn invalid_grant(hint: &str) -> Self {
        Self::new(400, "invalid_grant", BAD_GRANT, Some(hint))
    }

    pub(super) fn invalid_refresh_token(hint: &str) -> Self {
        Self::new(400, "invalid_grant", BAD_REFRESH, Some(hint))
    }

    /// The same as league 8 put it.
    pub(super) fn invalid_refresh_token_league8(hint: &str) -> Self {
        Self { message: Some(BAD_REFRESH), ..Self::new(401, "invalid_request", BAD_REFRESH, Some(hint)) }
    }

    pub(super) fn invalid_client() -> Self {
        Self::new(401, "invalid_client", "Client authentication failed", None)
    }

    pub(super) fn invalid_scope(scope: &str) -> Self {
        let hint = format!("Check the `{scope}` scope");
        Self::new(400, "invalid_scope", "The requested scope is invalid, unknown, or malformed", Some(&hint))
    }

    pub(super) fn unsupported_grant_type() -> Self {
        let description = "The authorization grant type is not supported by the authorization server.";
        Self::new(
            400,
            "unsupported_grant_type",
            description,
            Some("Check that all required parameters have been provided"),
        )
    }

    pub(super) fn access_denied() -> Self {
        let description = "The resource owner or authorization server denied the request.";
        Self::new(401, "access_denied", description, Some("The user denied the request"))
    }

    pub(super) fn login_required() -> Self {
        let description = "The authorization server requires end-user authentication.";
        Self::new(401, "login_required", description, Some("The user is not authenticated"))
    }

    pub(super) fn consent_required() -> Self {
        Self::new(401, "consent_required", "The authorization server requires end-user consent.", None)
    }

    fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        [("error", Some(self.error)), ("error_description", Some(self.description)), ("hint", self.hint.as_deref())]
            .into_iter()
            .chain([("message", self.message)])
            .filter_map(|(name, value)| value.map(|value| (name, value)))
    }

    /// As JSON. `basic` says whether the request had an `Authorization` header, which a 401 answers with a challenge.
    pub(super) fn into_answer(self, basic: bool) -> Answer {
        let members = self.members().map(|(name, value)| (name, Json::from(value)));
        let answer = Answer::json(self.status, Json::object_of(members));
        if basic && self.error == "invalid_client" {
            return answer.with("WWW-Authenticate", r#"Basic realm="OAuth""#);
        }
        answer
    }

    /// As something that a fault can answer.
    pub(super) fn into_raw(self) -> RawAnswer {
        let answer = self.into_answer(false);
        let body = match answer.content {
            Content::Whole(bytes) => bytes.to_vec(),
            Content::Cut(_) | Content::Stream(_) => Vec::new(),
        };
        RawAnswer { status: answer.status, headers: answer.headers, body }
    }

    /// As a redirect back to the client.
    pub(super) fn into_redirect(self, redirect_uri: &str, state: Option<&str>) -> Answer {
        let pairs = state.map(|state| ("state", state)).into_iter().chain(self.members());
        Answer::redirect_bare(&with_query(redirect_uri, pairs))
    }
}

/// The URI with these parameters behind those that it has, encoded as PHP's `http_build_query` does.
pub(super) fn with_query<'a>(uri: &str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("{uri}{}{query}", if uri.contains('?') { '&' } else { '?' })
}
