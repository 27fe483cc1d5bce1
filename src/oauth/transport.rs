//! The one way out to the provider's OAuth endpoints and probes: no redirects, no environment proxies, no referrer, a
//! body cap, and the knowledge whether a request may have arrived. `reqwest` stays in here.

use std::convert::Infallible;
use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use crate::ambient::Clock;
use crate::domain::time::Timestamp;

/// The longest answer that is read.
const MAX_BODY: usize = 256 * 1024;

/// The longest wait that a `Retry-After` can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// The name has no address.
    Name,
    /// The certificate is not trusted, or TLS failed otherwise.
    Tls,
    /// The connection was refused, or there is no way there.
    Connection,
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "its name has no address",
            Self::Tls => "its certificate is not trusted",
            Self::Connection => "no connection can be made",
        })
    }
}

/// What came of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Not a byte of the request was sent.
    NotSent(NotSent),
    /// No answer within the time-out; the request may have arrived.
    TimedOut,
    /// The connection ended before an answer; the request may have arrived.
    Cut,
    /// An answer.
    Answered(Answer),
}

/// An answer, as far as anybody here needs it.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: Option<String>,
    pub(super) location: Option<String>,
    pub(super) retry_after: Option<Duration>,
    /// The provider's own clock.
    pub(super) date: Option<Timestamp>,
    /// Nothing when it was cut short or is over the cap.
    pub(super) body: Option<Zeroizing<Vec<u8>>>,
}

impl Answer {
    /// Whether it is a page for people.
    pub(super) fn is_page(&self) -> bool {
        let html = |kind: &str| kind.trim_start().to_ascii_lowercase().starts_with("text/html");
        self.content_type.as_deref().is_some_and(html)
            || self.body.as_deref().is_some_and(|body| body.trim_ascii_start().starts_with(b"<"))
    }
}

/// The client can't be made.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The extra certificates can't be read.
    #[error("KEYFOB_TESLASCOPE_CA_FILE: {path} is not a readable file of PEM certificates")]
    CaFile {
        /// The file.
        path: PathBuf,
    },
    /// TLS can't be set up on this machine.
    #[error(
        "no certificates of certificate authorities are installed: install the package `ca-certificates`, or set KEYFOB_TESLASCOPE_CA_FILE"
    )]
    NoRoots,
}

/// TLS towards the provider: ring, the platform's roots, and those of `ca_file` beside them. `needed` is false where the
/// provider is plain `http` on loopback; then a machine without any roots is no fault.
///
/// # Errors
/// The file can't be read, or there are no roots at all.
pub fn tls_config(ca_file: Option<&Path>, needed: bool) -> Result<rustls::ClientConfig, TransportError> {
    let extra = match ca_file {
        None => Vec::new(),
        Some(path) => CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .ok()
            .filter(|found| !found.is_empty())
            .ok_or_else(|| TransportError::CaFile { path: path.to_owned() })?,
    };
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&ring))
        .with_safe_default_protocol_versions()
        .map_err(|_| TransportError::NoRoots)?;
    match rustls_platform_verifier::Verifier::new_with_extra_roots(extra, ring) {
        Ok(verifier) => {
            Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
        }
        Err(_) if !needed => Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()),
        Err(_) => Err(match ca_file {
            Some(path) => TransportError::CaFile { path: path.to_owned() },
            None => TransportError::NoRoots,
        }),
    }
}

/// Sends requests to the provider.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    http: reqwest::Client,
    timeout: Duration,
    clock: Clock,
}

impl Transport {
    pub(super) fn new(tls: rustls::ClientConfig, timeout: Duration, clock: Clock) -> Result<Self, TransportError> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .http1_only()
            // A connection of its own for every request: on a kept one a close by the server at that moment leaves it
            // unknown whether the request arrived.
            .pool_max_idle_per_host(0)
            .connect_timeout(timeout.min(Duration::from_secs(10)))
            .user_agent(concat!("keyfob/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|_| TransportError::NoRoots)?;
        Ok(Self { http, timeout, clock })
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Sends one request, once.
    pub(super) async fn send(&self, request: http::Request<Vec<u8>>) -> Outcome {
        let Ok(request) = reqwest::Request::try_from(request) else {
            return Outcome::NotSent(NotSent::Connection);
        };
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::TimedOut,
        }
    }

    async fn exchange(&self, request: reqwest::Request) -> Outcome {
        let mut response = match self.http.execute(request).await {
            Ok(response) => response,
            Err(error) => return failure(&error),
        };
        let text = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let date = text(http::header::DATE).and_then(|date| httpdate::parse_http_date(&date).ok()).and_then(timestamp);
        let now = date.unwrap_or_else(|| self.clock.now());
        let mut answer = Answer {
            status: response.status().as_u16(),
            content_type: text(http::header::CONTENT_TYPE),
            location: text(http::header::LOCATION),
            retry_after: text(http::header::RETRY_AFTER).and_then(|wait| retry_after(&wait, now)),
            date,
            body: None,
        };
        let mut body = Zeroizing::new(Vec::with_capacity(8 * 1024));
        answer.body = loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BODY => break None,
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break Some(body),
                Err(_) => {
                    // What came of it may hold whole tokens.
                    break (!body.is_empty() && answer.status == 200).then_some(body);
                }
            }
        };
        Outcome::Answered(answer)
    }

    /// Sends one of `oauth2`'s requests and keeps the answer to ourselves: its own parser refuses answers that must be
    /// taken, and its errors hold the body.
    pub(super) fn catch(&self) -> Catch<'_> {
        Catch { transport: self, caught: Mutex::new(None) }
    }
}

/// Whether the request can have arrived, and nothing else of the error: its text holds the address.
fn failure(error: &reqwest::Error) -> Outcome {
    if !error.is_connect() {
        return if error.is_timeout() { Outcome::TimedOut } else { Outcome::Cut };
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.is::<rustls::Error>() || io_cause::<rustls::Error>(cause) {
            return Outcome::NotSent(NotSent::Tls);
        }
        source = cause.source();
    }
    Outcome::NotSent(if error.is_dns() { NotSent::Name } else { NotSent::Connection })
}

fn io_cause<E: std::error::Error + 'static>(cause: &(dyn std::error::Error + 'static)) -> bool {
    let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<E>)
}

fn timestamp(at: std::time::SystemTime) -> Option<Timestamp> {
    let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok().map(Timestamp::from_millis)
}

/// Seconds or a date (RFC 9110 10.2.3).
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let wait = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => timestamp(httpdate::parse_http_date(text.trim()).ok()?)?.since(now),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// Stands in for a client of `oauth2`'s: sends, keeps what came, and gives `oauth2` nothing.
///
/// A named type, since a closure here makes the callers' futures non-`Send`.
pub(super) struct Catch<'t> {
    transport: &'t Transport,
    caught: Mutex<Option<Outcome>>,
}

impl Catch<'_> {
    /// What came; not sent, when `oauth2` did not even ask.
    pub(super) fn into_outcome(self) -> Outcome {
        let caught = self.caught.into_inner().unwrap_or_else(PoisonError::into_inner);
        caught.unwrap_or(Outcome::NotSent(NotSent::Connection))
    }
}

/// `oauth2` is never given an answer.
#[derive(Debug, thiserror::Error)]
#[error("the answer is read elsewhere")]
pub(super) struct Caught(#[source] Option<Infallible>);

impl<'c> AsyncHttpClient<'c> for Catch<'_> {
    type Error = Caught;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Caught>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let outcome = self.transport.send(request).await;
            *self.caught.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
            Err(Caught(None))
        })
    }
}
