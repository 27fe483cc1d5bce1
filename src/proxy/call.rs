//! One call, from its head to its answer: who calls, what for, whether they may, with which token, and what came of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{CONNECTION, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;

use super::answer::Answer;
use super::cork::Cork;
use super::ending::Ending;
use super::incoming::Addresses;
use super::key;
use super::origin::{self, Neighbours};
use super::outgoing::every;
use super::provider::Server;
use super::pulse::{Patience, Pulse};
use super::refusal::Refusal;
use super::settings::{Base, ProxySettings};
use super::wire;
use crate::broker::admission::Running;
use crate::broker::{Broker, Caller, Chosen, GrantRefusal, KeyRefusal, Permit, Sheet};
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::query::{QueryVerdict, judge_query};
use crate::domain::route::{Need, RouteRefusal, RouteTable, Upstream};
use crate::domain::time::Timestamp;
use crate::telemetry::UnknownCaller;

const REQUEST_ID: HeaderName = HeaderName::from_static("keyfob-request-id");
/// The longest path that the audit trail keeps of a call that is in no row of the table.
const LONGEST_KEPT_PATH: usize = 512;

/// How long the refusal of a call over its app's rate is held back.
const HELD_BACK: Duration = Duration::from_millis(100);

/// What all calls share.
pub(super) struct Desk {
    pub(super) broker: Broker,
    pub(super) addresses: Addresses,
    pub(super) public_url: String,
    pub(super) max_body: u64,
    pub(super) patience: Patience,
    /// For the calls of this lane.
    pub(super) sheet: Sheet,
    /// For its sockets.
    pub(super) cork: Arc<Cork>,
    table: Arc<RouteTable>,
    neighbours: Neighbours,
    api: (Base, Arc<Server>),
    mcp: (Base, Arc<Server>),
    methods: [(Method, Arc<str>); 6],
    /// What the audit trail calls any other; a client makes them up, and as long as it likes.
    other_method: Arc<str>,
    /// Random at the start and counted up, so that an id names one answer.
    ids: AtomicU64,
}

/// What was decided about a call that may go on.
pub(super) struct Allowed {
    pub(super) permit: Permit,
    pub(super) query: QueryVerdict,
    pub(super) chosen: Option<Chosen>,
    /// Counts the call among those of its app while it runs.
    pub(super) running: Running,
}

impl Desk {
    pub(super) fn new(broker: Broker, settings: &ProxySettings, cork: Arc<Cork>) -> Arc<Self> {
        let hosts: Vec<&str> = settings.hosts.iter().map(String::as_str).collect();
        let (api, mcp) = (&settings.api, &settings.mcp);
        let ids = AtomicU64::new(u64::from_ne_bytes(broker.entropy.bytes()));
        let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        Arc::new(Self {
            sheet: broker.trail().sheet(),
            broker,
            table: Arc::clone(&settings.table),
            neighbours: Neighbours::new(&hosts, &settings.origins),
            addresses: settings.addresses(),
            api: (api.clone(), Server::new(api, settings, Arc::clone(&cork))),
            mcp: (mcp.clone(), Server::new(mcp, settings, Arc::clone(&cork))),
            public_url: settings.public_url.clone(),
            max_body: settings.max_body,
            patience: settings.patience,
            cork,
            other_method: Arc::from("OTHER"),
            methods: known.map(|method| (method.clone(), Arc::from(method.as_str()))),
            ids,
        })
    }

    /// Closes connections to the provider that nobody has used for a while.
    pub(super) fn sweep(&self) {
        self.api.1.sweep();
        self.mcp.1.sweep();
    }

    /// Answers one request.
    pub(super) async fn answer(self: &Arc<Self>, pulse: &Arc<Pulse>, request: Request<Incoming>) -> Response<Answer> {
        pulse.call_begins();
        let began = self.broker.clock.elapsed();
        let (parts, body) = request.into_parts();
        let page = self.page(pulse, &parts);
        let mut response = match &page {
            Err(refusal) => self.turn_away(refusal, began),
            Ok(Some(origin)) if origin::is_preflight(&parts.method, &parts.headers) => {
                self.broker.metrics.call(None, "preflight", 204, self.broker.clock.elapsed().saturating_sub(began));
                origin::preflight(origin, &parts.headers)
            }
            Ok(_) => match self.caller(&parts).await {
                Err(refusal) => self.turn_away(&refusal, began),
                Ok(caller) => self.known(pulse, caller, &parts, body, began).await,
            },
        };
        if !response.body().has_ending() {
            pulse.call_ended();
        }
        *response.version_mut() = Version::HTTP_11;
        let headers = response.headers_mut();
        if let Ok(Some(origin)) = page {
            origin::let_read(origin, headers);
        }
        headers.insert(REQUEST_ID, self.request_id());
        // What follows a chunked body is never read as another request: its end is where two parsers differ most.
        if every(&parts.headers, &TRANSFER_ENCODING).next().is_some() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Framing, host and origin; the origin if a listed page calls.
    fn page(&self, pulse: &Pulse, parts: &Parts) -> Result<Option<HeaderValue>, Refusal> {
        if wire::is_stand_in(&parts.uri) {
            return Err(pulse.take_fault().map_or(Refusal::BadRequest("it is no request"), Refusal::from));
        }
        self.neighbours.check_host(&parts.headers)?;
        self.neighbours.check_origin(&parts.headers)
    }

    async fn caller(&self, parts: &Parts) -> Result<Caller, Refusal> {
        let (key, via) = key::presented(&parts.headers, parts.uri.query().unwrap_or_default())?;
        self.broker.find_caller(key, via).await.map_err(|refusal| match refusal {
            KeyRefusal::Invalid => Refusal::InvalidKey,
            KeyRefusal::Expired => Refusal::ExpiredKey,
        })
    }

    /// Refuses somebody who is not known: counted, not written row by row.
    fn turn_away(&self, refusal: &Refusal, began: Duration) -> Response<Answer> {
        let (code, status) = (refusal.code(), refusal.status());
        let reason = match refusal {
            Refusal::MissingKey => UnknownCaller::MissingKey,
            Refusal::InvalidKey => UnknownCaller::InvalidKey,
            Refusal::ExpiredKey => UnknownCaller::ExpiredKey,
            Refusal::ForbiddenHost => UnknownCaller::ForbiddenHost,
            Refusal::ForbiddenOrigin => UnknownCaller::ForbiddenOrigin,
            _ => UnknownCaller::BadRequest,
        };
        self.broker.metrics.unknown_caller(reason);
        self.broker.metrics.call(None, code, status.as_u16(), self.broker.clock.elapsed().saturating_sub(began));
        self.broker.trail().count_unknown(code);
        tracing::debug!(code, "a caller that is not known was turned away");
        refusal.answer()
    }

    /// Answers an app that showed a valid key.
    async fn known(
        self: &Arc<Self>,
        pulse: &Arc<Pulse>,
        caller: Caller,
        parts: &Parts,
        body: Incoming,
        began: Duration,
    ) -> Response<Answer> {
        let event = self.event(&caller, parts);
        let mut ending = Box::new(Ending::new(Arc::clone(self), Arc::clone(pulse), event, began));
        let outcome = match self.decide(caller, parts, &body, &mut ending).await {
            Ok(allowed) => self.pass(pulse, allowed, parts, body, &mut ending).await,
            Err(refusal) => Err(refusal),
        };
        let (mut response, decision) = match outcome {
            Ok(response) => (response, "allowed"),
            Err(refusal) => (refusal.answer(), refusal.code()),
        };
        ending.told(decision, response.status());
        response.body_mut().ends_with(ending);
        response
    }

    fn event(&self, caller: &Caller, parts: &Parts) -> AuditEvent {
        let app = caller.app();
        let method = self.methods.iter().find(|(method, _)| *method == parts.method).map(|(_, name)| Arc::clone(name));
        let path = parts.uri.path();
        let kept = path.floor_char_boundary(LONGEST_KEPT_PATH);
        AuditEvent {
            app: Some(app.id),
            method: method.or_else(|| Some(Arc::clone(&self.other_method))),
            path: Some(Arc::from(&path[..kept])),
            // Whoever keeps it gives it its moment.
            ..AuditEvent::change(Timestamp::from_millis(0), kind::CALL, Some(app.user))
        }
    }

    /// Path, method, scope, rate, size, grant: in this order, and before a byte goes to the provider.
    async fn decide(
        &self,
        caller: Caller,
        parts: &Parts,
        body: &Incoming,
        ending: &mut Ending,
    ) -> Result<Allowed, Refusal> {
        // First of all, since a refusal leaves a row too: nobody fills the queue with calls that go nowhere.
        if self.broker.trail().reserve().await.is_err() {
            ending.finds_no_room();
            return Err(Refusal::StorageUnavailable);
        }
        let judged = self.table.judge(parts.method.as_str(), parts.uri.path().as_bytes());
        let route = judged.map_err(|refusal| match refusal {
            RouteRefusal::Ambiguous(why) => Refusal::AmbiguousPath(why),
            RouteRefusal::Unknown => Refusal::UnknownEndpoint,
            RouteRefusal::Method { allow } => Refusal::Method(allow),
        })?;
        ending.needs(route.need);
        if let Some(event) = ending.event() {
            event.template = Some(Arc::clone(&route.template));
            event.scope = route.need.scope();
        }
        let query = judge_query(parts.uri.query().unwrap_or_default());
        if query == QueryVerdict::MethodOverride {
            return Err(Refusal::BadRequest("its query has a parameter that overrides the method"));
        }
        let app = caller.app().id;
        let permit = caller.permit(route.clone()).map_err(|scope| Refusal::InsufficientScope {
            scope,
            consent_url: format!("{}/apps/{app}?scope={scope}", self.public_url),
        })?;
        if let Err(limited) = self.broker.admit(&permit) {
            // Whoever does not heed Retry-After waits a little here, and costs the others next to nothing.
            Box::pin(tokio::time::sleep(HELD_BACK)).await;
            return Err(Refusal::RateLimited(limited.retry_after));
        }
        let running = self.broker.begin_call(&permit).ok_or(Refusal::TooManyAtOnce)?;
        if body.size_hint().lower() > self.max_body {
            return Err(Refusal::TooLarge { limit: self.max_body });
        }
        let mut chosen = self.choose(&permit);
        if chosen.is_err() {
            // The user may have just granted it by way of another process.
            Box::pin(self.broker.look_again()).await;
            chosen = self.choose(&permit);
        }
        if let Some(event) = ending.event() {
            event.grant = match &chosen {
                Ok(chosen) => chosen.as_ref().map(Chosen::grant),
                // The one that its user must renew.
                Err(Refusal::NeedsConsent { grant, .. }) => Some(*grant),
                Err(_) => None,
            };
        }
        let chosen = chosen?;
        Ok(Allowed { permit, query, chosen, running })
    }

    fn choose(&self, permit: &Permit) -> Result<Option<Chosen>, Refusal> {
        self.broker.choose(permit).map_err(|refusal| match refusal {
            GrantRefusal::NeedsConsent { grant, reason } => Refusal::NeedsConsent {
                grant,
                reason: reason.as_str(),
                consent_url: format!("{}/grants/{grant}", self.public_url),
            },
            GrantRefusal::NoGrant { make_narrower } => self.no_grant(permit, make_narrower),
        })
    }

    pub(super) fn no_grant(&self, permit: &Permit, make_narrower: bool) -> Refusal {
        // A public route needs no grant.
        let Need::Scope(scope) = permit.route().need else { return Refusal::UnknownEndpoint };
        let (url, app) = (&self.public_url, permit.app());
        let consent_url = match app.grant {
            // Another grant would not serve an app that is tied to this one.
            Some(grant) if !make_narrower && self.broker.directory().find_grant(grant).is_some() => {
                format!("{url}/grants/{grant}?scope={scope}")
            }
            Some(_) => format!("{url}/apps/{}", app.id),
            None => format!("{url}/connect?scope={scope}"),
        };
        Refusal::NoGrant { scope, make_narrower, tied: app.grant.is_some(), consent_url }
    }

    /// Where a route leads.
    pub(super) fn server(&self, upstream: Upstream) -> &(Base, Arc<Server>) {
        match upstream {
            Upstream::Api => &self.api,
            Upstream::Mcp => &self.mcp,
        }
    }

    fn request_id(&self) -> HeaderValue {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut id = self.ids.fetch_add(1, Ordering::Relaxed);
        let mut text = [0; 16];
        for digit in text.iter_mut().rev() {
            *digit = DIGITS[(id & 15) as usize];
            id >>= 4;
        }
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("0"))
    }
}
