//! The listener: reads requests, has them answered, and sends the answers, broken ones too.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::Response;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::answer::{Answer, Content, Outcome};
use super::call::Call;
use super::config::{Account, Client, SandboxConfig};
use super::faults::Faults;
use super::mint::Mint;
use super::rate::Limits;
use super::routes;
use super::state::Memory;
use super::tokens::Span;

/// A longer body is read and counted, but only so much of it is looked at.
const BODY_KEPT: usize = 1 << 20;
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(75);
/// How long running requests may take once the sandbox stops.
const DRAIN: Duration = Duration::from_secs(2);

/// What every request needs.
pub(super) struct Shared {
    pub config: SandboxConfig,
    pub memory: Memory,
    pub mint: Mint,
    pub faults: Faults,
    pub limits: Limits,
    pub local: SocketAddr,
    stopping: watch::Receiver<bool>,
}

impl Shared {
    /// What is needed before the first request.
    pub(super) fn new(
        config: SandboxConfig,
        memory: Memory,
        local: SocketAddr,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self {
            mint: Mint::new(config.entropy.clone(), config.marker.as_deref()),
            faults: Faults::new(memory.clone(), config.clock.clone()),
            limits: Limits::default(),
            config,
            memory,
            local,
            stopping,
        }
    }

    /// The provider's time, in milliseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.config.clock.uncorrected().millis()
    }

    /// The moment so long after now.
    pub(super) fn after(&self, span: Duration) -> i64 {
        self.config.clock.uncorrected().plus(span).millis()
    }

    /// The life of tokens that are issued now.
    pub(super) fn span(&self) -> Span {
        let config = &self.config;
        Span {
            now: self.now(),
            access: self.after(config.access_lifetime),
            refresh: self.after(config.refresh_lifetime),
        }
    }

    /// Resolves when the sandbox stops.
    pub(super) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stopping = self.stopping.clone();
        async move {
            let _ = stopping.wait_for(|stop| *stop).await;
        }
    }

    pub(super) fn client(&self, id: &str) -> Option<Client> {
        let configured = self.config.clients.iter().find(|client| client.id == id).cloned();
        configured.or_else(|| self.memory.lock().clients.get(id).map(|client| client.as_client(id)))
    }

    pub(super) fn account(&self, id: u32) -> Option<&Account> {
        self.config.accounts.iter().find(|account| account.id == id)
    }
}

/// Accepts connections until the sandbox stops, then lets running requests end.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shared.stopped() => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => drop(connections.spawn(connection(stream, peer.ip(), Arc::clone(&shared)))),
            // Out of file descriptors, most likely: others must end first.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
}

async fn connection(stream: TcpStream, peer: IpAddr, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let served = Arc::clone(&shared);
    let service = service_fn(move |request| respond(request, peer, Arc::clone(&served)));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => {}
        () = shared.stopped() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Answers one request. An error ends the connection without an answer.
async fn respond(request: http::Request<Incoming>, peer: IpAddr, shared: Arc<Shared>) -> io::Result<Response<Body>> {
    if shared.faults.is_unreachable() {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    // In a task of its own: as a real server, it goes on when the client hangs up.
    let answered = tokio::spawn(async move {
        let (call, body_len) = read(request, peer, &shared).await?;
        shared.faults.counts.record(&call, body_len);
        let outcome = routes::answer(&shared, &call).await;
        Ok::<_, io::Error>((outcome, shared))
    });
    match answered.await.map_err(io::Error::other)?? {
        (Outcome::HangUp, _) => Err(io::ErrorKind::ConnectionAborted.into()),
        (Outcome::Answer(answer), shared) => send(answer, &shared),
    }
}

async fn read(request: http::Request<Incoming>, peer: IpAddr, shared: &Shared) -> io::Result<(Call, usize)> {
    let (head, mut body) = request.into_parts();
    let mut kept = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(io::Error::other)?;
        if let Some(data) = frame.data_ref() {
            length += data.len();
            kept.extend_from_slice(&data[..data.len().min(BODY_KEPT - kept.len())]);
        }
    }
    let host = head.headers.get("host").and_then(|host| host.to_str().ok());
    let plain =
        |host: &&str| !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b));
    let origin = match host.filter(plain) {
        Some(host) => format!("http://{host}"),
        None => format!("http://{}", shared.local),
    };
    let target = head.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    let call = Call { method: head.method, target, headers: head.headers, body: kept.freeze(), origin, peer };
    Ok((call, length))
}

fn send(answer: Answer, shared: &Shared) -> io::Result<Response<Body>> {
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    if !answer.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("date")) {
        response = response.header("Date", date(shared));
    }
    let body: Body = match answer.content {
        Content::Whole(bytes) => Full::new(bytes).map_err(never).boxed_unsync(),
        Content::Cut(bytes) => {
            response = response.header("Content-Length", bytes.len());
            let half = bytes.slice(..bytes.len() / 2);
            // The pause lets the half go out before the connection breaks.
            let cut = stream::once(async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(io::ErrorKind::ConnectionAborted.into())
            });
            StreamBody::new(stream::iter([Ok(Frame::data(half))]).chain(cut)).boxed_unsync()
        }
        Content::Stream(pieces) => StreamBody::new(stream::unfold(pieces, |mut pieces| async {
            let piece = pieces.recv().await?;
            Some((Ok(Frame::data(piece)), pieces))
        }))
        .boxed_unsync(),
    };
    response.body(body).map_err(io::Error::other)
}

fn never(never: Infallible) -> io::Error {
    match never {}
}

/// The sandbox's own time, and not the machine's, as `Date`; wrong by as much as a test wants.
fn date(shared: &Shared) -> String {
    let millis = shared.now().saturating_add(shared.faults.date_off_by().saturating_mul(1000)).max(0);
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since)
}
