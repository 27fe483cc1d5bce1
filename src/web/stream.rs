//! Server-sent events: of calls, for one's own apps or for all of them, and of a rotation of keys. A stream looks at what
//! happened four times a second and never makes a call wait: what it was too slow for is dropped and counted.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt as _};
use http::header::{CONTENT_TYPE, HeaderName};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use super::calls::{CallRow, Names};
use super::problem::Problem;
use super::session::id_hash;
use super::visit::SignedIn;
use crate::broker::Broker;
use crate::domain::app::KeyHash;
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::id::UserId;
use crate::telemetry::Trouble;

/// How often a stream looks at what happened.
const LOOK: Duration = Duration::from_millis(250);
/// How often it looks whether whoever watches still may.
const CHECK: Duration = Duration::from_secs(2);
/// How often it counts what a rotation of keys has left.
const LOOK_AT_KEYS: Duration = Duration::from_secs(1);
/// After so long without a word it says that it is still there, so that a browser that left is noticed.
const SILENCE: Duration = Duration::from_secs(15);
/// At most so many calls are told at a look; of more, the newest.
const MOST: usize = 40;
/// Streams of one user, and of all.
const OF_ONE: usize = 4;
const OF_ALL: usize = 64;

/// The streams that are open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams(Arc<Mutex<HashMap<UserId, usize>>>);

/// One stream's place; free again when it is dropped.
struct Place {
    streams: Streams,
    user: UserId,
}

impl Streams {
    fn take(&self, user: UserId) -> Option<Place> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (own, all) = (open.get(&user).copied().unwrap_or(0), open.values().sum::<usize>());
        (own < OF_ONE && all < OF_ALL).then(|| {
            open.insert(user, own + 1);
            Place { streams: self.clone(), user }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.user) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.user);
            }
        }
    }
}

/// Whose calls are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Those of the apps of whoever watches.
    Own,
    /// Everybody's; administrators only.
    All,
}

/// What a stream is about.
enum Subject {
    /// Calls as they happen.
    Calls { events: Receiver<Arc<AuditEvent>>, whose: Whose, names: Names },
    /// How far a rotation of the master keys is, as last told, and when it was last looked at.
    Keys { told: Option<(u64, u64)>, looked: Duration },
}

/// What a stream remembers between two looks.
struct Watch {
    broker: Broker,
    subject: Subject,
    user: UserId,
    session: KeyHash,
    /// When it was last looked whether whoever watches still may, and when something was last said.
    checked: Duration,
    said: Duration,
    _place: Place,
}

/// The calls of a visit's user, or of all, as they happen.
pub(crate) fn calls(visit: &SignedIn, whose: Whose) -> Result<Response, Problem> {
    let events = visit.web.broker.trail().watch();
    stream_of(visit, Subject::Calls { events, whose, names: Names::default() })
}

/// How far a rotation of the master keys is, whenever it gets on.
pub(crate) fn keys(visit: &SignedIn) -> Result<Response, Problem> {
    stream_of(visit, Subject::Keys { told: None, looked: Duration::ZERO })
}

/// The stream of a visit, or the one word that there are too many.
fn stream_of(visit: &SignedIn, subject: Subject) -> Result<Response, Problem> {
    let session = visit.session.id().ok_or_else(|| Problem::internal("a visit without a session"))?;
    let broker = visit.web.broker.clone();
    let Some(place) = visit.web.streams.take(visit.user.id) else {
        return Ok(respond(Body::from("event: full\ndata: full\n\n")));
    };
    let now = broker.clock.elapsed();
    let watch = Watch {
        broker,
        subject,
        user: visit.user.id,
        session: id_hash(session),
        checked: now,
        said: now,
        _place: place,
    };
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"retry: 3000\n\n"))]);
    let told = first.chain(stream::unfold(watch, |watch| async move {
        let (said, watch) = watch.next().await?;
        Some((Ok(said), watch))
    }));
    Ok(respond(Body::from_stream(told)))
}

fn respond(body: Body) -> Response {
    // nginx would hold events back otherwise.
    let headers = [(CONTENT_TYPE, "text/event-stream"), (HeaderName::from_static("x-accel-buffering"), "no")];
    (headers, body).into_response()
}

impl Watch {
    /// What is to be said next; nothing at the end.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            if self.broker.health.has(Trouble::Stopping) {
                return None;
            }
            tokio::time::sleep(LOOK).await;
            let now = self.broker.clock.elapsed();
            if now.saturating_sub(self.checked) >= CHECK {
                self.checked = now;
                if !self.may_go_on().await {
                    return None;
                }
            }
            let mut text = self.look(now).await;
            if text.is_empty() && now.saturating_sub(self.said) >= SILENCE {
                text.push_str(":\n\n");
            }
            if !text.is_empty() {
                self.said = now;
                return Some((Bytes::from(text), self));
            }
        }
    }

    /// Whether the session stands: it ends in the same step as its user's account, right to sign in, or role. A database that
    /// cannot be read ends the stream: it does not go on on trust. The browser comes again, with the cookie that it has by then:
    /// a session that was given a new id goes on.
    async fn may_go_on(&self) -> bool {
        matches!(self.broker.find_session(self.session).await, Ok(Some(kept)) if kept.user == self.user)
    }

    /// What happened since the last look, as events.
    async fn look(&mut self, now: Duration) -> String {
        match &mut self.subject {
            Subject::Calls { events, whose, names } => {
                told_of_calls(&self.broker, events, *whose, self.user, names).await
            }
            Subject::Keys { told, looked } => {
                if told.is_some() && now.saturating_sub(*looked) < LOOK_AT_KEYS {
                    return String::new();
                }
                *looked = now;
                // What cannot be counted just now is counted at the next look.
                let Ok(progress) = self.broker.key_progress().await else { return String::new() };
                let is = (progress.all.saturating_sub(progress.left), progress.all);
                if told.replace(is) == Some(is) {
                    return String::new();
                }
                format!("event: keys\ndata: {}\n\n", serde_json::json!({ "done": is.0, "all": is.1 }))
            }
        }
    }
}

async fn told_of_calls(
    broker: &Broker,
    events: &mut Receiver<Arc<AuditEvent>>,
    whose: Whose,
    user: UserId,
    names: &mut Names,
) -> String {
    let (mut found, mut missed, mut lagged) = (VecDeque::new(), 0_usize, false);
    loop {
        match events.try_recv() {
            Ok(event) if event.kind == kind::CALL && (whose == Whose::All || event.user == Some(user)) => {
                found.push_back(event);
                if found.len() > MOST {
                    found.pop_front();
                    missed += 1;
                }
            }
            Ok(_) => {}
            Err(TryRecvError::Lagged(count)) => {
                lagged = true;
                if whose == Whose::All {
                    missed += usize::try_from(count).unwrap_or(usize::MAX);
                }
            }
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    let mut text = String::new();
    match (missed, lagged && whose == Whose::Own) {
        (0, false) => {}
        // How many of those were whose is not known, and how much others call is nobody's business.
        (_, true) => text.push_str("event: missed\ndata: Some\n\n"),
        (missed, false) => {
            let _ = write!(text, "event: missed\ndata: {missed}\n\n");
        }
    }
    let now = broker.clock.now();
    names.learn(broker, found.make_contiguous()).await;
    for event in found {
        let row = CallRow::of(&event, names, now);
        let _ = write!(text, "event: call\ndata: {}\n\n", row.told(whose == Whose::Own));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Id;

    #[test]
    fn streams_are_bounded_for_each_user_and_for_all_and_places_come_back() {
        let streams = Streams::default();
        let user = |n: u8| Id::from_bytes([n; 16]);
        let mut held: Vec<_> = (0..OF_ONE).map(|_| streams.take(user(1)).unwrap()).collect();
        assert!(streams.take(user(1)).is_none());
        held.extend((0..OF_ALL - OF_ONE).map(|n| streams.take(user(u8::try_from(n + 10).unwrap())).unwrap()));
        assert!(streams.take(user(2)).is_none());
        held.remove(0);
        assert!(streams.take(user(1)).is_some());
        held.clear();
        assert!(streams.0.lock().unwrap().is_empty());
    }
}
