//! The listener for operators: `/healthz`, `/readyz`, `/metrics`, and nothing else.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::exposition;
use super::{Health, Metrics};

#[derive(Clone)]
struct Ops {
    health: Health,
    metrics: Metrics,
    loopback_only: bool,
    count: Arc<dyn Fn() + Send + Sync>,
}

/// The routes; `count` brings what is only counted when it is asked for up to date. Listening on loopback, it answers to loopback names only, so that no web page can read the metrics by
/// pointing a name of its own here.
pub fn router(
    health: Health,
    metrics: Metrics,
    loopback_only: bool,
    count: impl Fn() + Send + Sync + 'static,
) -> Router {
    let ops = Ops { health, metrics, loopback_only, count: Arc::new(count) };
    Router::new()
        .route("/healthz", get(async || plain(StatusCode::OK, "ok\n")))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .fallback(async || plain(StatusCode::NOT_FOUND, "There is /healthz, /readyz and /metrics here.\n"))
        .method_not_allowed_fallback(async || plain(StatusCode::METHOD_NOT_ALLOWED, "Only GET is answered here.\n"))
        .layer(from_fn_with_state(ops.clone(), own_host))
        .with_state(ops)
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    (status, [(CACHE_CONTROL, "no-store")], text).into_response()
}

async fn ready(State(ops): State<Ops>) -> Response {
    let troubles: Vec<_> = ops.health.troubles().into_iter().map(super::Trouble::word).collect();
    let status = if troubles.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": troubles.is_empty(), "reasons": troubles });
    (status, [(CACHE_CONTROL, "no-store")], axum::Json(body)).into_response()
}

async fn metrics_text(State(ops): State<Ops>) -> Response {
    (ops.count)();
    let mut response = ops.metrics.render().into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(exposition::CONTENT_TYPE));
    response
}

async fn own_host(State(ops): State<Ops>, request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(HOST).iter();
    let ours = match (hosts.next(), hosts.next()) {
        (Some(host), None) => !ops.loopback_only || host.to_str().is_ok_and(is_loopback_name),
        _ => false,
    };
    if ours {
        next.run(request).await
    } else {
        plain(StatusCode::MISDIRECTED_REQUEST, "This host is not served here.\n")
    }
}

fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use tower::ServiceExt as _;

    use super::*;
    use crate::ambient::Clock;
    use crate::telemetry::Trouble;

    async fn ask(health: &Health, method: &str, path: &str, host: &str) -> (u16, String) {
        let metrics = Metrics::new(Clock::system(), health.clone());
        let request = Request::builder().method(method).uri(path).header(HOST, host).body(Body::empty()).unwrap();
        let response = router(health.clone(), metrics, true, || ()).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        (status, String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_tells_every_reason() {
        let health = Health::starting();
        health.set(Trouble::Storage);
        let (status, body) = ask(&health, "GET", "/readyz", "localhost:8702").await;
        assert_eq!((status, body.as_str()), (503, r#"{"ready":false,"reasons":["starting","storage"]}"#));
        health.clear(Trouble::Starting);
        health.clear(Trouble::Storage);
        assert_eq!(ask(&health, "GET", "/readyz", "127.0.0.1").await.0, 200);
        assert_eq!(ask(&health, "GET", "/healthz", "[::1]:8702").await, (200, "ok\n".to_owned()));
    }

    #[tokio::test]
    async fn there_is_nothing_else_and_no_other_host() {
        let health = Health::starting();
        assert_eq!(ask(&health, "GET", "/", "localhost").await.0, 404);
        assert_eq!(ask(&health, "GET", "/metrics/", "localhost").await.0, 404);
        assert_eq!(ask(&health, "POST", "/metrics", "localhost").await.0, 405);
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil:8702", "[::2]"] {
            assert_eq!(ask(&health, "GET", "/metrics", host).await.0, 421, "{host}");
        }
    }
}
