//! What is remembered: one event a call, one event a change. Never a header, a body, a query or a secret.

use std::sync::Arc;

use super::id::{AppId, GrantId, UserId};
use super::scope::Scope;
use super::time::Timestamp;

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    /// Its number, once it is kept.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// What: `call`, `refusal`, `user.made`, `grant.made` and so on; see [`kind`].
    pub kind: &'static str,
    /// Whose.
    pub user: Option<UserId>,
    /// By which app.
    pub app: Option<AppId>,
    /// With which grant.
    pub grant: Option<GrantId>,
    /// The request's method, for calls.
    pub method: Option<Arc<str>>,
    /// The path's row in the table, for calls.
    pub template: Option<Arc<str>>,
    /// The path without its query, for calls; what changed, for changes.
    pub path: Option<Arc<str>>,
    /// The scope that the path needed.
    pub scope: Option<Scope>,
    /// `allowed`, or the refusal's code.
    pub decision: std::borrow::Cow<'static, str>,
    /// The status that the app got; none while a command's outcome is not known.
    pub status: Option<u16>,
    /// How long it took.
    pub duration_ms: Option<i64>,
    /// How many happenings this row stands for: one, but for counted refusals.
    pub count: i64,
    /// Bytes of the request's body that were passed on.
    pub bytes_up: i64,
    /// Bytes of the response's body that were passed back.
    pub bytes_down: i64,
}

/// The kinds of events.
pub mod kind {
    /// A proxied call or its refusal.
    pub const CALL: &str = "call";
    /// Refusals of callers that are not known, counted by reason and minute.
    pub const UNKNOWN_CALLERS: &str = "unknown_callers";
    /// Somebody signed in.
    pub const SIGNED_IN: &str = "session.signed_in";
    /// A sign-in failed.
    pub const SIGN_IN_FAILED: &str = "session.sign_in_failed";
    /// Somebody signed out.
    pub const SIGNED_OUT: &str = "session.signed_out";
    /// An account was made.
    pub const USER_MADE: &str = "user.made";
    /// An account was changed.
    pub const USER_CHANGED: &str = "user.changed";
    /// An account was removed with all that was its.
    pub const USER_REMOVED: &str = "user.removed";
    /// A grant was given.
    pub const GRANT_MADE: &str = "grant.made";
    /// A grant was renewed or widened by its user.
    pub const GRANT_RENEWED: &str = "grant.renewed";
    /// A grant's tokens were refreshed.
    pub const GRANT_REFRESHED: &str = "grant.refreshed";
    /// A grant needs its user.
    pub const GRANT_NEEDS_CONSENT: &str = "grant.needs_consent";
    /// A grant was ended here.
    pub const GRANT_DISCONNECTED: &str = "grant.disconnected";
    /// An app was made.
    pub const APP_MADE: &str = "app.made";
    /// An app was changed.
    pub const APP_CHANGED: &str = "app.changed";
    /// An app's key was rolled.
    pub const APP_ROLLED: &str = "app.rolled";
    /// An app was cut off.
    pub const APP_REVOKED: &str = "app.revoked";
    /// An admin key was made.
    pub const ADMIN_KEY_MADE: &str = "admin_key.made";
    /// An admin key was cut off.
    pub const ADMIN_KEY_REVOKED: &str = "admin_key.revoked";
    /// A master key was added or dropped, or data was re-sealed.
    pub const MASTER_KEYS: &str = "master_keys.changed";
    /// An administrator signed an access review off.
    pub const REVIEW_SIGNED_OFF: &str = "review.signed_off";

    /// Every kind.
    pub const ALL: [&str; 21] = [
        CALL,
        UNKNOWN_CALLERS,
        SIGNED_IN,
        SIGN_IN_FAILED,
        SIGNED_OUT,
        USER_MADE,
        USER_CHANGED,
        USER_REMOVED,
        GRANT_MADE,
        GRANT_RENEWED,
        GRANT_REFRESHED,
        GRANT_NEEDS_CONSENT,
        GRANT_DISCONNECTED,
        APP_MADE,
        APP_CHANGED,
        APP_ROLLED,
        APP_REVOKED,
        ADMIN_KEY_MADE,
        ADMIN_KEY_REVOKED,
        MASTER_KEYS,
        REVIEW_SIGNED_OFF,
    ];
}

impl AuditEvent {
    /// A change of something, made by `user` when that is known.
    #[must_use]
    pub fn change(at: Timestamp, kind: &'static str, user: Option<UserId>) -> Self {
        Self {
            id: 0,
            at,
            kind,
            user,
            app: None,
            grant: None,
            method: None,
            template: None,
            path: None,
            scope: None,
            decision: std::borrow::Cow::Borrowed("done"),
            status: None,
            duration_ms: None,
            count: 1,
            bytes_up: 0,
            bytes_down: 0,
        }
    }

    /// The same with the app that it is about.
    #[must_use]
    pub fn of_app(self, app: AppId) -> Self {
        Self { app: Some(app), ..self }
    }

    /// The same with the grant that it is about.
    #[must_use]
    pub fn of_grant(self, grant: GrantId) -> Self {
        Self { grant: Some(grant), ..self }
    }

    /// The same with what came of it, in one word.
    #[must_use]
    pub fn decided(self, decision: &'static str) -> Self {
        Self { decision: std::borrow::Cow::Borrowed(decision), ..self }
    }

    /// The same with a few words on what changed; never a secret.
    #[must_use]
    pub fn about(self, words: &str) -> Self {
        Self { path: Some(words.into()), ..self }
    }
}
