//! Users, grants, apps and events as other programs read them: the members of their JSON, and lines of CSV.
//!
//! The command line and the management API say the same, so it stands here once.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::app::{AdminKey, App, IssuedKey};
use crate::domain::audit::AuditEvent;
use crate::domain::grant::{ConsentReason, Grant, GrantKind, GrantStatus, ScopesSource};
use crate::domain::id::{AdminKeyId, AppId, GrantId};
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::time::Timestamp;

/// A grant's members.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Grant)]
pub struct GrantMembers {
    #[schema(value_type = String, format = "uuid")]
    id: GrantId,
    user: String,
    label: String,
    kind: GrantKind,
    status: GrantStatus,
    #[schema(required)]
    reason: Option<ConsentReason>,
    #[schema(value_type = Vec<Scope>)]
    scopes_requested: ScopeSet,
    #[schema(value_type = Vec<Scope>)]
    scopes_granted: ScopeSet,
    scopes_source: ScopesSource,
    #[schema(value_type = Vec<Scope>)]
    scopes_used: ScopeSet,
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = "date-time", required)]
    refreshed_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = "date-time", required)]
    last_used_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = "date-time", required)]
    expires_at: Option<Timestamp>,
}

impl GrantMembers {
    /// Of a grant and its user's name.
    #[must_use]
    pub fn new(grant: &Grant, user_name: &str) -> Self {
        Self {
            id: grant.id,
            user: user_name.to_owned(),
            label: grant.label.to_string(),
            kind: grant.kind,
            status: grant.status,
            reason: grant.reason,
            scopes_requested: grant.scopes_requested,
            scopes_granted: grant.scopes_granted,
            scopes_source: grant.scopes_source,
            scopes_used: grant.scopes_used,
            created_at: grant.created_at,
            refreshed_at: grant.refreshed_at,
            last_used_at: grant.last_used_at,
            // The tokens of a grant that was ended are gone, and their end with them.
            expires_at: grant.expires_at.filter(|_| grant.status != GrantStatus::Disconnected),
        }
    }

    /// The names of the columns of [`GrantMembers::csv`].
    pub const CSV_HEAD: &str = "id,user,label,kind,status,reason,scopes_requested,scopes_granted,scopes_source,\
                                scopes_used,created_at,refreshed_at,last_used_at,expires_at\r\n";

    /// One line of CSV (RFC 4180); absent values are empty.
    #[must_use]
    pub fn csv(&self) -> String {
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
        csv_line(&[
            &self.id.to_string(),
            &self.user,
            &self.label,
            self.kind.as_str(),
            self.status.as_str(),
            self.reason.map_or("", ConsentReason::as_str),
            &self.scopes_requested.to_string(),
            &self.scopes_granted.to_string(),
            self.scopes_source.as_str(),
            &self.scopes_used.to_string(),
            &self.created_at.to_string(),
            &time(self.refreshed_at),
            &time(self.last_used_at),
            &time(self.expires_at),
        ])
    }
}

/// One line of CSV. What a spreadsheet would take for a formula gets an apostrophe before it.
fn csv_line(cells: &[&str]) -> String {
    let mut line = String::new();
    for (n, cell) in cells.iter().enumerate() {
        if n > 0 {
            line.push(',');
        }
        let formula = cell.trim_start().starts_with(['=', '+', '-', '@']) || cell.starts_with(['\t', '\r', '\n']);
        if formula || cell.contains([',', '"', '\r', '\n']) {
            line.push('"');
            if formula {
                line.push('\'');
            }
            line.push_str(&cell.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(cell);
        }
    }
    line.push_str("\r\n");
    line
}

/// An app's members.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = App)]
pub struct AppMembers {
    #[schema(value_type = String, format = "uuid")]
    id: AppId,
    name: String,
    user: String,
    #[schema(value_type = Vec<Scope>)]
    scopes: ScopeSet,
    #[schema(value_type = Option<String>, format = "uuid", required)]
    grant: Option<GrantId>,
    query_key: bool,
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = "date-time", required)]
    last_used_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = "date-time", required)]
    expires_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = "date-time", required)]
    revoked_at: Option<Timestamp>,
    /// Only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    key: Option<String>,
}

impl AppMembers {
    /// Of an app and its user's name.
    #[must_use]
    pub fn new(app: &App, user_name: &str) -> Self {
        Self {
            id: app.id,
            name: app.name.to_string(),
            user: user_name.to_owned(),
            scopes: app.scopes,
            grant: app.grant,
            query_key: app.query_key,
            created_at: app.created_at,
            last_used_at: app.last_used_at,
            expires_at: app.expires_at,
            revoked_at: app.revoked_at,
            key: None,
        }
    }

    /// The same with the key that was just made: only in that one answer.
    #[must_use]
    pub fn with_key(self, key: &IssuedKey) -> Self {
        Self { key: Some(key.expose().to_owned()), ..self }
    }
}

/// An admin key's members.
#[derive(Clone, Debug, Serialize)]
pub struct AdminKeyMembers {
    id: AdminKeyId,
    name: String,
    created_at: Timestamp,
    last_used_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl AdminKeyMembers {
    /// Of an admin key.
    #[must_use]
    pub fn new(key: &AdminKey) -> Self {
        Self {
            id: key.id,
            name: key.name.to_string(),
            created_at: key.created_at,
            last_used_at: key.last_used_at,
            revoked_at: key.revoked_at,
            key: None,
        }
    }

    /// The same with the key that was just made: only in that one answer.
    #[must_use]
    pub fn with_key(self, key: &IssuedKey) -> Self {
        Self { key: Some(key.expose().to_owned()), ..self }
    }
}

/// An audit event's members.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventMembers<'e> {
    id: i64,
    #[schema(value_type = String, format = "date-time")]
    at: Timestamp,
    kind: &'e str,
    #[schema(required)]
    user: Option<String>,
    #[schema(value_type = Option<String>, format = "uuid", required)]
    app: Option<AppId>,
    #[schema(value_type = Option<String>, format = "uuid", required)]
    grant: Option<GrantId>,
    #[schema(required)]
    method: Option<&'e str>,
    /// The path without its query; for changes, what changed.
    #[schema(required)]
    path: Option<&'e str>,
    #[schema(required)]
    scope: Option<Scope>,
    decision: &'e str,
    /// Null while the outcome of a command is not known.
    #[schema(required)]
    status: Option<u16>,
    #[schema(required)]
    duration_ms: Option<i64>,
}

impl<'e> EventMembers<'e> {
    /// Of an event; `user` is the name of the event's user, or the id of one that is gone.
    #[must_use]
    pub fn new(event: &'e AuditEvent, user: Option<String>) -> Self {
        Self {
            id: event.id,
            at: event.at,
            kind: event.kind,
            user,
            app: event.app,
            grant: event.grant,
            method: event.method.as_deref(),
            path: event.path.as_deref(),
            scope: event.scope,
            decision: &event.decision,
            status: event.status,
            duration_ms: event.duration_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_csv_cannot_become_a_formula_or_another_line() {
        let line = csv_line(&["plain", "a,b", "say \"x\"", "=1+1", " @SUM(A1)", "-2", "two\r\nlines", "\tx", "x=y"]);
        assert_eq!(
            line,
            "plain,\"a,b\",\"say \"\"x\"\"\",\"'=1+1\",\"' @SUM(A1)\",\"'-2\",\"two\r\nlines\",\"'\tx\",x=y\r\n"
        );
    }
}
