//! One call by way of a proxy of this process's own: it passes every check that an app's own calls pass, and leaves its row
//! in the audit trail. The button on an app's page and the command line are its dress.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Broker;
use crate::domain::id::{AppId, UserId};
use crate::domain::route::{Need, RouteTable};
use crate::domain::scope::Scope;

/// How long a trial may take, from its first byte to its last.
const PATIENCE: Duration = Duration::from_secs(20);
/// So much of an answer is kept, in bytes.
const KEPT: usize = 6 * 1024;
/// So much of an answer is read, in bytes; the rest is left at the provider.
const READ: usize = 1024 * 1024;

/// Where a proxy of this process listens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Door {
    address: SocketAddr,
    host: String,
}

/// An answer whose body is still to come.
pub struct Answered {
    /// The answer.
    pub response: Response<Incoming>,
    connection: JoinHandle<()>,
}

/// Why a call got no answer.
#[derive(Debug, thiserror::Error)]
#[error("The call got no answer ({0}).")]
pub struct NoAnswer(String);

impl Door {
    /// The proxy that listens on an address and answers to `host` (`name[:port]`).
    #[must_use]
    pub fn new(mut listening: SocketAddr, host: &str) -> Self {
        // Whoever listens everywhere listens on loopback too.
        if listening.ip().is_unspecified() {
            listening.set_ip(match listening.ip() {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            });
        }
        Self { address: listening, host: host.to_owned() }
    }

    /// Makes one call with an app's key.
    ///
    /// # Errors
    /// [`NoAnswer`]
    pub async fn call(&self, method: Method, path: &Uri, key: &str, body: Bytes) -> Result<Answered, NoAnswer> {
        let failed = |error: &dyn std::error::Error| NoAnswer(error.to_string());
        let stream = TcpStream::connect(self.address).await.map_err(|e| failed(&e))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
        let connection = tokio::spawn(async move {
            // What goes wrong on the way is told by the answer or its body.
            let _ = connection.await;
        });
        let mut bearer = HeaderValue::try_from(format!("Bearer {key}")).map_err(|e| failed(&e))?;
        bearer.set_sensitive(true);
        let request = Request::builder()
            .method(method)
            .uri(path.clone())
            .header(HOST, &self.host)
            .header(AUTHORIZATION, bearer)
            .header(CONNECTION, "close")
            .body(Full::new(body))
            .map_err(|e| failed(&e))?;
        let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
        Ok(Answered { response, connection })
    }
}

/// What to try.
#[derive(Clone, Copy, Debug)]
pub struct TrialWish<'a> {
    /// As which app.
    pub app: AppId,
    /// Whose it is.
    pub user: UserId,
    /// A path of the API with its query.
    pub path: &'a str,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The answer's status.
    pub status: u16,
    /// The code of a refusal of ours; none where the provider answered.
    pub code: Option<String>,
    /// Where the user can mend a refusal of ours.
    pub consent_url: Option<String>,
    /// What the answer says that it is.
    pub content_type: String,
    /// The beginning of its body.
    pub body: Vec<u8>,
    /// Whether there was more.
    pub cut: bool,
    /// How long it took.
    pub took: Duration,
}

/// Why nothing was tried, or came of it.
#[derive(Debug, thiserror::Error)]
pub enum TrialRefusal {
    /// There is no such app of this user, or it is cut off.
    #[error("There is no such app.")]
    NotFound,
    /// It is no path of the API.
    #[error("must be a path of the API, like /api/vehicles")]
    NoPath,
    /// It would do something.
    #[error("needs the scope controls; only calls that read are made from here, never a command")]
    Command,
    /// No answer came in time, or none at all.
    #[error("got no answer; look at the log of this Keyfob, and whether its proxy runs")]
    NoAnswer(#[from] NoAnswer),
}

impl Broker {
    /// Makes one reading call as an app, with a key that lives no longer than the call.
    ///
    /// # Errors
    /// [`TrialRefusal`]
    pub async fn try_app(&self, wish: TrialWish<'_>, door: &Door, routes: &RouteTable) -> Result<Tried, TrialRefusal> {
        if !wish.path.starts_with("/api/") || !wish.path.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(TrialRefusal::NoPath);
        }
        let path: Uri = wish.path.parse().map_err(|_| TrialRefusal::NoPath)?;
        // A path that the table refuses goes to no provider, and the refusal is what is to be seen.
        let moves = routes
            .judge(Method::GET.as_str(), path.path().as_bytes())
            .is_ok_and(|route| route.command || route.need == Need::Scope(Scope::Controls));
        if moves {
            return Err(TrialRefusal::Command);
        }
        let lent = self.lend_key_of(wish.app, wish.user).await.ok_or(TrialRefusal::NotFound)?;
        let began = self.clock.elapsed();
        let tried = timeout(PATIENCE, async {
            let answered = door.call(Method::GET, &path, lent.expose(), Bytes::new()).await?;
            Ok::<_, NoAnswer>(answered.read().await)
        });
        let mut tried = tried.await.map_err(|_| NoAnswer("it took too long".to_owned()))??;
        tried.took = self.clock.elapsed().saturating_sub(began);
        Ok(tried)
    }
}

impl Answered {
    /// Reads the body to its end, and waits until the call has left its row.
    async fn read(self) -> Tried {
        let (head, mut incoming) = self.response.into_parts();
        let text = |name: http::HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        let mut tried = Tried {
            status: head.status.as_u16(),
            code: text(http::HeaderName::from_static("keyfob-error")).map(str::to_owned),
            consent_url: None,
            content_type: text(CONTENT_TYPE).unwrap_or_default().to_owned(),
            body: Vec::new(),
            cut: false,
            took: Duration::ZERO,
        };
        let mut read = 0;
        while let Some(frame) = incoming.frame().await {
            let Ok(frame) = frame else {
                tried.cut = true;
                break;
            };
            let Ok(data) = frame.into_data() else { continue };
            read += data.len();
            let room = KEPT.saturating_sub(tried.body.len()).min(data.len());
            tried.body.extend_from_slice(&data[..room]);
            tried.cut |= room < data.len();
            if read > READ {
                break;
            }
        }
        drop(incoming);
        let _ = self.connection.await;
        if tried.code.is_some() {
            let problem: Option<serde_json::Value> = serde_json::from_slice(&tried.body).ok();
            tried.consent_url = problem.and_then(|problem| Some(problem.get("consent_url")?.as_str()?.to_owned()));
        }
        tried
    }
}
