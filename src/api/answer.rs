//! What every answer of the API goes through last: it gets its request id, problems get their body, and the log its one line.

use std::any::Any;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode};

use super::Api;
use super::key::KeyName;
use super::problem::{Kind, Problem};
use crate::broker::Broker;

/// Finds a request in the log.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("keyfob-request-id");

/// Gives the answer its id and its body, and logs the request.
pub(super) async fn finish(State(api): State<Api>, request: Request<Body>, next: Next) -> Response {
    let clock = &api.broker.clock;
    let begun = clock.elapsed();
    let id = format!("{:016x}", u64::from_be_bytes(api.broker.entropy.bytes()));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    let problem = response.extensions_mut().remove::<Arc<Problem>>();
    if let Some(problem) = &problem {
        problem.shown.write(&id, &mut response);
    }
    if let Ok(value) = HeaderValue::try_from(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let status = response.status();
    let took = u64::try_from(clock.elapsed().saturating_sub(begun).as_millis()).unwrap_or(u64::MAX);
    let code = problem.as_ref().map_or("", |problem| problem.shown.kind.code());
    let cause = problem.as_ref().and_then(|problem| problem.cause.as_deref());
    match (response.extensions_mut().remove::<KeyName>(), cause) {
        (key, Some(cause)) if status.is_server_error() => {
            let key = key.map(|KeyName(name)| name).unwrap_or_default();
            tracing::error!(request.id = %id, http.method = %method, http.path = %path, http.status = status.as_u16(), problem.code = code, admin_key.name = %key, duration_ms = took, error.cause = cause, "A call of the management API failed");
        }
        (Some(KeyName(key)), _) => {
            tracing::info!(request.id = %id, http.method = %method, http.path = %path, http.status = status.as_u16(), problem.code = code, admin_key.name = %key, duration_ms = took, "A call of the management API was answered");
        }
        // Whoever has no key can't fill the log.
        (None, _) => {
            tracing::debug!(request.id = %id, http.status = status.as_u16(), problem.code = code, "A call of the management API without a valid key was refused");
        }
    }
    response
}

/// 404 for a path of the API that is none.
pub(super) async fn unknown() -> Problem {
    Problem::new(Kind::UnknownEndpoint, "GET /api/v1/openapi.json describes the endpoints.")
}

/// 405; the router names the methods in `Allow`.
pub(super) async fn wrong_method() -> Problem {
    Problem::new(Kind::WrongMethod, "The header Allow names the methods that it takes.")
}

/// A handler that panicked.
pub(super) fn panicked(_payload: Box<dyn Any + Send>) -> Response {
    // The payload may hold anything; the panic hook has logged where it was.
    Problem::internal("a handler panicked").into_response()
}

/// 201 with the thing that was made, and where it is.
pub(super) fn made(broker: &Broker, place: &str, thing: impl serde::Serialize) -> Response {
    let mut response = (StatusCode::CREATED, axum::Json(thing)).into_response();
    let place = format!("{}/api/v1/{place}", prefix(&broker.settings.public_url));
    if let Ok(place) = HeaderValue::try_from(place) {
        response.headers_mut().insert(http::header::LOCATION, place);
    }
    response
}

/// The path of the public URL: a reverse proxy does not strip it, so callers need it.
fn prefix(public_url: &str) -> &str {
    let rest = public_url.split_once("://").map_or("", |(_, rest)| rest);
    rest.find('/').map_or("", |at| rest[at..].trim_end_matches('/'))
}
