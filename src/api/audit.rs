//! `/api/v1/audit`.

use axum::extract::RawQuery;
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use utoipa::IntoParams;

use super::cursor::{Page, Wanted};
use super::given::{Given, Unread, parsed, text, word};
use super::key::Admin;
use super::problem::Problem;
use crate::broker::members::EventMembers;
use crate::broker::{AccountError, AuditFilter};
use crate::domain::audit::kind;
use crate::domain::id::AppId;
use crate::domain::time::{Timestamp, parse_span};

/// Which events are listed.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents what is read")]
pub(super) struct Filter {
    /// Only from this moment on (RFC 3339), or of the last `15m`, `24h`, `90d`.
    #[param(example = "24h")]
    since: Option<String>,
    /// Only those of this app, by id.
    #[param(value_type = Option<String>, format = "uuid")]
    app: Option<AppId>,
    /// Only those of this user, by name.
    user: Option<String>,
    /// Only those of this kind.
    #[param(value_type = Option<EventKind>, inline)]
    kind: Option<&'static str>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// At most so many items.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
}

/// The kinds of events.
pub(super) enum EventKind {}

/// List what was called and changed, newest first
#[utoipa::path(get, path = "/api/v1/audit", operation_id = "list_audit", tag = "audit", params(Filter),
    responses((status = 200, description = "A page of events", body = Page<EventMembers<'static>>)))]
pub(super) async fn list(Admin(broker): Admin, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let mut given = Given::of_query(query.as_deref());
    let now = broker.clock.now();
    let since = given.maybe("since", |value| since(value, now));
    let app = given.maybe("app", parsed::<AppId>);
    let user = given.maybe("user", text);
    let kind = given.maybe("kind", word(&kind::ALL, |kind| kind));
    let app_words = app.map(|app| app.to_string()).unwrap_or_default();
    // Not `since`: a span means another moment with every page.
    let listing = ["audit", &app_words, user.as_deref().unwrap_or_default(), kind.unwrap_or_default()];
    let wanted = Wanted::<8>::read(&mut given, &listing);
    let wanted = given.finish(Some(wanted))?;
    let user = match &user {
        None => None,
        Some(name) => match broker.find_user(name).await {
            Ok(user) => Some(user.id),
            Err(AccountError::NotFound) => return Ok(axum::Json(Page::<EventMembers<'_>>::empty()).into_response()),
            Err(other) => return Err(other.into()),
        },
    };
    let before = wanted.after.map(i64::from_be_bytes);
    let filter = AuditFilter { since, app, user, kind, before, limit: wanted.read_ahead(), ..AuditFilter::default() };
    let events = broker.list_audit(&filter).await?;
    let places: Vec<_> = events.iter().collect();
    let page = wanted.page(
        places,
        |event| event.id.to_be_bytes(),
        |event| {
            EventMembers::new(
                event,
                event.user.map(|user| broker.known_user_name(user).unwrap_or_else(|| user.to_string())),
            )
        },
    );
    Ok(axum::Json(page).into_response())
}

fn since(value: Value, now: Timestamp) -> Result<Timestamp, Unread> {
    let text = text(value)?;
    let span = parse_span(&text).map(|span| now.minus(span)).ok();
    span.or_else(|| Timestamp::parse_rfc3339(&text)).ok_or_else(|| {
        "must be a span like 24h, or a moment like 2026-01-31T00:00:00Z (with + written as %2B)".to_owned()
    })
}
