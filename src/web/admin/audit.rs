//! `/admin/audit`: the audit trail, newest first.

use askama::Template;
use axum::extract::RawQuery;
use axum::response::Response;

use super::{Choice, Tab, query, tabs};
use crate::broker::{AccountError, AuditFilter, CallsOf};
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::scope::ScopeSet;
use crate::domain::time::{Timestamp, parse_span};
use crate::web::calls::{Names, took};
use crate::web::chart::{Chart, Counted, Span};
use crate::web::form::{Field, Fields};
use crate::web::frame::{Frame, Section, page};
use crate::web::moment::Moment;
use crate::web::problem::Problem;
use crate::web::visit::{Admin, SignedIn};

/// So many events stand on one page.
const PAGE: u32 = 25;
/// So many rows are looked at for the chart, of each app where some are named.
const COUNTED: u32 = 10_000;

#[derive(Template)]
#[template(path = "admin/audit.html")]
struct AuditPage {
    frame: Frame,
    tabs: Vec<Tab>,
    user: Field,
    app: Field,
    since: Field,
    kinds: Vec<Choice>,
    /// Nothing where the filter lets no calls through.
    chart: Option<Chart>,
    /// The other span of the chart, under the same filter.
    other_span: String,
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
            decision: match event.count {
                1 => event.decision.to_string(),
                many => format!("{}, {many} times", event.decision),
            },
            status: event.status.map(|status| status.to_string()).unwrap_or_default(),
            took: took(event),
        }
    }
}

/// The calls of the filter by decision.
async fn chart(visit: &SignedIn, filter: &AuditFilter, span: Span) -> Result<Option<Chart>, Problem> {
    if filter.kind.is_some_and(|kind| kind != kind::CALL) {
        return Ok(None);
    }
    let of = CallsOf { user: filter.user, app: filter.app };
    let (_, step_ms) = span.steps();
    let found = visit.web.broker.count_decisions(of, span.since(visit.now), step_ms, COUNTED).await;
    let found = found.map_err(Problem::unavailable)?;
    let rows: i64 = found.iter().map(|one| one.rows).sum();
    let counted: Vec<Counted> = found
        .into_iter()
        .map(|one| Counted {
            step: one.span,
            calls: one.calls,
            refused: if one.decision == "allowed" { 0 } else { one.calls },
            what: one.decision,
        })
        .collect();
    let mut chart = Chart::of(span, visit.now, "By decision", &counted);
    if rows >= i64::from(COUNTED) {
        chart.cut = Some("Of very many calls, the newest are counted.");
    }
    Ok(Some(chart))
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
    let mut names = Names::default();
    names.learn(broker, &events).await;
    let span = Span::of(fields.one("span"));
    let chart = if wrong { None } else { chart(&visit, &filter, span).await? };
    let full = events.len() == PAGE as usize;
    let next = events.last().filter(|_| full).map(|last| {
        let kept = |name| (name, fields.one(name).trim());
        query(&[kept("user"), kept("app"), kept("kind"), kept("since"), kept("span"), ("cursor", &last.id.to_string())])
    });
    let kept = |name| (name, fields.one(name).trim());
    let other = if span == Span::Week { "" } else { "week" };
    let other_span = query(&[kept("user"), kept("app"), kept("kind"), kept("since"), ("span", other)]);
    Ok(page(&AuditPage {
        frame: visit.frame(Section::Admin),
        tabs: tabs("/admin/audit"),
        user,
        app,
        since,
        kinds: kind::ALL.into_iter().map(|one| Choice::plain(one, fields.one("kind"))).collect(),
        chart,
        other_span,
        events: events.iter().map(|event| Row::of(event, &names, visit.now)).collect(),
        next,
    }))
}
