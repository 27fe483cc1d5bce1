//! The client towards the provider: HTTP/1.1 connections that are kept, one call on each at a time.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::BoxFuture;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Method, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, timeout};
use tower::Service as _;

use super::cork::{Cork, Corked, Leftover};
use super::framing::Malformed;
use super::pulse::{Pulse, Wait};
use super::received::Received;
use super::response::{Head, take_head};
use super::sending::{Sending, Stopped};
use super::sent::{BodyCut, Record};
use super::settings::{Base, ProxySettings};

type Io = TokioIo<MaybeHttpsStream<TokioIo<Corked>>>;

/// The most connections that are kept for later calls.
const MOST_KEPT: usize = 1_024;

/// So much is read at once.
const SPACE: usize = 16 * 1024;

/// Why there is no answer.
pub(super) enum NoAnswer {
    /// No connection could be made.
    Unreachable,
    /// It took too long.
    Timeout,
    /// The connection broke, or what came is no HTTP; the call may have been carried out.
    Broken,
}

/// A connection to the provider.
pub(super) struct Link {
    io: Io,
    /// What was read and not taken yet.
    pub(super) unread: BytesMut,
    /// The request that is being sent, or was.
    sending: Option<Sending>,
    /// Not all of it has left.
    unsent: bool,
    idle_since: Instant,
}

impl Link {
    /// Sends what can be sent of the request.
    ///
    /// # Errors
    /// Its body broke off: there is nothing to wait for.
    pub(super) fn send(&mut self, cx: &mut Context<'_>) -> Result<(), BodyCut> {
        let Some(sending) = &mut self.sending else { return Ok(()) };
        let outcome = sending.poll(&mut self.io, cx);
        // Also when all of it has left: at the end of the turn the socket may have had no room for the last of it.
        self.unsent = !matches!(outcome, Poll::Ready(Ok(())));
        let Poll::Ready(Err(stopped)) = outcome else { return Ok(()) };
        self.sending = None;
        match stopped {
            Stopped::Body => Err(BodyCut),
            // The answer may be here nevertheless, and say why.
            Stopped::Connection => Ok(()),
        }
    }

    /// Reads more: so many bytes, none at the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
        self.unread.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    /// Reads the head of the answer to a request with this method.
    fn poll_head(&mut self, method: &Method, cx: &mut Context<'_>) -> Poll<Result<Head, NoAnswer>> {
        loop {
            match ready!(self.poll_read(cx)) {
                Ok(read) if read > 0 => {}
                _ => return Poll::Ready(Err(NoAnswer::Broken)),
            }
            match take_head(&mut self.unread, method) {
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {}
                Err(Malformed) => return Poll::Ready(Err(NoAnswer::Broken)),
            }
        }
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

    /// Sends one request and waits for the head of its answer.
    pub(super) async fn send(
        self: &Arc<Self>,
        sending: Sending,
        pulse: &Arc<Pulse>,
        sent: Option<&Record>,
        first_byte: Duration,
    ) -> Result<(Head, Received), NoAnswer> {
        let mut link = match self.take().await {
            Some(link) => link,
            None => self.connect().await?,
        };
        let method = sending.method.clone();
        (link.sending, link.unsent) = (Some(sending), true);
        let wait = Wait::default();
        wait.restart(pulse);
        let mut so_far = 0;
        let head = poll_fn(|cx| {
            if link.send(cx).is_err() {
                return Poll::Ready(Err(NoAnswer::Broken));
            }
            // The first byte is waited for from the last byte that was sent.
            if let Some(bytes) = sent.map(Record::bytes).filter(|bytes| *bytes != so_far) {
                so_far = bytes;
                wait.restart(pulse);
            }
            match link.poll_head(&method, cx) {
                Poll::Pending if wait.is_over(pulse, first_byte) => Poll::Ready(Err(NoAnswer::Timeout)),
                outcome => outcome,
            }
        });
        let head = head.await?;
        let body = Received::new(&head, link, Arc::clone(self), Arc::clone(pulse));
        Ok((head, body))
    }

    /// The connection that was used last, if one is kept and still open.
    async fn take(&self) -> Option<Box<Link>> {
        loop {
            let mut link = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if link.idle_since.elapsed() > self.keep {
                // Those below it have been idle for longer.
                self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
                return None;
            }
            // Nothing is to come, not even the end.
            if poll_fn(|cx| Poll::Ready(link.poll_read(cx).is_pending())).await {
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
            let (io, unread) = (TokioIo::new(io), BytesMut::new());
            Ok(Box::new(Link { io, unread, sending: None, unsent: false, idle_since: Instant::now() }))
        };
        // The connector bounds the TCP handshake; this bounds that of TLS too.
        timeout(self.connect_timeout, connect).await.unwrap_or(Err(NoAnswer::Timeout))
    }

    /// Keeps a connection whose answer was read to its end, if it can take another request.
    pub(super) fn keep(&self, mut link: Box<Link>) {
        if link.unsent || !link.unread.is_empty() {
            return;
        }
        // Its memory is for those that are in use.
        link.unread = BytesMut::new();
        link.sending = None;
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

#[cfg(test)]
mod tests;
