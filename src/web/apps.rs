//! `/apps` and `/apps/new`: the programs of a user, and a new one with its key, shown once.

use askama::Template;
use axum::extract::RawQuery;
use axum::response::Response;
use http::StatusCode;

use super::form::{Field, Fields};
use super::frame::{Frame, Section, page, page_with};
use super::problem::Problem;
use super::rows::AppRow;
use super::scopes::{ScopeRow, rows, ticked};
use super::snippets::{Snippet, for_app};
use super::visit::{Posted, Refused, SignedIn};
use crate::broker::{AppError, AppFilter, AppWish, GrantsAfter, MadeApp};
use crate::domain::app::Rate;
use crate::domain::grant::{Grant, GrantStatus};
use crate::domain::id::GrantId;
use crate::domain::scope::{Risk, Scope, ScopeSet};
use crate::domain::time::parse_span;

/// So many apps stand on one page.
const PAGE: u32 = 50;
/// So many grants, the newest, can be chosen for an app.
const GRANTS: u32 = 200;

#[derive(Template)]
#[template(path = "apps.html")]
struct AppsPage {
    frame: Frame,
    apps: Vec<AppRow>,
    next: Option<String>,
}

/// `GET /apps`
pub(crate) async fn show(visit: SignedIn, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let filter = AppFilter {
        user: Some(visit.user.id),
        newest_first: true,
        after: fields.some("after").and_then(|id| id.parse().ok()),
        limit: PAGE,
        ..AppFilter::default()
    };
    let found = visit.web.broker.list_apps(&filter).await.map_err(Problem::unavailable)?;
    let full = found.len() == PAGE as usize;
    let next = found.last().filter(|_| full).map(|last| format!("/apps?after={}", last.app.id));
    let apps = found.iter().map(|record| AppRow::of(&record.app, visit.now)).collect();
    Ok(page(&AppsPage { frame: visit.frame(Section::Apps), apps, next }))
}

#[derive(Template)]
#[template(path = "app_new.html")]
struct NewAppPage {
    frame: Frame,
    name: Field,
    scope: Field,
    rows: Vec<ScopeRow>,
    expires: Field,
    grant: Field,
    grants: Vec<GrantChoice>,
    rate: Field,
    query_key: bool,
    more_open: bool,
}

struct GrantChoice {
    id: String,
    label: String,
    scopes: String,
    chosen: bool,
}

impl NewAppPage {
    /// The page with what was filled in so far.
    async fn of(visit: &SignedIn, fields: &Fields, scopes: ScopeSet) -> Result<Self, Problem> {
        let (broker, user) = (&visit.web.broker, Some(visit.user.id));
        let page = GrantsAfter { user, live: true, newest_first: true, limit: GRANTS, ..GrantsAfter::default() };
        let listed = broker.list_grants_after(&page).await.map_err(Problem::unavailable)?;
        let mut grants: Vec<Grant> = listed.into_iter().map(|(grant, _)| grant).collect();
        let chosen = fields.one("grant");
        if let Ok(id) = chosen.parse::<GrantId>()
            && grants.iter().all(|grant| grant.id != id)
            && let Some(older) = broker.find_grant(id, user).await.map_err(Problem::unavailable)?
            && older.status != GrantStatus::Disconnected
        {
            grants.push(older);
        }
        let held = grants.iter().fold(ScopeSet::EMPTY, |held, grant| held.union(grant.scopes_granted));
        let choice = |grant: &Grant| GrantChoice {
            id: grant.id.to_string(),
            label: grant.label.to_string(),
            scopes: grant.scopes_granted.to_string(),
            chosen: grant.id.to_string() == chosen,
        };
        Ok(Self {
            frame: visit.frame(Section::Apps),
            name: Field::with("name", fields.one("name")),
            scope: Field::empty("scope"),
            rows: rows(scopes, held),
            expires: Field::with("expires", fields.one("expires")),
            grant: Field::with("grant", chosen),
            grants: grants.iter().map(choice).collect(),
            rate: Field::with("rate", fields.one("rate")),
            query_key: fields.has("query_key"),
            more_open: ["grant", "rate", "query_key"].iter().any(|name| fields.some(name).is_some()),
        })
    }
}

/// `GET /apps/new`; what the query says is filled in already.
pub(crate) async fn new(visit: SignedIn, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let scopes = match ticked(fields.all("scope")) {
        Ok(scopes) if !scopes.is_empty() => scopes,
        _ => ScopeSet::of(Scope::Vehicles),
    };
    Ok(page(&NewAppPage::of(&visit, &fields, scopes).await?))
}

/// What a form wishes for, or the page again with what is wrong in it.
async fn wish(visit: &SignedIn, fields: &Fields) -> Result<AppWish, Refused> {
    let scopes = ticked(fields.all("scope"));
    let mut page = NewAppPage::of(visit, fields, scopes.clone().unwrap_or_default()).await?;
    let scopes = scopes.unwrap_or_else(|error| {
        page.scope.error = Some(error);
        ScopeSet::EMPTY
    });
    let expires_in = match fields.some("expires").map(parse_span).transpose() {
        Ok(span) => span,
        Err(error) => {
            page.expires.error = Some(format!("The time {error}."));
            None
        }
    };
    let rate = match fields.some("rate").map(str::parse::<Rate>).transpose() {
        Ok(rate) => rate,
        Err(error) => {
            page.rate.error = Some(format!("The limit {error}."));
            None
        }
    };
    let grant = fields.some("grant").map(str::parse::<GrantId>).transpose().unwrap_or_else(|_| {
        page.grant.error = Some("There is no such grant.".to_owned());
        None
    });
    let name = fields.one("name").trim().to_owned();
    if let Err(error) = name.parse::<crate::domain::user::Label>() {
        page.name.error = Some(format!("The name {error}."));
    }
    if scopes.is_empty() && page.scope.error.is_none() {
        page.scope.error = Some("Choose at least one scope.".to_owned());
    }
    let wrong = [&page.name, &page.scope, &page.expires, &page.rate, &page.grant];
    if wrong.iter().any(|field| field.error.is_some()) {
        page.more_open |= page.rate.error.is_some() || page.grant.error.is_some();
        return Err(Refused::Page(Box::new(page_with(StatusCode::UNPROCESSABLE_ENTITY, &page))));
    }
    Ok(AppWish { user: visit.user.id, name, scopes, expires_in, query_key: fields.has("query_key"), grant, rate })
}

/// `POST /apps/new`
pub(crate) async fn make(Posted { visit, fields }: Posted<SignedIn>) -> Result<Response, Refused> {
    let wish = wish(&visit, &fields).await?;
    if wish.scopes.iter().any(|scope| scope.risk() != Risk::Read) {
        visit.fresh_or(&form_again(&fields))?;
    }
    let scopes = wish.scopes;
    let refusal = match visit.web.broker.make_app(wish).await {
        Ok(made) => {
            let lead = "Give the key to the program, and to nothing else.".to_owned();
            return Ok(key_page(&visit, &made, "The app is made", lead));
        }
        Err(refusal) => refusal,
    };
    let mut page = NewAppPage::of(&visit, &fields, scopes).await?;
    let words = Some(refusal.to_string());
    match refusal {
        AppError::BadName(_) => page.name.error = words,
        AppError::NoScope => page.scope.error = words,
        AppError::NoSuchGrant | AppError::GrantTooNarrow(_) => {
            page.grant.error = words;
            page.more_open = true;
        }
        AppError::NotFound => return Err(Problem::not_found().into()),
        AppError::Storage(cause) => return Err(Problem::unavailable(cause).into()),
    }
    Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &page))
}

/// The form's page with what was filled in: nothing in it is secret.
fn form_again(fields: &Fields) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for name in ["name", "scope", "expires", "grant", "rate", "query_key"] {
        for value in fields.all(name).filter(|value| !value.is_empty()) {
            query.append_pair(name, value);
        }
    }
    format!("/apps/new?{}", query.finish())
}

#[derive(Template)]
#[template(path = "app_key.html")]
struct KeyPage {
    frame: Frame,
    id: String,
    name: String,
    heading: &'static str,
    lead: String,
    key: String,
    snippets: Vec<Snippet>,
}

/// The one page that shows a key.
pub(crate) fn key_page(visit: &SignedIn, made: &MadeApp, heading: &'static str, lead: String) -> Response {
    let key = made.key.expose();
    page(&KeyPage {
        frame: visit.frame(Section::Apps),
        id: made.app.id.to_string(),
        name: made.app.name.to_string(),
        heading,
        lead,
        key: key.to_owned(),
        snippets: for_app(&visit.web.broker.settings.proxy_public_url, key, made.app.scopes),
    })
}
