//! Grants, apps and calls as pages list them.

use super::frame::{Pill, Tone};
use super::moment::Moment;
use crate::domain::app::App;
use crate::domain::grant::{Grant, GrantKind, GrantStatus};
use crate::domain::scope::ScopeSet;
use crate::domain::time::Timestamp;

/// A grant in a list.
pub(crate) struct GrantRow {
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) kind: &'static str,
    pub(crate) pill: Pill,
    pub(crate) granted: ScopeSet,
    pub(crate) last_used: Option<Moment>,
    pub(crate) expires: Option<Moment>,
    pub(crate) expiry_word: &'static str,
}

impl GrantRow {
    pub(crate) fn of(grant: &Grant, now: Timestamp) -> Self {
        let renews = grant.kind == GrantKind::OAuth && grant.status.is_usable();
        let past = grant.expires_at.is_some_and(|at| at <= now);
        Self {
            id: grant.id.to_string(),
            label: grant.label.to_string(),
            kind: kind_words(grant.kind),
            pill: Pill::of(grant),
            granted: grant.scopes_granted,
            last_used: Moment::maybe(grant.last_used_at, now),
            expires: Moment::maybe(grant.expires_at.filter(|_| grant.status != GrantStatus::Disconnected), now),
            expiry_word: match (renews, past) {
                (true, false) => "Renews by itself before",
                (_, true) => "Expired",
                (false, false) => "Expires",
            },
        }
    }
}

/// How a grant came to be, in words.
pub(crate) const fn kind_words(kind: GrantKind) -> &'static str {
    match kind {
        GrantKind::OAuth => "Granted at Teslascope",
        GrantKind::PersonalAccessToken => "Pasted personal access token",
        GrantKind::ApiKey => "Pasted API key",
    }
}

/// An app in a list.
pub(crate) struct AppRow {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) pill: Pill,
    pub(crate) scopes: ScopeSet,
    pub(crate) last_used: Option<Moment>,
    pub(crate) expires: Option<Moment>,
    pub(crate) expiry_word: &'static str,
}

impl AppRow {
    pub(crate) fn of(app: &App, now: Timestamp) -> Self {
        let past = app.expires_at.is_some_and(|at| at <= now);
        Self {
            id: app.id.to_string(),
            name: app.name.to_string(),
            pill: app_pill(app, now),
            scopes: app.scopes,
            last_used: Moment::maybe(app.last_used_at, now),
            expires: Moment::maybe(app.expires_at, now),
            expiry_word: if past { "Expired" } else { "Expires" },
        }
    }
}

/// Where an app stands.
pub(crate) fn app_pill(app: &App, now: Timestamp) -> Pill {
    let (tone, words) = if app.revoked_at.is_some() {
        (Tone::Off, "revoked")
    } else if app.expires_at.is_some_and(|at| at <= now) {
        (Tone::Wait, "expired")
    } else {
        (Tone::Good, "active")
    };
    Pill { tone, words }
}
