//! An accept loop over hyper: `axum::serve` has no timeout for request heads and no cap on connections.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::StatusCode;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt as _;
use tower_http::timeout::TimeoutLayer;

use super::HEAD_TIMEOUT;
use crate::telemetry::{Listener, Metrics};

/// What one listener may hold, and how long it may take to end.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; further ones wait in the system's queue.
    pub connections: usize,
    /// How long a request may take from its head to the beginning of its answer, its body included.
    pub request: Duration,
    /// How long running requests may take to end.
    pub drain: Duration,
}

/// Serves a router until told to stop, then lets running requests end for as long as they may.
pub async fn accept(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    metrics: Metrics,
    name: Listener,
    mut stopping: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(limits.connections));
    // A body that comes byte by byte must not hold a connection's place for ever.
    let router = router.layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, limits.request));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = next(&listener, &room) => accepted,
        };
        if let Some((stream, permit)) = accepted {
            let counted = metrics.connection(name);
            let (router, stopping) = (router.clone(), stopping.clone());
            connections.spawn(async move {
                let _held = (permit, counted);
                serve_connection(stream, router, stopping).await;
            });
        }
    }
    drop(listener);
    let drained = tokio::time::timeout(limits.drain, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "Requests were still running after the drain time and are cut off"
        );
    }
}

/// A connection and the place that it takes. Dropping this future before it is done loses neither.
async fn next(listener: &TcpListener, room: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            if !matches!(error.kind(), std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::ConnectionReset) {
                // Out of files or memory: trying again at once would only spin.
                tracing::warn!(error = %error, "A connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            None
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router, mut stopping: watch::Receiver<bool>) {
    let Ok(peer) = stream.peer_addr() else { return };
    let _ = stream.set_nodelay(true);
    let service = router.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.map(axum::body::Body::new)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(connection);
    // What a client sends that is no HTTP, or that it hangs up, is its own business.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopping.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::ambient::Clock;
    use crate::telemetry::Health;

    #[tokio::test]
    async fn a_body_that_does_not_come_gives_its_place_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", axum::routing::post(async |body: String| body));
        let limits = Limits { connections: 1, request: Duration::from_millis(200), drain: Duration::from_secs(1) };
        let (stop, stopping) = watch::channel(false);
        let metrics = Metrics::new(Clock::system(), Health::starting());
        let serving = tokio::spawn(accept(listener, router, limits, metrics, Listener::Web, stopping));

        let ask = async |body: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\n";
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer).await;
            answer
        };
        assert!(ask("sl").await.starts_with("HTTP/1.1 408 "));
        assert!(ask("done").await.ends_with("done"), "the one place is free again");
        stop.send(true).unwrap();
        serving.await.unwrap();
    }
}
