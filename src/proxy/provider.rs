//! The client towards the provider: HTTP/1.1 connections that are kept, one call on each at a time.
//!
//! A connection is driven by the call that uses it, within that call's task. hyper-util's pooled client gives each
//! connection a task of its own, and every call then pays for waking it and being woken by it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};
use tower::Service as _;

use super::cork::{Cork, Corked, Leftover};
use super::pulse::{Pulse, Wait};
use super::received::Received;
use super::sent::{Record, SentBody};
use super::settings::{Base, ProxySettings};

type Io = MaybeHttpsStream<TokioIo<Corked>>;

/// The most connections that are kept for later calls.
const MOST_KEPT: usize = 1_024;

/// The most that is buffered of what goes each way on one connection, which a client that does not read keeps full.
pub(super) const MOST_BUFFERED: usize = 64 * 1024;

/// Why there is no answer.
pub(super) enum NoAnswer {
    /// No connection could be made.
    Unreachable,
    /// It took too long.
    Timeout,
    /// The connection broke, or what came is no HTTP; the call may have been carried out.
    Broken,
    /// A kept connection had just been closed: not a byte was sent.
    Unsent(Box<Request<SentBody>>),
}

/// A connection to the provider.
pub(super) struct Link {
    send: SendRequest<SentBody>,
    /// Nothing once it has ended: what it had not sent is handed back when it is dropped.
    connection: Option<Connection<Io, SentBody>>,
    idle_since: Instant,
}

impl Link {
    /// Lets the connection do what it can.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.connection, cx);
    }

    pub(super) const fn is_open(&self) -> bool {
        self.connection.is_some()
    }
}

fn drive(connection: &mut Option<Connection<Io, SentBody>>, cx: &mut Context<'_>) {
    if let Some(open) = connection
        && Pin::new(open).poll(cx).is_ready()
    {
        *connection = None;
    }
}

/// Makes connections whose writes wait for the end of the turn.
#[derive(Clone)]
struct Tcp {
    connector: HttpConnector,
    cork: Arc<Cork>,
}

impl tower::Service<Uri> for Tcp {
    type Response = TokioIo<Corked>;
    type Error = <HttpConnector as tower::Service<Uri>>::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, cork) = (self.connector.call(uri), Arc::clone(&self.cork));
        Box::pin(async move { Ok(TokioIo::new(Corked::new(connecting.await?.into_inner(), cork, Leftover::Dropped))) })
    }
}

/// One of the provider's servers.
pub(super) struct Server {
    uri: Uri,
    connector: HttpsConnector<Tcp>,
    connect_timeout: Duration,
    keep: Duration,
    #[expect(clippy::vec_box, reason = "a link is large, and moves with every call")]
    kept: Mutex<Vec<Box<Link>>>,
    /// What `Host` says.
    pub(super) host: HeaderValue,
}

impl Server {
    pub(super) fn new(base: &Base, settings: &ProxySettings, cork: Arc<Cork>) -> Arc<Self> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(settings.connect_timeout));
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        let tls = settings.tls.clone();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Tcp { connector: tcp, cork });
        Arc::new(Self {
            uri: uri_of(base),
            connector,
            connect_timeout: settings.connect_timeout,
            keep: settings.keep_upstream,
            kept: Mutex::default(),
            host: base.host.clone(),
        })
    }

    /// Sends one request and waits for the head of its answer. A kept connection is looked at first where `surely`: else it
    /// may turn out only then that the provider has closed it.
    pub(super) async fn send(
        self: &Arc<Self>,
        request: Request<SentBody>,
        pulse: &Arc<Pulse>,
        sent: Option<&Record>,
        first_byte: Duration,
        surely: bool,
    ) -> Result<Response<Received>, NoAnswer> {
        let mut link = match self.take(surely).await {
            Some(link) => link,
            None => self.connect().await?,
        };
        let wait = Wait::default();
        wait.restart(pulse);
        let mut so_far = 0;
        let outcome = {
            let Link { send, connection, .. } = &mut *link;
            let mut answer = pin!(send.try_send_request(request));
            poll_fn(|cx| {
                drive(connection, cx);
                // The first byte is waited for from the last byte that was sent.
                if let Some(bytes) = sent.map(Record::bytes).filter(|bytes| *bytes != so_far) {
                    so_far = bytes;
                    wait.restart(pulse);
                }
                match answer.as_mut().poll(cx) {
                    Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                    Poll::Pending if wait.is_over(pulse, first_byte) => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await
        };
        match outcome {
            None => Err(NoAnswer::Timeout),
            Some(Ok(response)) => Ok(response.map(|body| self.receive(link, body, pulse))),
            Some(Err(mut failed)) => match failed.take_message() {
                Some(request) => Err(NoAnswer::Unsent(Box::new(request))),
                None => Err(NoAnswer::Broken),
            },
        }
    }

    fn receive(self: &Arc<Self>, link: Box<Link>, body: Incoming, pulse: &Arc<Pulse>) -> Received {
        Received::new(body, link, Arc::clone(self), Arc::clone(pulse))
    }

    /// The connection that was used last, if one is kept and still open as far as is known, or surely.
    async fn take(&self, surely: bool) -> Option<Box<Link>> {
        loop {
            let mut link = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if link.idle_since.elapsed() > self.keep {
                // Those below it have been idle for longer.
                self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
                return None;
            }
            if surely {
                poll_fn(|cx| {
                    link.drive(cx);
                    Poll::Ready(())
                })
                .await;
            }
            if link.is_open() && link.send.is_ready() {
                return Some(link);
            }
        }
    }

    async fn connect(&self) -> Result<Box<Link>, NoAnswer> {
        let connect = async {
            let mut connector = self.connector.clone();
            let io = connector.call(self.uri.clone()).await.map_err(|cause| {
                tracing::warn!(error = %Causes(&*cause), "No connection to the provider can be made");
                NoAnswer::Unreachable
            })?;
            let (send, connection) = http1::Builder::new()
                .max_buf_size(MOST_BUFFERED)
                .handshake(io)
                .await
                .map_err(|_| NoAnswer::Unreachable)?;
            Ok(Box::new(Link { send, connection: Some(connection), idle_since: Instant::now() }))
        };
        // The connector bounds the TCP handshake; this bounds that of TLS too.
        timeout(self.connect_timeout, connect).await.unwrap_or(Err(NoAnswer::Timeout))
    }

    /// Keeps a connection whose answer was read to its end, if it can take another request.
    pub(super) fn keep(&self, mut link: Box<Link>) {
        if !link.is_open() || !link.send.is_ready() {
            return;
        }
        link.idle_since = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MOST_KEPT {
            kept.push(link);
        }
    }

    /// Closes connections that have been idle for too long.
    pub(super) fn sweep(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|link| link.idle_since.elapsed() <= self.keep);
    }
}

/// Scheme and authority, which is all that a connector looks at.
fn uri_of(base: &Base) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if base.url.scheme() == "https" { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Authority::from_maybe_shared(bytes::Bytes::copy_from_slice(base.host.as_bytes())).ok();
    parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    Uri::from_parts(parts).unwrap_or_default()
}

/// An error and what caused it, in one line.
struct Causes<'a>(&'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
