//! Events of the audit trail as pages list them.

use std::collections::HashMap;

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
    /// With whether it is tied to one grant.
    apps: HashMap<AppId, (String, bool)>,
    users: HashMap<UserId, String>,
    grants: HashMap<GrantId, String>,
}

impl Names {
    pub(crate) fn app(&mut self, app: &App) {
        self.apps.insert(app.id, (app.name.to_string(), app.grant.is_some()));
    }

    pub(crate) fn user(&mut self, id: UserId, name: &str) {
        self.users.insert(id, name.to_owned());
    }

    pub(crate) fn grant(&mut self, id: GrantId, label: &str) {
        self.grants.insert(id, label.to_owned());
    }

    /// Looks up what an event points to and is not known yet. What cannot be found is shown by its id.
    pub(crate) async fn learn(&mut self, broker: &Broker, event: &AuditEvent) {
        // A page that stays open for days sees many.
        if self.apps.len() + self.grants.len() + self.users.len() > MOST_NAMES {
            *self = Self::default();
        }
        self.learn_app(broker, event).await;
        if let Some(id) = event.grant.filter(|id| !self.grants.contains_key(id))
            && let Ok(Some(grant)) = broker.find_grant(id, None).await
        {
            self.grant(id, grant.label.as_str());
        }
        if let Some(id) = event.user.filter(|id| !self.users.contains_key(id))
            && let Some(name) = broker.known_user_name(id)
        {
            self.user(id, &name);
        }
    }

    /// Looks up the app of an event that is not known yet.
    pub(crate) async fn learn_app(&mut self, broker: &Broker, event: &AuditEvent) {
        if let Some(id) = event.app.filter(|id| !self.apps.contains_key(id))
            && let Ok(record) = broker.find_app(id, None).await
        {
            self.app(&record.app);
        }
    }

    pub(crate) fn of_app(&self, id: Option<AppId>) -> String {
        let name = |id| self.apps.get(&id).map_or_else(|| id.to_string(), |(name, _)| name.clone());
        id.map(name).unwrap_or_default()
    }

    fn is_tied(&self, id: Option<AppId>) -> bool {
        id.and_then(|id| self.apps.get(&id)).is_some_and(|(_, tied)| *tied)
    }

    pub(crate) fn of_user(&self, id: Option<UserId>) -> String {
        id.map(|id| self.users.get(&id).cloned().unwrap_or_else(|| id.to_string())).unwrap_or_default()
    }

    pub(crate) fn of_grant(&self, id: Option<GrantId>) -> String {
        id.map(|id| self.grants.get(&id).cloned().unwrap_or_else(|| id.to_string())).unwrap_or_default()
    }
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
        "no_grant" if names.is_tied(event.app) => {
            format!("The one grant that the app is tied to does not serve {scope}.")
        }
        "no_grant" => format!("No grant of its user serves {scope}."),
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

fn mend(event: &AuditEvent, names: &Names) -> Option<Mend> {
    let scope = event.scope?;
    match &*event.decision {
        // Another grant would not help it.
        "no_grant" if names.is_tied(event.app) => {
            event.app.map(|app| Mend { path: format!("/apps/{app}"), words: "Look at the app" })
        }
        "no_grant" => Some(Mend { path: format!("/connect?scope={scope}&next=/live"), words: "Grant it" }),
        "needs_consent" => Some(Mend { path: "/".to_owned(), words: "Renew it" }),
        "insufficient_scope" => {
            event.app.map(|app| Mend { path: format!("/apps/{app}?scope={scope}&next=/live"), words: "Allow it" })
        }
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
