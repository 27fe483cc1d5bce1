//! An allowed call on its way to the provider and back: which token, which request, whose answer.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

use super::answer::Answer;
use super::call::{Allowed, Desk};
use super::coding::Sealed;
use super::echo::Echo;
use super::ending::Ending;
use super::incoming;
use super::lease::Lease;
use super::outgoing;
use super::provider::NoAnswer;
use super::pulse::Pulse;
use super::received::Received;
use super::refusal::Refusal;
use super::response::Head;
use super::sending::Sending;
use super::sent::{Ended, Record, SentBody};
use super::turn::Turn;
use crate::broker::{Bearer, BearerRefusal, Chosen, Permit};
use crate::domain::audit::AuditEvent;
use crate::domain::route::{Need, Upstream};

const REQUIRED_SCOPE: HeaderName = HeaderName::from_static("keyfob-required-scope");

impl Desk {
    async fn bearer(&self, permit: &Permit, chosen: &Chosen) -> Result<Arc<Bearer>, Refusal> {
        if let Some(bearer) = self.broker.bearer_now(chosen) {
            return if permit.allows(&bearer) { Ok(bearer) } else { Err(self.no_grant(permit, true)) };
        }
        let bearer = self.broker.wait_for_bearer(chosen).await.map_err(|refusal| match refusal {
            BearerRefusal::RefreshUnavailable { retry_after } => Refusal::RefreshUnavailable(retry_after),
            BearerRefusal::NeedsConsent { reason } => Refusal::NeedsConsent {
                grant: chosen.grant(),
                reason: reason.as_str(),
                consent_url: format!("{}/grants/{}", self.public_url, chosen.grant()),
            },
            BearerRefusal::Unreadable => Refusal::StorageUnavailable,
        })?;
        self.after_wait(permit, chosen, bearer)
    }

    /// A bearer that was waited for: meanwhile its grant may have been widened or ended, or the app cut off.
    fn after_wait(&self, permit: &Permit, chosen: &Chosen, bearer: Arc<Bearer>) -> Result<Arc<Bearer>, Refusal> {
        if !permit.allows(&bearer) {
            return Err(self.no_grant(permit, true));
        }
        if self.broker.still_permits(permit, Some(chosen)) {
            return Ok(bearer);
        }
        Err(if self.broker.still_permits(permit, None) { self.no_grant(permit, false) } else { Refusal::InvalidKey })
    }

    /// Sends the call and takes its answer; once more with a newer token where the provider refused the first.
    pub(super) async fn pass(
        &self,
        pulse: &Arc<Pulse>,
        allowed: Allowed,
        parts: &Parts,
        body: Incoming,
        ending: &mut Ending,
    ) -> Result<Response<Answer>, Refusal> {
        let mut bearer = match &allowed.chosen {
            Some(chosen) => Some(self.bearer(&allowed.permit, chosen).await?),
            None => None,
        };
        if allowed.permit.route().command {
            self.put_on_disk(ending).await?;
        }
        let record = (!body.is_end_stream()).then(Arc::<Record>::default);
        let body = match &record {
            Some(record) => {
                ending.sends(Arc::clone(record));
                SentBody::First { body, record: Arc::clone(record), limit: self.max_body, turn: Turn::default() }
            }
            None => SentBody::None,
        };
        let send = Send { desk: self, pulse, parts, allowed: &allowed, record: record.as_deref() };
        let (mut head, mut answer) = send.first(bearer.as_deref(), body).await?;
        if let (Some(chosen), Some(used)) = (&allowed.chosen, &bearer)
            && self.is_refused(&head)
        {
            let newer = self.broker.bearer_after_401(chosen, used).await;
            let again = record.as_ref().map_or(Some(SentBody::None), |record| record.again());
            if let (Some(newer), Some(body)) = (newer, again) {
                answer.drain().await;
                let newer = self.after_wait(&allowed.permit, chosen, newer)?;
                (head, answer) = send.first(Some(&newer), body).await?;
                bearer = Some(newer);
            }
        }
        self.take(head, answer, bearer, allowed, pulse).await
    }

    /// A command is on disk before it is sent.
    async fn put_on_disk(&self, ending: &mut Ending) -> Result<(), Refusal> {
        let Some(event) = ending.take_event() else { return Ok(()) };
        let pending = AuditEvent { decision: "allowed".into(), ..event.clone() };
        // In a task of its own: a client that leaves meanwhile does not leave without a row.
        let trail = self.broker.trail().clone();
        let begun = self.broker.spawn(async move { trail.begin_command(pending).await }).await;
        let Ok(Ok(ticket)) = begun else {
            ending.put_back(event);
            return Err(Refusal::StorageUnavailable);
        };
        ending.is_on_disk(ticket);
        Ok(())
    }

    /// Whether the provider refused the token, in words or in disguise.
    fn is_refused(&self, head: &Head) -> bool {
        head.status == StatusCode::UNAUTHORIZED || self.addresses.is_login(head.status, &head.headers)
    }

    /// The provider's answer, as the app may have it.
    async fn take(
        &self,
        head: Head,
        mut body: Received,
        bearer: Option<Arc<Bearer>>,
        allowed: Allowed,
        pulse: &Arc<Pulse>,
    ) -> Result<Response<Answer>, Refusal> {
        let (upstream, need) = (allowed.permit.route().upstream, allowed.permit.route().need);
        let login = self.addresses.is_login(head.status, &head.headers);
        if login && upstream == Upstream::Api {
            body.drain().await;
            return Ok(unauthenticated());
        }
        let mut headers = head.headers;
        let token = bearer.clone();
        let echo = if body.is_end() { Echo::none() } else { Echo::of(token, &headers).map_err(sealed)? };
        body.wait_at_most(if is_event_stream(&headers) {
            self.patience.stream_idle
        } else {
            self.patience.upstream_idle
        });
        incoming::filter(&mut headers, &head.text, bearer.as_deref(), upstream, &self.addresses);
        if head.status == StatusCode::FORBIDDEN
            && let Need::Scope(scope) = need
        {
            headers.insert(REQUIRED_SCOPE, HeaderValue::from_static(scope.as_str()));
        }
        let lease = Lease::new(self.broker.clone(), allowed, Arc::clone(pulse));
        let mut answer = Response::new(Answer::provider(body, echo, lease));
        *answer.status_mut() = head.status;
        *answer.headers_mut() = headers;
        Ok(answer)
    }
}

/// A call on its way to the provider.
struct Send<'a> {
    desk: &'a Desk,
    pulse: &'a Arc<Pulse>,
    parts: &'a Parts,
    allowed: &'a Allowed,
    record: Option<&'a Record>,
}

impl Send<'_> {
    async fn first(&self, bearer: Option<&Bearer>, body: SentBody) -> Result<(Head, Received), Refusal> {
        let sending = self.request(bearer, body)?;
        let (_, server) = self.desk.server(self.allowed.permit.route().upstream);
        match server.send(sending, self.pulse, self.record, self.desk.patience.first_byte).await {
            Ok((head, _)) if head.status == StatusCode::SWITCHING_PROTOCOLS => Err(Refusal::ProtocolError),
            Ok(answer) => Ok(answer),
            Err(NoAnswer::Unreachable) => Err(Refusal::Unreachable),
            Err(NoAnswer::Timeout) => Err(Refusal::Timeout),
            Err(NoAnswer::Broken) => Err(self.broken()),
        }
    }

    /// Whose fault it was.
    fn broken(&self) -> Refusal {
        match self.record.map_or(Ended::Whole, Record::ended) {
            Ended::TooLarge => Refusal::TooLarge { limit: self.desk.max_body },
            Ended::Broken => Refusal::BadRequest("its body ended early or is not framed as it should be"),
            Ended::Whole | Ended::NotYet => Refusal::ProtocolError,
        }
    }

    fn request(&self, bearer: Option<&Bearer>, body: SentBody) -> Result<Sending, Refusal> {
        let Allowed { permit, query, .. } = self.allowed;
        let route = permit.route();
        let (base, server) = self.desk.server(route.upstream);
        let asked = self.parts.uri.path_and_query().ok_or(Refusal::BadRequest("it has no path"))?;
        let target = outgoing::target(asked, query, route.upstream, base, bearer);
        let target = target.ok_or(Refusal::BadRequest("its target cannot be sent on"))?;
        let mut sending = Sending::new(self.parts.method.clone(), &target);
        let line = |name: &HeaderName, value: &HeaderValue| sending.header(name, value);
        outgoing::dress(&self.parts.headers, &server.host, bearer, route.upstream, line);
        Ok(sending.with_body(body))
    }
}

/// What the provider says where it knows that a program asks.
fn unauthenticated() -> Response<Answer> {
    let mut response = Response::new(Answer::whole(Bytes::from_static(b"{\"message\":\"Unauthenticated.\"}")));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn sealed(_: Sealed) -> Refusal {
    tracing::warn!(
        "The provider sent a body in a coding that was not asked for and cannot be looked into for its token"
    );
    Refusal::ProtocolError
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    outgoing::every(headers, &CONTENT_TYPE).next().is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.len() >= 17 && kind[..17].eq_ignore_ascii_case(b"text/event-stream")
    })
}
