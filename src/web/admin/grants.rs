//! `/admin/grants`: every grant of every user, filtered, sorted, paged; and the end of chosen ones.

use askama::Template;
use axum::extract::RawQuery;
use axum::response::Response;

use super::{Choice, Tab, query, tabs};
use crate::broker::{AccountError, Broker, GrantFilter, GrantSort, ListedGrant};
use crate::domain::grant::{ConsentReason, GrantStatus};
use crate::domain::id::GrantId;
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::time::Timestamp;
use crate::web::form::{Field, Fields};
use crate::web::frame::{Frame, Notice, Pill, Section, Tone, page};
use crate::web::moment::Moment;
use crate::web::problem::Problem;
use crate::web::rows::kind_words;
use crate::web::visit::{Admin, Posted, Refused};

/// So many grants stand on one page.
const PAGE: u32 = 25;

const SORTS: [(&str, &str, GrantSort); 5] = [
    ("attention", "What needs attention", GrantSort::Attention),
    ("user", "User", GrantSort::User),
    ("created", "Newest", GrantSort::Created),
    ("used", "Last used", GrantSort::LastUsed),
    ("expires", "First to expire", GrantSort::Expires),
];

#[derive(Template)]
#[template(path = "admin/grants.html")]
struct GrantsPage {
    frame: Frame,
    tabs: Vec<Tab>,
    total: String,
    /// The filter as a query string.
    query: String,
    q: String,
    user: Field,
    scope: Field,
    status: Field,
    scopes: Vec<Choice>,
    statuses: Vec<Choice>,
    sorts: Vec<Choice>,
    grants: Vec<Row>,
    first: Option<String>,
    next: Option<String>,
}

struct Row {
    id: String,
    label: String,
    kind: &'static str,
    user: String,
    pill: Pill,
    reason: Option<&'static str>,
    requested: ScopeSet,
    granted: ScopeSet,
    used: ScopeSet,
    apps: i64,
    apps_query: String,
    live: bool,
    created: Moment,
    last_used: Option<Moment>,
    expires: Option<Moment>,
}

impl Row {
    fn of(listed: &ListedGrant, now: Timestamp) -> Self {
        let grant = &listed.grant;
        Self {
            id: grant.id.to_string(),
            label: grant.label.to_string(),
            kind: kind_words(grant.kind),
            user: listed.user_name.clone(),
            pill: Pill::of(grant),
            reason: grant.reason.map(ConsentReason::as_str),
            requested: grant.scopes_requested,
            granted: grant.scopes_granted,
            used: grant.scopes_used,
            apps: listed.apps,
            apps_query: query(&[("grant", &grant.id.to_string())]),
            live: grant.status != GrantStatus::Disconnected,
            created: Moment::of(grant.created_at, now),
            last_used: Moment::maybe(grant.last_used_at, now),
            expires: Moment::maybe(grant.expires_at, now),
        }
    }
}

/// The fields of a filter that can be wrong.
pub(super) struct Filtered {
    user: Field,
    scope: Field,
    status: Field,
}

impl Filtered {
    /// What is wrong with the filter, if anything is.
    pub(super) fn fault(&self) -> Option<&str> {
        [&self.user, &self.scope, &self.status].into_iter().find_map(|field| field.error.as_deref())
    }
}

/// A filter as the query names it. What does not exist is an error beside its field.
pub(super) async fn filter_of(broker: &Broker, fields: &Fields) -> Result<(GrantFilter, Filtered), Problem> {
    let (mut scope, mut status) = (Field::empty("scope"), Field::empty("status"));
    if fields.some("scope").is_some_and(|name| name.parse::<Scope>().is_err()) {
        scope = scope.wrong("There is no such scope.");
    }
    if fields.some("status").is_some_and(|name| name.parse::<GrantStatus>().is_err()) {
        status = status.wrong("There is no such status.");
    }
    let mut user = Field::with("user", fields.one("user").trim());
    let sort = SORTS.iter().find(|(name, ..)| *name == fields.one("sort")).map(|(.., sort)| *sort);
    let mut filter = GrantFilter {
        scope: fields.some("scope").and_then(|name| name.parse().ok()),
        status: fields.some("status").and_then(|name| name.parse().ok()),
        search: fields.some("q").map(str::to_owned),
        sort: sort.unwrap_or_default(),
        ..GrantFilter::default()
    };
    if !user.value.is_empty() {
        match broker.find_user(&user.value).await {
            Ok(found) => filter.user = Some(found.id),
            Err(AccountError::NotFound) => user = user.wrong("There is no such user."),
            Err(other) => return Err(Problem::unavailable(other)),
        }
    }
    Ok((filter, Filtered { user, scope, status }))
}

/// `GET /admin/grants`
pub(crate) async fn show(Admin(visit): Admin, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    let fields = Fields::parse(raw.unwrap_or_default().as_bytes());
    let broker = &visit.web.broker;
    let (mut filter, filtered) = filter_of(broker, &fields).await?;
    filter.offset = fields.some("cursor").and_then(|at| at.parse().ok()).unwrap_or(0);
    filter.limit = PAGE + 1;
    let (mut found, mut count) = (Vec::new(), 0);
    if filtered.fault().is_none() {
        found = broker.list_grants(&filter).await.map_err(Problem::unavailable)?;
        count = broker.count_grants(&filter).await.map_err(Problem::unavailable)?;
    }
    let more = found.len() > PAGE as usize;
    found.truncate(PAGE as usize);

    let kept = |cursor: &str| {
        let names = ["q", "user", "scope", "status", "sort"];
        let mut pairs: Vec<(&str, &str)> = names.iter().map(|name| (*name, fields.one(name).trim())).collect();
        pairs.push(("cursor", cursor));
        query(&pairs)
    };
    let (scope, status, sort) = (fields.one("scope"), fields.one("status"), fields.one("sort"));
    let sorts = SORTS.iter().map(|(name, words, _)| Choice { name, words, chosen: *name == sort });
    let shown = GrantsPage {
        frame: visit.frame(Section::Admin),
        tabs: tabs("/admin/grants"),
        total: if count == 1 { "1 grant.".to_owned() } else { format!("{count} grants.") },
        query: kept(""),
        q: fields.one("q").to_owned(),
        user: filtered.user,
        scope: filtered.scope,
        status: filtered.status,
        scopes: Scope::ALL.iter().map(|one| Choice::plain(one.as_str(), scope)).collect(),
        statuses: GrantStatus::ALL.iter().map(|one| Choice::plain(one.as_str(), status)).collect(),
        sorts: sorts.collect(),
        grants: found.iter().map(|listed| Row::of(listed, visit.now)).collect(),
        first: (filter.offset > 0).then(|| kept("")),
        next: more.then(|| kept(&filter.offset.saturating_add(PAGE).to_string())),
    };
    Ok(page(&shown))
}

/// `POST /admin/grants/revoke`: ends the chosen grants.
pub(crate) async fn revoke(Posted { visit: Admin(visit), fields }: Posted<Admin>) -> Result<Response, Refused> {
    let back = format!("/admin/grants{}", fields.one("back"));
    let back = crate::web::site::local_path(&back).unwrap_or("/admin/grants");
    visit.fresh_or(back)?;
    let chosen: Vec<GrantId> = fields.all("grant").filter_map(|id| id.parse().ok()).collect();
    if chosen.is_empty() {
        visit.tell(Notice::new(Tone::Wait, "Choose the grants to revoke first. Nothing was changed.")).await?;
        return Ok(visit.to(back));
    }
    let mut ended = Vec::new();
    for id in chosen {
        ended.extend(visit.web.broker.disconnect(id, None).await.map_err(Problem::unavailable)?);
    }
    let text = match ended.as_slice() {
        [] => "Nothing was left to revoke: the grants had ended already.".to_owned(),
        [one] => format!("“{}” is revoked. {}", one.grant.label, one.at_provider.advice()),
        many => format!(
            "{} grants are revoked here. Where Teslascope offers no revocation, their tokens stay valid there until they expire.",
            many.len()
        ),
    };
    visit.tell(Notice::new(Tone::Good, text)).await?;
    Ok(visit.to(back))
}
