//! `/admin/audit`: the audit trail, newest first.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::RawQuery;
use axum::response::Response;

use super::{Choice, Tab, query, tabs};
use crate::broker::{AccountError, AuditFilter, Broker};
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::scope::ScopeSet;
use crate::domain::time::{Timestamp, parse_span};
use crate::web::calls::{Names, took};
use crate::web::form::{Field, Fields};
use crate::web::frame::{Frame, Section, page};
use crate::web::moment::Moment;
use crate::web::problem::Problem;
use crate::web::visit::Admin;

/// So many events stand on one page.
const PAGE: u32 = 100;

#[derive(Template)]
#[template(path = "admin/audit.html")]
struct AuditPage {
    frame: Frame,
    tabs: Vec<Tab>,
    user: Field,
    app: Field,
    since: Field,
    kinds: Vec<Choice>,
    events: Vec<Row>,
    next: Option<String>,
}

struct Row {
    at: Moment,
    kind: &'static str,
    user: String,
    app: String,
    grant: String,
    detail: String,
    scope: ScopeSet,
    decision: String,
    status: String,
    took: String,
}

impl Row {
    fn of(event: &AuditEvent, names: &Names, now: Timestamp) -> Self {
        let path = event.path.as_deref().unwrap_or_default();
        let detail = match event.method.as_deref() {
            Some(method) => format!("{method} {path}"),
            None => path.to_owned(),
        };
        Self {
            at: Moment::of(event.at, now),
            kind: event.kind,
            user: names.of_user(event.user),
            app: names.of_app(event.app),
            grant: names.of_grant(event.grant),
            detail,
            scope: event.scope.map(ScopeSet::of).unwrap_or_default(),
            decision: event.decision.to_string(),
            status: event.status.map(|status| status.to_string()).unwrap_or_default(),
            took: took(event),
        }
    }
}

/// The names of what a page of events points to.
async fn names_of(broker: &Broker, events: &[AuditEvent]) -> Result<Names, Problem> {
    let mut names = Names::default();
    for id in events.iter().filter_map(|event| event.user).collect::<BTreeSet<_>>() {
        if let Some(user) = broker.account(id).await.map_err(Problem::unavailable)? {
            names.user(id, user.name.as_str());
        }
    }
    for id in events.iter().filter_map(|event| event.app).collect::<BTreeSet<_>>() {
        if let Ok(record) = broker.find_app(id, None).await {
            names.app(id, record.app.name.as_str());
        }
    }
    for id in events.iter().filter_map(|event| event.grant).collect::<BTreeSet<_>>() {
        if let Some(grant) = broker.find_grant(id, None).await.map_err(Problem::unavailable)? {
            names.grant(id, grant.label.as_str());
        }
    }
    Ok(names)
}

/// `GET /admin/audit`
pub(crate) async fn show(Admin(visit): Admin, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    let fields = Fields::parse(raw.unwrap_or_default().as_bytes());
    let broker = &visit.web.broker;
    let field = |name| Field::with(name, fields.one(name).trim());
    let (mut user, mut app, mut since) = (field("user"), field("app"), field("since"));
    let mut filter = AuditFilter {
        kind: kind::ALL.into_iter().find(|known| *known == fields.one("kind")),
        before: fields.some("cursor").and_then(|id| id.parse().ok()),
        limit: PAGE,
        ..AuditFilter::default()
    };
    if !user.value.is_empty() {
        match broker.find_user(&user.value).await {
            Ok(found) => filter.user = Some(found.id),
            Err(AccountError::NotFound) => user = user.wrong("There is no such user."),
            Err(other) => return Err(Problem::unavailable(other)),
        }
    }
    if !app.value.is_empty() {
        match app.value.parse() {
            Ok(id) => filter.app = Some(id),
            Err(error) => app = app.wrong(format!("This {error}: take it from the address of the app's page.")),
        }
    }
    if !since.value.is_empty() {
        match parse_span(&since.value) {
            Ok(span) => filter.since = Some(visit.now.minus(span)),
            Err(error) => since = since.wrong(format!("The time {error}.")),
        }
    }
    let wrong = [&user, &app, &since].iter().any(|field| field.error.is_some());
    let events = if wrong { Vec::new() } else { broker.list_audit(&filter).await.map_err(Problem::unavailable)? };
    let names = names_of(broker, &events).await?;
    let full = events.len() == PAGE as usize;
    let next = events.last().filter(|_| full).map(|last| {
        let kept = |name| (name, fields.one(name).trim());
        query(&[kept("user"), kept("app"), kept("kind"), kept("since"), ("cursor", &last.id.to_string())])
    });
    Ok(page(&AuditPage {
        frame: visit.frame(Section::Admin),
        tabs: tabs("/admin/audit"),
        user,
        app,
        since,
        kinds: kind::ALL.into_iter().map(|one| Choice::plain(one, fields.one("kind"))).collect(),
        events: events.iter().map(|event| Row::of(event, &names, visit.now)).collect(),
        next,
    }))
}
