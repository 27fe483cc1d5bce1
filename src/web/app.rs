//! `/apps/{id}`: one app: what it may do, what it did, its key, its end.

use std::time::Duration;

use askama::Template;
use axum::extract::{Path, RawQuery};
use axum::response::Response;
use http::StatusCode;

use super::apps::key_page;
use super::calls::{CallRow, Names};
use super::form::{Field, Fields};
use super::frame::{Frame, Notice, Section, Tone, page_with};
use super::moment::Moment;
use super::problem::Problem;
use super::rows::AppRow;
use super::scopes::{ScopeRow, rows, ticked};
use super::site::with_next;
use super::trial::Trial;
use super::visit::{Posted, Refused, SignedIn};
use crate::broker::{AppError, AppRecord, AuditFilter};
use crate::domain::app::App;
use crate::domain::audit::kind;
use crate::domain::grant::{Grant, GrantStatus};
use crate::domain::id::AppId;
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::time::{format_span, parse_span};

#[derive(Template)]
#[template(path = "app.html")]
struct AppPage {
    frame: Frame,
    app: AppRow,
    live: bool,
    used: ScopeSet,
    unused: ScopeSet,
    can_drop: bool,
    tied: Option<Tied>,
    /// Where a new app like it is made.
    anew: String,
    rate: Option<String>,
    query_key: bool,
    created: Moment,
    revoked: Option<Moment>,
    calls: Vec<CallRow>,
    proxy: String,
    trial: Option<Trial>,
    may: May,
    overlap: Field,
}

/// What the app may do, to be ticked anew.
struct May {
    choices: Vec<ScopeRow>,
    /// Whether the page was called for that.
    open: bool,
    scope: Field,
    /// Where to go afterwards.
    next: Option<String>,
}

impl May {
    fn of(scopes: ScopeSet) -> Self {
        Self { choices: rows(scopes, ScopeSet::ALL), open: false, scope: Field::empty("scope"), next: None }
    }
}

struct Tied {
    id: String,
    label: String,
    held: ScopeSet,
    /// Whether it was ended, so that no call of the app is served.
    gone: bool,
    /// Of what it holds, what the app may not use: the provider's MCP server serves the app only without such.
    beside: ScopeSet,
    /// Where it can be widened by what the app lacks and somebody came for.
    widen: Option<String>,
}

impl Tied {
    fn of(grant: &Grant, app: &App) -> Self {
        let beside = grant.scopes_granted.minus(app.scopes).intersection(ScopeSet::ALL);
        Self {
            id: grant.id.to_string(),
            label: grant.label.to_string(),
            held: grant.scopes_granted,
            gone: grant.status == GrantStatus::Disconnected,
            beside: if app.scopes.contains(Scope::McpUse) { beside } else { ScopeSet::EMPTY },
            widen: None,
        }
    }
}

impl AppPage {
    /// The page with what the app shall be allowed, ticked; and the way to the grant that it is tied to where that holds too little.
    fn ticking(mut self, wanted: ScopeSet, may: May) -> Self {
        if let Some(tied) = self.tied.as_mut().filter(|tied| !tied.gone && may.open) {
            let lacks = wanted.minus(tied.held);
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(lacks.iter().map(|scope| ("scope", scope.as_str())));
            let back = again(&self.app.id, wanted, may.next.as_deref());
            let path = format!("/grants/{}?{}", tied.id, query.finish());
            tied.widen = (!lacks.is_empty()).then(|| with_next(path, Some(&back)));
        }
        self.may = may;
        self
    }
}

/// The page of an app, with what is ticked and where to go to afterwards.
fn again(id: &str, wanted: ScopeSet, next: Option<&str>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(wanted.iter().map(|scope| ("ticked", scope.as_str())));
    with_next(format!("/apps/{id}?{}", query.finish()), next)
}

/// The form for a new app like this one, tied to no grant.
fn anew(app: &App) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("name", app.name.as_str());
    query.extend_pairs(app.scopes.iter().map(|scope| ("scope", scope.as_str())));
    if let Some(rate) = app.rate {
        query.append_pair("rate", &rate.to_string());
    }
    if app.query_key {
        query.append_pair("query_key", "yes");
    }
    format!("/apps/new?{}", query.finish())
}

impl From<AppError> for Refused {
    fn from(refusal: AppError) -> Self {
        Self::Problem(match refusal {
            AppError::NotFound => Problem::not_found(),
            AppError::Storage(cause) => Problem::unavailable(cause),
            AppError::BadName(_) | AppError::NoScope | AppError::NoSuchGrant | AppError::GrantTooNarrow(_) => {
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "This cannot be done", refusal.to_string())
            }
        })
    }
}

/// An app of this user; another's is as if there were none.
async fn find(visit: &SignedIn, id: &str) -> Result<(AppId, AppRecord), Refused> {
    let id: AppId = id.parse().map_err(|_| Problem::not_found())?;
    Ok((id, visit.web.broker.find_app(id, Some(visit.user.id)).await?))
}

async fn page_of(visit: &SignedIn, record: AppRecord, overlap: Field) -> Result<AppPage, Refused> {
    let (app, now, broker) = (&record.app, visit.now, &visit.web.broker);
    let tied = match app.grant {
        Some(id) => broker.find_grant(id, Some(visit.user.id)).await.map_err(Problem::unavailable)?,
        None => None,
    };
    let filter = AuditFilter { app: Some(app.id), kind: Some(kind::CALL), limit: 25, ..AuditFilter::default() };
    let events = broker.list_audit(&filter).await.map_err(Problem::unavailable)?;
    let mut names = Names::default();
    names.app(broker, app);
    let unused = app.scopes.minus(record.scopes_used);
    Ok(AppPage {
        frame: visit.frame(Section::Apps),
        live: app.revoked_at.is_none(),
        used: record.scopes_used,
        unused,
        can_drop: unused != app.scopes,
        tied: tied.map(|grant| Tied::of(&grant, app)),
        anew: anew(app),
        rate: app.rate.map(|rate| rate.to_string()),
        query_key: app.query_key,
        created: Moment::of(app.created_at, now),
        revoked: Moment::maybe(app.revoked_at, now),
        calls: events.iter().map(|event| CallRow::of(event, &names, now)).collect(),
        proxy: broker.settings.proxy_public_url.clone(),
        trial: Trial::of(visit, app),
        may: May::of(app.scopes),
        overlap,
        app: AppRow::of(app, now),
    })
}

fn overlap_field() -> Field {
    Field::with("overlap", "24h")
}

/// `GET /apps/{id}`; the query may name a `scope` that was missed, which is then ticked to be allowed; or all that were `ticked`
/// before the password was asked for, and no others.
pub(crate) async fn show(
    visit: SignedIn,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let (_, record) = find(&visit, &id).await?;
    let missed = ticked(fields.all("scope")).unwrap_or_default();
    let before = ticked(fields.all("ticked")).unwrap_or_default();
    let wanted = if before.is_empty() { record.app.scopes.union(missed) } else { before };
    let page = page_of(&visit, record, overlap_field()).await?;
    let may = May { open: !missed.is_empty() || !before.is_empty(), next: fields.next(), ..May::of(wanted) };
    Ok(page_with(StatusCode::OK, &page.ticking(wanted, may)))
}

/// `POST /apps/{id}/allow`: what the app may do from now on. Whoever gives it more shows their password first.
pub(crate) async fn allow(
    Path(id): Path<String>,
    Posted { visit, fields }: Posted<SignedIn>,
) -> Result<Response, Refused> {
    let (id, record) = find(&visit, &id).await?;
    let chosen = ticked(fields.all("scope"));
    let wanted = chosen.clone().unwrap_or_default();
    if !wanted.is_subset_of(record.app.scopes) {
        visit.fresh_or(&again(&id.to_string(), wanted, fields.next().as_deref()))?;
    }
    let refusal = match chosen {
        Err(error) => error,
        Ok(scopes) => match visit.web.broker.set_app_scopes(id, Some(visit.user.id), scopes).await {
            Ok(()) => {
                visit.tell(Notice::new(Tone::Good, format!("“{}” may now use: {scopes}.", record.app.name))).await?;
                return Ok(visit.to(&fields.next().unwrap_or_else(|| format!("/apps/{id}"))));
            }
            Err(refusal @ (AppError::NoScope | AppError::GrantTooNarrow(_) | AppError::NoSuchGrant)) => {
                refusal.to_string()
            }
            Err(other) => return Err(other.into()),
        },
    };
    let page = page_of(&visit, record, overlap_field()).await?;
    let scope = Field::empty("scope").wrong(refusal);
    let may = May { open: true, scope, next: fields.next(), ..May::of(wanted) };
    Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &page.ticking(wanted, may)))
}

/// `POST /apps/{id}/try`: one reading call as the app, and what came back.
pub(crate) async fn try_it(
    Path(id): Path<String>,
    Posted { visit, fields }: Posted<SignedIn>,
) -> Result<Response, Refused> {
    let (id, record) = find(&visit, &id).await?;
    let trial = Trial::run(&visit, id, fields.one("path").trim()).await?;
    let status = if trial.path.error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    // The page is made after the call, so that the call stands in it.
    let page = AppPage { trial: Some(trial), ..page_of(&visit, record, overlap_field()).await? };
    Ok(page_with(status, &page))
}

/// `POST /apps/{id}/roll`
pub(crate) async fn roll(
    Path(id): Path<String>,
    Posted { visit, fields }: Posted<SignedIn>,
) -> Result<Response, Refused> {
    let (id, record) = find(&visit, &id).await?;
    let overlap = match fields.some("overlap").map(parse_span).transpose() {
        Ok(overlap) => overlap.unwrap_or(Duration::ZERO),
        Err(error) => {
            let field = Field::with("overlap", fields.one("overlap")).wrong(format!("The time {error}."));
            return Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &page_of(&visit, record, field).await?));
        }
    };
    visit.fresh_or(&format!("/apps/{id}"))?;
    let made = visit.web.broker.roll_app(id, Some(visit.user.id), overlap).await?;
    let lead = if overlap.is_zero() {
        "The old key is dead from now on.".to_owned()
    } else {
        format!("The old key stays valid for {}.", format_span(overlap))
    };
    Ok(key_page(&visit, &made, "The key is rolled", lead))
}

/// `POST /apps/{id}/revoke`
pub(crate) async fn revoke(
    Path(id): Path<String>,
    Posted { visit, .. }: Posted<SignedIn>,
) -> Result<Response, Refused> {
    let (id, record) = find(&visit, &id).await?;
    visit.web.broker.revoke_app(id, Some(visit.user.id)).await?;
    visit.tell(Notice::new(Tone::Good, format!("“{}” is cut off. Its key is dead.", record.app.name))).await?;
    Ok(visit.to("/apps"))
}

/// `POST /apps/{id}/scopes`: drops the scopes that the app never used.
pub(crate) async fn drop_unused(
    Path(id): Path<String>,
    Posted { visit, .. }: Posted<SignedIn>,
) -> Result<Response, Refused> {
    let (id, record) = find(&visit, &id).await?;
    let kept = record.app.scopes.intersection(record.scopes_used);
    visit.web.broker.set_app_scopes(id, Some(visit.user.id), kept).await?;
    visit.tell(Notice::new(Tone::Good, "The app can now do only what it really does.")).await?;
    Ok(visit.to(&format!("/apps/{id}")))
}
