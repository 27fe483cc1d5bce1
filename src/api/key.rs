//! Who calls: nobody without a live admin key, whatever the path and the method.

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::problem::{Kind, Problem};
use super::{Api, describe};
use crate::broker::Broker;

/// The proof that an admin key was shown: the broker, acting for it. Only [`authenticate`] makes one.
#[derive(Clone)]
pub(super) struct Admin(pub(super) Broker);

impl<S: Sync> FromRequestParts<S> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::internal("a request came past its key's check"))
    }
}

/// Lets only holders of an admin key on. The description is for everyone.
pub(super) async fn authenticate(State(api): State<Api>, mut request: Request<Body>, next: Next) -> Response {
    if request.uri().path() == describe::PATH {
        return next.run(request).await;
    }
    match admin(&api.broker, request.headers()).await {
        Ok((admin, name)) => {
            request.extensions_mut().insert(admin);
            let mut response = next.run(request).await;
            response.extensions_mut().insert(KeyName(name));
            response
        }
        Err(problem) => problem.into_response(),
    }
}

/// The name of the admin key that was shown, for the log.
#[derive(Clone)]
pub(super) struct KeyName(pub(super) String);

async fn admin(broker: &Broker, headers: &HeaderMap) -> Result<(Admin, String), Problem> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let missing = || {
        Problem::new(
            Kind::MissingKey,
            "Send an admin key as \"Authorization: Bearer kfa_...\". `keyfob admin-key add` makes one.",
        )
    };
    let invalid = || {
        broker.trail().count_unknown("invalid_admin_key");
        Problem::new(
            Kind::InvalidKey,
            "This is no admin key, or it was revoked. `keyfob admin-key add` makes a new one.",
        )
    };
    let value = given.next().ok_or_else(missing)?;
    let presented = bearer(value.as_bytes()).ok_or_else(missing)?;
    if given.next().is_some() {
        return Err(invalid());
    }
    let key = broker.admin_caller(presented).await?.ok_or_else(invalid)?;
    Ok((Admin(broker.acting_for(&format!("admin key {}", key.name))), key.name.to_string()))
}

/// What stands after `Bearer ` (RFC 6750 2.1), whatever the case of the word (RFC 9110 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}
