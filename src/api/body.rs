//! Reading a request's body: JSON, not too large, in time.

use std::error::Error as _;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use zeroize::Zeroizing;

use super::given::Given;
use super::problem::{Kind, Problem};

/// The most bytes of a body: a pasted token may take 16 KiB.
const LARGEST: usize = 64 * 1024;
/// How long a body may take to come.
const SLOWEST: Duration = Duration::from_secs(15);

/// The members of a JSON body; none when there is no body.
pub(super) struct Members(pub(super) Given);

impl<S: Sync> FromRequest<S> for Members {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let read = axum::body::to_bytes(request.into_body(), LARGEST);
        let bytes = match tokio::time::timeout(SLOWEST, read).await {
            // Secrets are in it.
            Ok(Ok(bytes)) => Zeroizing::new(bytes.to_vec()),
            Ok(Err(error))
                if error.source().is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>) =>
            {
                return Err(Problem::new(Kind::TooLarge, "Send at most 64 KiB."));
            }
            Ok(Err(_)) => return Err(Problem::new(Kind::BadBody, "The body broke off. Send it whole.")),
            Err(_) => return Err(Problem::new(Kind::TooSlow, "Send the whole body within 15 seconds.")),
        };
        if bytes.is_empty() {
            return Ok(Self(Given::default()));
        }
        if !is_json {
            return Err(Problem::new(Kind::WrongType, "Send JSON, with Content-Type: application/json."));
        }
        match serde_json::from_slice(&bytes) {
            Ok(given) => Ok(Self(given)),
            // The parser's words may quote a secret; its place does not.
            Err(error) => Err(Problem::new(
                Kind::BadBody,
                format!(
                    "The body must be one JSON object; it is not from line {}, column {} on.",
                    error.line(),
                    error.column()
                ),
            )),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else { return false };
    let Ok(kind) = kind.to_str() else { return false };
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}
