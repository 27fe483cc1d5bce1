//! Who asks: the session, the person behind it, the source, and the token of this browser's forms.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{ACCEPT, COOKIE, HeaderValue, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, Method};
use tower_sessions::Session;

use super::Web;
use super::csrf::{self, Holder};
use super::form::Fields;
use super::frame::{Frame, Notice, Section};
use super::guard::see_other;
use super::problem::Problem;
use super::session::{Member, cookie_name, id_hash};
use super::site::{Site, with_next};
use crate::broker::SignInRefusal;
use crate::domain::app::KeyHash;
use crate::domain::secret::{Password, Secret};
use crate::domain::time::Timestamp;
use crate::domain::user::{Role, User};

/// Where a session keeps the message for its next page.
const TOLD: &str = "told";

/// One request by somebody, signed in or not.
pub(crate) struct Visit {
    pub(crate) web: Web,
    pub(crate) session: Session,
    pub(crate) now: Timestamp,
    pub(crate) source: IpAddr,
    pub(crate) member: Option<(User, Member)>,
    csrf: String,
    here: String,
    told: Option<Notice>,
}

/// A random value that a browser without a session holds, for the sake of its forms.
#[derive(Clone)]
struct VisitorCookie {
    value: Arc<str>,
    wanted: Arc<AtomicBool>,
}

/// Reads the visitor cookie, or makes one up that is sent only if a form was made with it.
pub(crate) async fn visitor(State(web): State<Web>, mut request: Request<Body>, next: Next) -> Response {
    let name = web.site.cookie("keyfob_visitor");
    let found = cookie(request.headers(), &name).filter(|value| value.len() == 22);
    let fresh = found.is_none();
    let value = found.map_or_else(|| URL_SAFE_NO_PAD.encode(web.entropy.bytes::<16>()), str::to_owned);
    let visitor = VisitorCookie { value: value.into(), wanted: Arc::default() };
    request.extensions_mut().insert(visitor.clone());
    let mut response = next.run(request).await;
    if fresh && visitor.wanted.load(Ordering::Relaxed) {
        let secure = if web.site.secure() { "; Secure" } else { "" };
        let cookie = format!("{name}={}; HttpOnly; SameSite=Lax{secure}; Path=/", visitor.value);
        if let Ok(cookie) = HeaderValue::try_from(cookie) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }
    response
}

/// Removes a session cookie with the same attributes it was set with: browsers ignore the removal of a `__Host-` cookie without them.
pub(crate) async fn removal(State(web): State<Web>, request: Request<Body>, next: Next) -> Response {
    let mut response = next.run(request).await;
    let begins = format!("{}=;", cookie_name(&web.site));
    let cookies: Vec<_> = response.headers().get_all(SET_COOKIE).iter().cloned().collect();
    if cookies.iter().any(|cookie| cookie.as_bytes().starts_with(begins.as_bytes())) {
        response.headers_mut().remove(SET_COOKIE);
        let secure = if web.site.secure() { " Secure;" } else { "" };
        let gone = format!("{begins} HttpOnly; SameSite=Lax;{secure} Path=/; Max-Age=0");
        for cookie in cookies {
            let cookie = if cookie.as_bytes().starts_with(begins.as_bytes()) {
                HeaderValue::try_from(gone.as_str()).unwrap_or(cookie)
            } else {
                cookie
            };
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }
    response
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

impl Visit {
    /// What stands around a page of this visit.
    pub(crate) fn frame(&self, section: Section) -> Frame {
        Frame::new(&self.web.site, self.csrf.clone(), self.member.as_ref().map(|(user, _)| user), section)
            .noticing(self.told.clone())
    }

    /// The same, with a message of this page's own.
    pub(crate) fn frame_with(&self, section: Section, notice: Option<Notice>) -> Frame {
        match notice {
            Some(_) => self.frame(section).noticing(notice),
            None => self.frame(section),
        }
    }

    /// Leaves a message for the next page of this session.
    pub(crate) async fn tell(&self, notice: Notice) -> Result<(), Problem> {
        self.session.insert(TOLD, notice).await.map_err(Problem::unavailable)
    }

    /// 303 to a page of ours.
    pub(crate) fn to(&self, path: &str) -> Response {
        see_other(&format!("{}{path}", self.web.site.base()))
    }

    /// What an authorization request is bound to: this session, so that no other browser can complete it.
    pub(crate) fn browser(&self) -> KeyHash {
        let id = self.session.id().map(|id| id.to_string()).unwrap_or_default();
        KeyHash::of(format!("keyfob browser of an authorization\0{id}").as_bytes())
    }
}

impl FromRequestParts<Web> for Visit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Problem> {
        let session =
            parts.extensions.get::<Session>().cloned().ok_or_else(|| Problem::internal("no session layer"))?;
        let now = web.clock.now();
        let mut member = None;
        // A stream of events comes back by itself: that is no use of a session, shows no message, and must not take it from
        // the page that does.
        let shows = parts.headers.get(ACCEPT).is_none_or(|kinds| kinds != "text/event-stream");
        if let Some(found) = Member::of(&session, now, shows).await.map_err(Problem::unavailable)? {
            match web.broker.account(found.user).await.map_err(Problem::unavailable)? {
                Some(user) if user.disabled_at.is_none() => member = Some((user, found)),
                _ => session.flush().await.map_err(Problem::unavailable)?,
            }
        }
        let csrf = match (&member, session.id()) {
            (Some(_), Some(id)) => csrf::token(Holder::Session(&id.to_string())),
            _ => match parts.extensions.get::<VisitorCookie>() {
                Some(visitor) => {
                    visitor.wanted.store(true, Ordering::Relaxed);
                    csrf::token(Holder::Visitor(&visitor.value))
                }
                None => String::new(),
            },
        };
        let told = match (&member, &parts.method) {
            (Some(_), &Method::GET) if shows => take_told(&session).await?,
            _ => None,
        };
        let here = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        Ok(Self { session, now, source: source(web, parts), member, csrf, here, told, web: web.clone() })
    }
}

/// Takes the message for this page; a session without one is not written.
async fn take_told(session: &Session) -> Result<Option<Notice>, Problem> {
    if session.get_value(TOLD).await.map_err(Problem::unavailable)?.is_none() {
        return Ok(None);
    }
    session.remove(TOLD).await.map_err(Problem::unavailable)
}

/// Where a request comes from: the peer, or what a trusted proxy says of it, read from the right.
fn source(web: &Web, parts: &Parts) -> IpAddr {
    let peer = parts
        .extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ConnectInfo(peer)| peer.ip());
    let trusted = |ip: IpAddr| web.settings.trusted_proxies.iter().any(|network| network.contains(ip));
    if !trusted(peer) {
        return peer;
    }
    let said = parts.headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = said.flat_map(|value| value.split(',')).map(str::trim).collect();
    let mut source = peer;
    for hop in hops.iter().rev() {
        let Ok(ip) = hop.parse::<IpAddr>() else { break };
        source = ip;
        if !trusted(ip) {
            break;
        }
    }
    source
}

/// A visit by somebody who is signed in.
pub(crate) struct SignedIn {
    visit: Visit,
    pub(crate) user: User,
    member: Member,
}

impl Deref for SignedIn {
    type Target = Visit;

    fn deref(&self) -> &Visit {
        &self.visit
    }
}

/// Answers to somebody who may not.
pub(crate) enum Refused {
    /// To the sign-in page, and back afterwards.
    SignIn(String),
    Problem(Problem),
    /// The page again, with what is wrong in it.
    Page(Box<Response>),
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn(to) => see_other(&to),
            Self::Problem(problem) => problem.into_response(),
            Self::Page(page) => *page,
        }
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl SignedIn {
    fn of(visit: Visit, method: &Method) -> Result<Self, Refused> {
        if let Some((user, member)) = visit.member.clone() {
            return Ok(Self { visit, user, member });
        }
        // Only a page can be gone back to, not the effect of a form.
        let back = if *method == Method::GET && visit.here != "/" { visit.here.as_str() } else { "" };
        Err(Refused::SignIn(address_with_next(&visit.web.site, "/sign-in", back)))
    }

    /// Whether the password was shown lately; if not, where to show it again and come back to `next`.
    pub(crate) fn fresh_or(&self, next: &str) -> Result<(), Refused> {
        if self.is_fresh() {
            return Ok(());
        }
        Err(Refused::SignIn(address_with_next(&self.web.site, "/confirm", next)))
    }

    /// Whether the password was shown lately.
    pub(crate) fn is_fresh(&self) -> bool {
        self.member.is_fresh(self.now)
    }

    /// Asks for the password again.
    pub(crate) async fn show_password(&self, password: &str) -> Result<(), SignInRefusal> {
        // The session is that of the visit: who is signed in has one.
        let session = self.session.id().map_or(KeyHash::from_bytes([0; 32]), id_hash);
        let password = Secret::<Password>::new(password);
        self.web.broker.confirm_password(&self.user, password, session, &self.source.to_string()).await
    }

    /// Whether this is an admin.
    pub(crate) fn is_admin(&self) -> bool {
        self.user.role == Role::Admin
    }
}

fn address_with_next(site: &Site, path: &str, next: &str) -> String {
    with_next(format!("{}{path}", site.base()), Some(next).filter(|next| !next.is_empty()))
}

impl FromRequestParts<Web> for SignedIn {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Refused> {
        let method = parts.method.clone();
        Self::of(Visit::from_request_parts(parts, web).await?, &method)
    }
}

/// A visit by an admin; members get a page that says so.
pub(crate) struct Admin(pub(crate) SignedIn);

impl FromRequestParts<Web> for Admin {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Refused> {
        let signed_in = SignedIn::from_request_parts(parts, web).await?;
        if signed_in.is_admin() { Ok(Self(signed_in)) } else { Err(Problem::admins_only().into()) }
    }
}

/// A form sent from a page of ours: origin and form token were checked before anything else is looked at.
pub(crate) struct Posted<V> {
    pub(crate) visit: V,
    pub(crate) fields: Fields,
}

/// Which token a visit's forms carry.
pub(crate) trait HasToken {
    fn token(&self) -> &str;
}

impl HasToken for Visit {
    fn token(&self) -> &str {
        &self.csrf
    }
}

impl HasToken for SignedIn {
    fn token(&self) -> &str {
        &self.visit.csrf
    }
}

impl HasToken for Admin {
    fn token(&self) -> &str {
        &self.0.visit.csrf
    }
}

impl<V> FromRequest<Web> for Posted<V>
where
    V: FromRequestParts<Web> + HasToken + Send,
    Refused: From<V::Rejection>,
{
    type Rejection = Refused;

    async fn from_request(request: Request<Body>, web: &Web) -> Result<Self, Refused> {
        let (mut parts, body) = request.into_parts();
        csrf::check_origin(&web.site, &parts.headers)?;
        let visit = V::from_request_parts(&mut parts, web).await?;
        let fields = Fields::read(Request::from_parts(parts, body)).await?;
        csrf::check(visit.token(), fields.one("csrf_token"))?;
        Ok(Self { visit, fields })
    }
}

impl From<Infallible> for Refused {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
