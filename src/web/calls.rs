//! Events of the audit trail as pages list them.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};

use super::frame::{Pill, Tone};
use super::moment::Moment;
use crate::broker::Broker;
use crate::domain::app::App;
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::id::{AppId, GrantId, UserId};
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::time::Timestamp;

/// So many names are held at once.
const MOST_NAMES: usize = 2_000;

/// Names of what events point to. What is not in it is shown by its id.
#[derive(Default)]
pub(crate) struct Names {
    apps: HashMap<AppId, NamedApp>,
    users: HashMap<UserId, String>,
    grants: HashMap<GrantId, String>,
}

struct NamedApp {
    name: String,
    /// The one grant that it is tied to.
    grant: Option<GrantId>,
    /// What that grant holds; nothing once it has ended.
    held: Option<ScopeSet>,
}

impl Names {
    pub(crate) fn app(&mut self, broker: &Broker, app: &App) {
        let held = app.grant.and_then(|id| held(broker, id));
        self.apps.insert(app.id, NamedApp { name: app.name.to_string(), grant: app.grant, held });
    }

    pub(crate) fn user(&mut self, id: UserId, name: &str) {
        self.users.insert(id, name.to_owned());
    }

    pub(crate) fn grant(&mut self, id: GrantId, label: &str) {
        self.grants.insert(id, label.to_owned());
    }

    /// Looks up what events point to and is not known yet. What cannot be found is shown by its id.
    pub(crate) async fn learn(&mut self, broker: &Broker, events: &[impl Borrow<AuditEvent>]) {
        // A page that stays open for days sees many.
        if self.apps.len() + self.grants.len() + self.users.len() > MOST_NAMES {
            *self = Self::default();
        }
        self.learn_apps(broker, events).await;
        let grants = unknown(events, |event| event.grant.filter(|id| !self.grants.contains_key(id)));
        for grant in found(&grants, broker.find_grants(&grants)).await {
            self.grant(grant.id, grant.label.as_str());
        }
        for id in unknown(events, |event| event.user.filter(|id| !self.users.contains_key(id))) {
            if let Some(name) = broker.known_user_name(id) {
                self.user(id, &name);
            }
        }
    }

    /// Looks up the apps of events that are not known yet, and what the grants hold that apps are tied to.
    pub(crate) async fn learn_apps(&mut self, broker: &Broker, events: &[impl Borrow<AuditEvent>]) {
        for id in unknown(events, |event| event.app) {
            if let Some(app) = self.apps.get_mut(&id) {
                app.held = app.grant.and_then(|id| held(broker, id));
            }
        }
        let apps = unknown(events, |event| event.app.filter(|id| !self.apps.contains_key(id)));
        for record in found(&apps, broker.find_apps(&apps)).await {
            self.app(broker, &record.app);
        }
    }

    pub(crate) fn of_app(&self, id: Option<AppId>) -> String {
        let name = |id| self.apps.get(&id).map_or_else(|| id.to_string(), |app| app.name.clone());
        id.map(name).unwrap_or_default()
    }

    /// Of an app that is tied to one grant: that grant, and what it holds.
    fn tied(&self, id: Option<AppId>) -> Option<(GrantId, Option<ScopeSet>)> {
        let app = self.apps.get(&id?)?;
        Some((app.grant?, app.held))
    }

    pub(crate) fn of_user(&self, id: Option<UserId>) -> String {
        id.map(|id| self.users.get(&id).cloned().unwrap_or_else(|| id.to_string())).unwrap_or_default()
    }

    pub(crate) fn of_grant(&self, id: Option<GrantId>) -> String {
        id.map(|id| self.grants.get(&id).cloned().unwrap_or_else(|| id.to_string())).unwrap_or_default()
    }
}

/// What events name, each once.
fn unknown<T: Ord>(events: &[impl Borrow<AuditEvent>], of: impl Fn(&AuditEvent) -> Option<T>) -> Vec<T> {
    let names: BTreeSet<T> = events.iter().filter_map(|event| of(event.borrow())).collect();
    names.into_iter().collect()
}

/// What was found of these; nothing is asked where there are none.
async fn found<T, N, E>(names: &[N], asked: impl Future<Output = Result<Vec<T>, E>>) -> Vec<T> {
    if names.is_empty() { Vec::new() } else { asked.await.unwrap_or_default() }
}

/// What a grant holds, by memory; nothing once it has ended.
fn held(broker: &Broker, id: GrantId) -> Option<ScopeSet> {
    broker.directory().find_grant(id).map(|cell| cell.state().grant.scopes_granted)
}

/// A call in a list.
pub(crate) struct CallRow {
    pub(crate) at: Moment,
    pub(crate) user: String,
    pub(crate) app: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) scope: ScopeSet,
    pub(crate) pill: Pill,
    pub(crate) result: String,
    pub(crate) took: String,
    /// Why it was allowed or refused.
    pub(crate) why: String,
    /// Where its user can mend a refusal.
    pub(crate) mend: Option<Mend>,
    /// Which scope for which app, for those who hear that way without the row around it.
    pub(crate) what: String,
}

/// The way to what mends a refusal.
pub(crate) struct Mend {
    pub(crate) path: String,
    pub(crate) words: &'static str,
}

impl CallRow {
    pub(crate) fn of(event: &AuditEvent, names: &Names, now: Timestamp) -> Self {
        Self {
            at: Moment::of(event.at, now),
            user: names.of_user(event.user),
            app: names.of_app(event.app),
            method: event.method.as_deref().unwrap_or_default().to_owned(),
            path: event.path.as_deref().unwrap_or_default().to_owned(),
            scope: event.scope.map(ScopeSet::of).unwrap_or_default(),
            pill: pill(event),
            result: result(event),
            took: took(event),
            why: why(event, names),
            mend: mend(event, names),
            what: format!("{} for {}", event.scope.map(ScopeSet::of).unwrap_or_default(), names.of_app(event.app)),
        }
    }

    /// Rows without anything in them, one for each look that a row can have.
    pub(crate) fn blanks(now: Timestamp) -> Vec<Self> {
        [(Tone::Good, "allowed"), (Tone::Wait, "allowed"), (Tone::Bad, "refused")]
            .map(|(tone, words)| {
                let nothing = AuditEvent::change(now, kind::CALL, None);
                let mend = Some(Mend { path: String::new(), words: "" });
                Self {
                    pill: Pill { tone, words },
                    why: String::new(),
                    result: String::new(),
                    mend,
                    ..Self::of(&nothing, &Names::default(), now)
                }
            })
            .into()
    }

    /// The row for the script, which puts each text where the page's own rows have it.
    pub(crate) fn told(&self, own: bool) -> serde_json::Value {
        let mend = self.mend.as_ref().filter(|_| own);
        serde_json::json!({
            "at": self.at.iso,
            "user": self.user,
            "app": self.app,
            "call": format!("{} {}", self.method, self.path),
            "scope": self.scope.to_string(),
            "tone": self.pill.tone.as_str(),
            "words": self.pill.words,
            "result": self.result,
            "took": self.took,
            "why": self.why,
            "what": self.what,
            "mend": mend.map(|mend| serde_json::json!({ "path": mend.path, "words": mend.words })),
        })
    }
}

/// Why a call was allowed or refused, in a sentence.
fn why(event: &AuditEvent, names: &Names) -> String {
    let scope = event.scope.map_or("this", Scope::as_str);
    match &*event.decision {
        "allowed" => {
            let may = match (event.scope, event.grant) {
                (None, _) => "It needs no scope.".to_owned(),
                (Some(_), None) => format!("The app may use {scope}."),
                (Some(_), Some(_)) => {
                    format!("The app may use {scope}; the grant “{}” served it.", names.of_grant(event.grant))
                }
            };
            match event.status {
                Some(200..400) => may,
                Some(status) => format!("{may} Teslascope answered {status}."),
                None => format!("{may} What became of it is not known."),
            }
        }
        "insufficient_scope" => format!("The app may not use {scope}."),
        "no_grant" if names.tied(event.app).is_some() => {
            format!("The one grant that the app is tied to does not serve {scope}.")
        }
        "no_grant" => format!("No grant of its user serves {scope}."),
        "needs_consent" if event.grant.is_some() => {
            format!("The grant “{}”, which serves {scope}, must be renewed by its user.", names.of_grant(event.grant))
        }
        "needs_consent" => format!("The grant that serves {scope} must be renewed by its user."),
        "unknown_endpoint" => "Keyfob does not know this path.".to_owned(),
        "method_not_allowed" => "The path does not take this method.".to_owned(),
        "bad_request_target" => "The request can be read in more than one way.".to_owned(),
        "rate_limited" => "The app calls too often.".to_owned(),
        "request_too_large" => "Its body is too large.".to_owned(),
        "refresh_unavailable" => "The grant’s token cannot be refreshed just now.".to_owned(),
        "storage_unavailable" => "Nothing can be recorded just now.".to_owned(),
        "upstream_unreachable" => "Teslascope cannot be reached.".to_owned(),
        "upstream_timeout" => "Teslascope took too long.".to_owned(),
        "upstream_protocol_error" => "The answer of Teslascope cannot be read.".to_owned(),
        other => format!("It was refused: {other}."),
    }
}

/// The page that mends it, which brings its user back.
fn mend(event: &AuditEvent, names: &Names) -> Option<Mend> {
    let scope = event.scope?;
    let way = |path: String, words| Some(Mend { path, words });
    match &*event.decision {
        "no_grant" => match (event.app, names.tied(event.app)) {
            (Some(_), Some((grant, Some(held)))) if !held.contains(scope) => {
                way(format!("/grants/{grant}?scope={scope}&next=/live"), "Widen its grant")
            }
            // Another grant would not help it, nor would more of this one.
            (Some(app), Some(_)) => way(format!("/apps/{app}"), "Look at the app"),
            _ => way(format!("/connect?scope={scope}&next=/live"), "Grant it"),
        },
        "needs_consent" => {
            way(event.grant.map_or_else(|| "/".to_owned(), |grant| format!("/grants/{grant}?next=/live")), "Renew it")
        }
        "insufficient_scope" => way(format!("/apps/{}?scope={scope}&next=/live", event.app?), "Allow it"),
        _ => None,
    }
}

/// How long it took, in words.
pub(crate) fn took(event: &AuditEvent) -> String {
    event.duration_ms.map(|ms| format!("{ms} ms")).unwrap_or_default()
}

fn pill(event: &AuditEvent) -> Pill {
    let (tone, words) = match (&*event.decision, event.status) {
        ("allowed", Some(200..400)) => (Tone::Good, "allowed"),
        ("allowed", None) => (Tone::Wait, "outcome unknown"),
        ("allowed", Some(_)) => (Tone::Wait, "allowed"),
        _ => (Tone::Bad, "refused"),
    };
    Pill { tone, words }
}

fn result(event: &AuditEvent) -> String {
    let status = event.status.map(|status| status.to_string());
    match (&*event.decision, status) {
        ("allowed", status) => status.unwrap_or_default(),
        (code, Some(status)) => format!("{status} {code}"),
        (code, None) => code.to_owned(),
    }
}
