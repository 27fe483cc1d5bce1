//! The management API: everything that an administrator can do, for programs. A handler reads, asks the broker, answers.
//!
//! It lives under `/api/v1` on the web listener, takes an admin key and nothing else, and describes itself in OpenAPI.

mod answer;
mod apps;
mod audit;
mod body;
mod cursor;
mod describe;
mod given;
mod grants;
mod key;
mod problem;
mod schema;
mod thing;
mod users;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::any_service;
use bytes::Bytes;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::broker::Broker;

/// What every handler can reach. Cheap to clone.
#[derive(Clone)]
struct Api {
    broker: Broker,
    description: Bytes,
}

/// The management API of a broker, to be put beside the pages.
pub fn router(broker: Broker) -> Router {
    let (routes, description) = OpenApiRouter::with_openapi(describe::frame(&broker.settings.public_url))
        .routes(routes!(users::list, users::make))
        .routes(routes!(users::remove))
        .routes(routes!(grants::list, grants::add_token))
        .routes(routes!(grants::show, grants::disconnect))
        .routes(routes!(grants::refresh))
        .routes(routes!(apps::list, apps::make))
        .routes(routes!(apps::roll))
        .routes(routes!(apps::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(describe::show))
        .split_for_parts();
    let api = Api { broker, description: describe::finish(description) };
    let service = routes
        .fallback(answer::unknown)
        .method_not_allowed_fallback(answer::wrong_method)
        .layer(from_fn_with_state(api.clone(), key::authenticate))
        .layer(CatchPanicLayer::custom(answer::panicked))
        .layer(from_fn_with_state(api.clone(), answer::finish))
        .with_state(api);
    // One service for all of `/api`, so that nothing there is ever answered by a page.
    Router::new()
        .route("/api", any_service(service.clone()))
        .route("/api/", any_service(service.clone()))
        .route("/api/{*rest}", any_service(service))
}
