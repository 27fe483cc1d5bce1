//! `/admin/apps`: every app of every user.

use askama::Template;
use axum::extract::{Path, RawQuery};
use axum::response::Response;

use super::{Tab, query, tabs};
use crate::broker::{AppFilter, AppRecord};
use crate::domain::id::AppId;
use crate::domain::scope::ScopeSet;
use crate::domain::time::Timestamp;
use crate::web::form::Fields;
use crate::web::frame::{Frame, Notice, Section, Tone, page};
use crate::web::moment::Moment;
use crate::web::problem::Problem;
use crate::web::rows::AppRow;
use crate::web::visit::{Admin, Posted, Refused};

/// So many apps stand on one page.
const PAGE: u32 = 40;

#[derive(Template)]
#[template(path = "admin/apps.html")]
struct AppsPage {
    frame: Frame,
    tabs: Vec<Tab>,
    q: String,
    /// The label of the grant that all apps of the page can reach, when one was chosen.
    grant: Option<String>,
    apps: Vec<Row>,
    next: Option<String>,
}

struct Row {
    app: AppRow,
    user: String,
    used: ScopeSet,
    made: Moment,
    live: bool,
}

impl Row {
    fn of(record: &AppRecord, now: Timestamp) -> Self {
        Self {
            app: AppRow::of(&record.app, now),
            user: record.user_name.clone(),
            used: record.scopes_used,
            made: Moment::of(record.app.created_at, now),
            live: record.app.revoked_at.is_none(),
        }
    }
}

/// `GET /admin/apps`; with `grant`, the live apps that can reach it.
pub(crate) async fn show(Admin(visit): Admin, RawQuery(raw): RawQuery) -> Result<Response, Refused> {
    let fields = Fields::parse(raw.unwrap_or_default().as_bytes());
    let broker = &visit.web.broker;
    let search = fields.some("q").map(str::to_owned);
    let grant = match fields.some("grant").and_then(|id| id.parse().ok()) {
        Some(id) => broker.find_grant(id, None).await.map_err(Problem::unavailable)?,
        None => None,
    };
    let filter = AppFilter {
        user: grant.as_ref().map(|grant| grant.user),
        search: search.clone(),
        live: grant.is_some(),
        newest_first: grant.is_some(),
        after: fields.some("cursor").and_then(|id| id.parse().ok()),
        limit: if grant.is_some() { 1_000 } else { PAGE },
        ..AppFilter::default()
    };
    let mut found = broker.list_apps(&filter).await?;
    let last = found.last().filter(|_| found.len() == PAGE as usize && grant.is_none());
    let next =
        last.map(|last| query(&[("q", search.as_deref().unwrap_or_default()), ("cursor", &last.app.id.to_string())]));
    if let Some(grant) = &grant {
        found.retain(|record| record.app.reaches(grant));
    }
    Ok(page(&AppsPage {
        frame: visit.frame(Section::Admin),
        tabs: tabs("/admin/apps"),
        q: search.unwrap_or_default(),
        grant: grant.map(|grant| grant.label.to_string()),
        apps: found.iter().map(|record| Row::of(record, visit.now)).collect(),
        next,
    }))
}

/// `POST /admin/apps/{id}/revoke`
pub(crate) async fn revoke(
    Path(id): Path<String>,
    Posted { visit: Admin(visit), .. }: Posted<Admin>,
) -> Result<Response, Refused> {
    visit.fresh_or("/admin/apps")?;
    let id: AppId = id.parse().map_err(|_| Problem::not_found())?;
    let name = visit.web.broker.find_app(id, None).await?.app.name;
    visit.web.broker.revoke_app(id, None).await?;
    visit.tell(Notice::new(Tone::Good, format!("“{name}” is cut off. Its key is dead."))).await?;
    Ok(visit.to("/admin/apps"))
}
