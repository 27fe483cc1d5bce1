//! `/live` and `/admin/live`: calls as they happen, and why each was allowed or refused. Without a script, the last ones.

use askama::Template;
use axum::response::Response;

use super::admin::{Tab, tabs};
use super::calls::{CallRow, Names};
use super::frame::{Frame, Section, page};
use super::problem::Problem;
use super::stream::{Whose, calls};
use super::visit::{Admin, Refused, SignedIn};
use crate::broker::AuditFilter;
use crate::domain::audit::kind;

/// So many calls stand on the page when it is opened.
const SHOWN: u32 = 30;

#[derive(Template)]
#[template(path = "live.html")]
struct LivePage {
    frame: Frame,
    /// The administrator's tabs; none on one's own page.
    tabs: Vec<Tab>,
    /// The page's own path, below which its events are.
    path: &'static str,
    all: bool,
    calls: Vec<CallRow>,
    /// What the script fills: one of each look.
    blanks: Vec<CallRow>,
}

/// `GET /live`
pub(crate) async fn show(visit: SignedIn) -> Result<Response, Problem> {
    let filter = AuditFilter { user: Some(visit.user.id), ..AuditFilter::default() };
    shown(&visit, filter, Whose::Own).await
}

/// `GET /live/events`
pub(crate) async fn own_events(visit: SignedIn) -> Result<Response, Problem> {
    calls(&visit, Whose::Own)
}

/// `GET /admin/live`
pub(crate) async fn show_all(Admin(visit): Admin) -> Result<Response, Problem> {
    shown(&visit, AuditFilter::default(), Whose::All).await
}

/// `GET /admin/live/events`
pub(crate) async fn all_events(Admin(visit): Admin) -> Result<Response, Refused> {
    Ok(calls(&visit, Whose::All)?)
}

async fn shown(visit: &SignedIn, filter: AuditFilter, whose: Whose) -> Result<Response, Problem> {
    let (broker, all) = (&visit.web.broker, whose == Whose::All);
    let filter = AuditFilter { kind: Some(kind::CALL), limit: SHOWN, ..filter };
    let found = broker.list_audit(&filter).await.map_err(Problem::unavailable)?;
    let mut names = Names::default();
    names.learn(broker, &found).await;
    let calls = found.iter().map(|event| CallRow::of(event, &names, visit.now)).collect();
    let (section, path) = if all { (Section::Admin, "/admin/live") } else { (Section::Live, "/live") };
    Ok(page(&LivePage {
        frame: visit.frame(section),
        tabs: if all { tabs(path) } else { Vec::new() },
        path,
        all,
        calls,
        blanks: CallRow::blanks(visit.now),
    }))
}
