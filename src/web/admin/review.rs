//! `/admin/review`: all grants with what was never used of them, and the apps that have not called for long, to be printed
//! and signed off.

use askama::Template;
use axum::extract::RawQuery;
use axum::response::Response;
use http::StatusCode;

use super::{Tab, query, tabs};
use crate::broker::{
    AppFilter, AppRecord, GrantFilter, GrantSort, ListedGrant, Review, ReviewCounts, ReviewRefusal, ToReview,
};
use crate::domain::scope::ScopeSet;
use crate::domain::time::Timestamp;
use crate::web::form::{Field, Fields};
use crate::web::frame::{Frame, Notice, Pill, Section, Tone, page_with};
use crate::web::moment::Moment;
use crate::web::problem::Problem;
use crate::web::session::Member;
use crate::web::sign_in::{later, refused};
use crate::web::visit::{Admin, Posted, Refused, SignedIn};

/// So many grants, and so many apps, stand on one page.
const PAGE: u32 = 40;
/// So many reviews are shown.
const REVIEWS: u32 = 20;

#[derive(Template)]
#[template(path = "admin/review.html")]
struct ReviewPage {
    frame: Frame,
    tabs: Vec<Tab>,
    origin: String,
    today: Moment,
    counts: ReviewCounts,
    grants: Vec<GrantRow>,
    apps: Vec<AppRow>,
    /// Whether everything is on this page.
    whole: bool,
    first: bool,
    next: Option<String>,
    /// What the reviewer saw when they began.
    saw: ToReview,
    remark: Field,
    /// Asked for where it was not shown lately.
    password: Option<Field>,
    reviews: Vec<ReviewRow>,
}

struct GrantRow {
    label: String,
    user: String,
    pill: Pill,
    granted: ScopeSet,
    unused: ScopeSet,
    apps: i64,
    created: Moment,
    last_used: Option<Moment>,
}

struct AppRow {
    name: String,
    user: String,
    scopes: ScopeSet,
    made: Moment,
    last_used: Option<Moment>,
}

struct ReviewRow {
    at: Moment,
    by: String,
    counts: ReviewCounts,
    remark: String,
}

impl GrantRow {
    fn of(listed: &ListedGrant, now: Timestamp) -> Self {
        let grant = &listed.grant;
        Self {
            label: grant.label.to_string(),
            user: listed.user_name.clone(),
            pill: Pill::of(grant),
            granted: grant.scopes_granted,
            unused: grant.scopes_granted.minus(grant.scopes_used),
            apps: listed.apps,
            created: Moment::of(grant.created_at, now),
            last_used: Moment::maybe(grant.last_used_at, now),
        }
    }
}

impl AppRow {
    fn of(record: &AppRecord, now: Timestamp) -> Self {
        Self {
            name: record.app.name.to_string(),
            user: record.user_name.clone(),
            scopes: record.app.scopes,
            made: Moment::of(record.app.created_at, now),
            last_used: Moment::maybe(record.app.last_used_at, now),
        }
    }
}

impl ReviewRow {
    fn of(review: Review, now: Timestamp) -> Self {
        Self {
            at: Moment::of(review.at, now),
            by: review.user_name.unwrap_or_else(|| "an account that is gone".to_owned()),
            counts: review.counts,
            remark: review.remark,
        }
    }
}

/// What was asked to be seen: all of it, or a page of grants and of apps.
struct View {
    whole: bool,
    from: u32,
}

impl View {
    fn of(fields: &Fields) -> Self {
        Self { whole: fields.has("all"), from: fields.some("cursor").and_then(|at| at.parse().ok()).unwrap_or(0) }
    }

    /// Where reading begins, and how much is read. The whole list is read at once, since a call that comes between two
    /// pages can change their order.
    const fn read(&self) -> (u32, u32) {
        if self.whole { (0, u32::MAX) } else { (self.from, PAGE) }
    }
}

async fn page_of(visit: &SignedIn, view: &View) -> Result<ReviewPage, Refused> {
    let (broker, now) = (&visit.web.broker, visit.now);
    let saw = broker.to_review().await.map_err(Problem::unavailable)?;
    let counts = saw.counts;
    let (offset, limit) = view.read();
    let filter = GrantFilter { live: true, sort: GrantSort::Unused, offset, limit, ..GrantFilter::default() };
    let grants = broker.list_grants(&filter).await.map_err(Problem::unavailable)?;
    let filter = AppFilter { idle_since: Some(broker.stale_before()), offset, limit, ..AppFilter::default() };
    let idle = broker.list_apps(&filter).await?;
    let end = offset.saturating_add(limit);
    let more = !view.whole && i64::from(end) < counts.grants.max(counts.stale);
    let reviews = broker.list_reviews(REVIEWS).await.map_err(Problem::unavailable)?;
    Ok(ReviewPage {
        frame: visit.frame(Section::Admin),
        tabs: tabs("/admin/review"),
        origin: visit.web.site.address(""),
        today: Moment::of(now, now),
        counts,
        grants: grants.iter().map(|listed| GrantRow::of(listed, now)).collect(),
        apps: idle.iter().map(|record| AppRow::of(record, now)).collect(),
        whole: view.whole || (view.from == 0 && !more),
        first: view.whole || view.from == 0,
        next: more.then(|| query(&[("cursor", &end.to_string())])),
        saw,
        remark: Field::empty("remark"),
        password: (!visit.is_fresh()).then(|| Field::empty("password")),
        reviews: reviews.into_iter().map(|review| ReviewRow::of(review, now)).collect(),
    })
}

/// `GET /admin/review`; with `all`, everything on one page, to be printed.
pub(crate) async fn show(Admin(visit): Admin, RawQuery(raw): RawQuery) -> Result<Response, Refused> {
    let view = View::of(&Fields::parse(raw.unwrap_or_default().as_bytes()));
    Ok(page_with(StatusCode::OK, &page_of(&visit, &view).await?))
}

/// `POST /admin/review`: signs off what the reviewer saw. Reading takes its time, so the password is asked for here, beside what
/// they wrote, and not on a page of its own.
pub(crate) async fn sign_off(Posted { visit: Admin(visit), fields }: Posted<Admin>) -> Result<Response, Refused> {
    let number = |name| fields.one(name).parse().unwrap_or(-1);
    let counts = ReviewCounts { grants: number("grants"), unused: number("unused"), stale: number("stale") };
    let saw = ToReview { counts, digest: fields.one("digest").to_owned() };
    let remark = Field::with("remark", fields.one("remark"));
    let first = View { whole: false, from: 0 };
    if !visit.is_fresh() {
        let password = Field::empty("password");
        let (status, wait, password) = match fields.one("password") {
            "" => (StatusCode::UNPROCESSABLE_ENTITY, None, password.wrong("Enter your password to sign off.")),
            shown => match visit.show_password(shown).await {
                Ok(()) => (StatusCode::OK, None, password),
                Err(refusal) => {
                    let (status, wait, words) = refused(refusal)?;
                    (status, wait, password.wrong(words))
                }
            },
        };
        if password.error.is_some() {
            // What they saw stays what they saw, however long this takes.
            let page = ReviewPage { saw, remark, password: Some(password), ..page_of(&visit, &first).await? };
            return Ok(later(page_with(status, &page), wait));
        }
    }
    let refusal = match visit.web.broker.sign_off_review(&visit.user, &saw, fields.one("remark")).await {
        Ok(()) => {
            if !visit.is_fresh() {
                Member::prove(&visit.session, visit.now).await.map_err(Problem::unavailable)?;
            }
            visit.tell(Notice::new(Tone::Good, "The review is signed off, and stands in the list below.")).await?;
            return Ok(visit.to("/admin/review"));
        }
        Err(refusal) => refusal,
    };
    let (status, remark) = match refusal {
        ReviewRefusal::Changed => (StatusCode::CONFLICT, remark.wrong(refusal)),
        ReviewRefusal::BadRemark => (StatusCode::UNPROCESSABLE_ENTITY, remark.wrong(format!("The remark {refusal}."))),
        ReviewRefusal::Storage(cause) => return Err(Problem::unavailable(cause).into()),
    };
    Ok(page_with(status, &ReviewPage { remark, ..page_of(&visit, &first).await? }))
}
