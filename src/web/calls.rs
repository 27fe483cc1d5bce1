//! Events of the audit trail as pages list them.

use std::collections::HashMap;

use super::frame::{Pill, Tone};
use super::moment::Moment;
use crate::domain::audit::AuditEvent;
use crate::domain::id::{AppId, GrantId, UserId};
use crate::domain::scope::ScopeSet;
use crate::domain::time::Timestamp;

/// Names of what events point to. What is not in it is shown by its id.
#[derive(Default)]
pub(crate) struct Names {
    apps: HashMap<AppId, String>,
    users: HashMap<UserId, String>,
    grants: HashMap<GrantId, String>,
}

impl Names {
    pub(crate) fn app(&mut self, id: AppId, name: &str) {
        self.apps.insert(id, name.to_owned());
    }

    pub(crate) fn user(&mut self, id: UserId, name: &str) {
        self.users.insert(id, name.to_owned());
    }

    pub(crate) fn grant(&mut self, id: GrantId, label: &str) {
        self.grants.insert(id, label.to_owned());
    }

    pub(crate) fn of_app(&self, id: Option<AppId>) -> String {
        id.map(|id| self.apps.get(&id).cloned().unwrap_or_else(|| id.to_string())).unwrap_or_default()
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
    pub(crate) app: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) scope: ScopeSet,
    pub(crate) pill: Pill,
    pub(crate) result: String,
    pub(crate) took: String,
}

impl CallRow {
    pub(crate) fn of(event: &AuditEvent, names: &Names, now: Timestamp) -> Self {
        Self {
            at: Moment::of(event.at, now),
            app: names.of_app(event.app),
            method: event.method.as_deref().unwrap_or_default().to_owned(),
            path: event.path.as_deref().unwrap_or_default().to_owned(),
            scope: event.scope.map(ScopeSet::of).unwrap_or_default(),
            pill: pill(event),
            result: result(event),
            took: took(event),
        }
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
