//! `/`: whether everything is all right, and who has been using the cars' data. What needs doing comes first.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use askama::Template;
use axum::extract::RawQuery;
use axum::response::Response;

use super::activity::Activity;
use super::calls::{CallRow, Names};
use super::chart::Span;
use super::form::Fields;
use super::frame::{Frame, Section, Tone, page};
use super::problem::Problem;
use super::rows::{AppRow, GrantRow};
use super::visit::SignedIn;
use crate::broker::{AppFilter, AppRecord, AuditFilter, Broker, GrantsAfter};
use crate::domain::audit::kind;
use crate::domain::grant::{Grant, GrantKind, GrantStatus};
use crate::domain::time::Timestamp;

/// A pasted token that ends within this time is worth a word.
const SOON: Duration = Duration::from_secs(14 * 86_400);
/// So many apps are looked at for what needs doing.
const LOOKED_AT: u32 = 50;
/// So many grants are, and are shown to whoever asks for all of theirs.
const ALL: u32 = 500;
/// So many of them stand on the home page, unless all are asked for.
const SHOWN: usize = 8;
/// So many calls.
const CALLS: u32 = 8;

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    frame: Frame,
    greeting: String,
    summary: String,
    todos: Vec<Todo>,
    grants: Vec<GrantRow>,
    /// Whether there are more grants than are shown.
    more_grants: bool,
    apps: Vec<AppRow>,
    activity: Option<Activity>,
    calls: Vec<CallRow>,
}

/// Something that only the user can mend.
struct Todo {
    tone: Tone,
    title: String,
    advice: String,
    path: String,
    action: &'static str,
}

impl Todo {
    fn icon(&self) -> &'static str {
        self.tone.as_str()
    }
}

/// `GET /`
pub(crate) async fn show(visit: SignedIn, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let (broker, now, user) = (&visit.web.broker, visit.now, visit.user.id);
    let page_of_grants =
        GrantsAfter { user: Some(user), live: true, newest_first: true, limit: ALL, ..GrantsAfter::default() };
    let of_apps =
        AppFilter { user: Some(user), live: true, newest_first: true, limit: LOOKED_AT, ..AppFilter::default() };
    let of_calls = AuditFilter { user: Some(user), kind: Some(kind::CALL), limit: CALLS, ..AuditFilter::default() };
    let span = Span::of(fields.one("span"));
    // At once, since reading is most of what the page takes.
    let (found, apps, calls, counts) = tokio::try_join!(
        async { broker.list_grants_after(&page_of_grants).await.map_err(Problem::unavailable) },
        async { broker.list_apps(&of_apps).await.map_err(Problem::unavailable) },
        async { broker.list_audit(&of_calls).await.map_err(Problem::unavailable) },
        Activity::count(&visit, span),
    )?;
    let mut grants: Vec<Grant> = found.into_iter().map(|(grant, _)| grant).collect();
    // Those that need their user first, then the newest.
    grants.sort_by_key(|grant| (grant.status != GrantStatus::NeedsConsent, Reverse(grant.id)));
    let mut names = Names::default();
    for record in &apps {
        names.app(broker, &record.app);
    }
    // A revoked app, or an older one.
    names.learn_apps(broker, &calls).await;

    let activity = match apps.as_slice() {
        [] => None,
        apps => Some(Activity::of(&visit, apps, &counts, span)),
    };
    let cut_off = cut_off(broker, &apps, &grants).await?;
    let todos: Vec<Todo> = grants
        .iter()
        .filter_map(|grant| of_grant(grant, now))
        .chain(cut_off)
        .chain(apps.iter().filter_map(|r| of_app(r, now)))
        .collect();
    let shown = if fields.has("grants") { grants.len() } else { SHOWN };
    let page_shown = HomePage {
        frame: visit.frame(Section::Home),
        greeting: format!("Hello, {}", visit.user.name),
        summary: summary(&grants, &apps, &todos),
        grants: grants.iter().take(shown).map(|grant| GrantRow::of(grant, now)).collect(),
        more_grants: grants.len() > shown,
        apps: apps.iter().take(SHOWN).map(|record| AppRow::of(&record.app, now)).collect(),
        calls: calls.iter().map(|event| CallRow::of(event, &names, now)).collect(),
        activity,
        todos,
    };
    Ok(page(&page_shown))
}

/// The apps whose calls are refused since the grant that they are tied to is disconnected.
async fn cut_off(broker: &Broker, apps: &[AppRecord], live: &[Grant]) -> Result<Vec<Todo>, Problem> {
    let live: HashSet<_> = live.iter().map(|grant| grant.id).collect();
    let mut tied: Vec<_> = apps.iter().filter_map(|record| record.app.grant).filter(|id| !live.contains(id)).collect();
    tied.sort_unstable();
    tied.dedup();
    let gone: HashMap<_, _> = broker
        .find_grants(&tied)
        .await
        .map_err(Problem::unavailable)?
        .into_iter()
        .filter(|grant| grant.status == GrantStatus::Disconnected)
        .map(|grant| (grant.id, grant))
        .collect();
    Ok(apps.iter().filter_map(|record| Some(of_tied(record, gone.get(&record.app.grant?)?))).collect())
}

fn summary(grants: &[Grant], apps: &[AppRecord], todos: &[Todo]) -> String {
    let counted = |count: usize, most: u32, one: &str| match count {
        1 => format!("1 {one}"),
        // No more than these were looked at.
        count if count >= most as usize => format!("{count} {one}s or more"),
        count => format!("{count} {one}s"),
    };
    let have = format!("{} and {}", counted(grants.len(), ALL, "grant"), counted(apps.len(), LOOKED_AT, "app"));
    match todos.len() {
        0 if grants.is_empty() => "Start with a grant; it takes a minute.".to_owned(),
        0 => format!("Everything is in order: {have}."),
        1 => format!("One thing needs you. You have {have}."),
        more => format!("{more} things need you. You have {have}."),
    }
}

fn of_grant(grant: &Grant, now: Timestamp) -> Option<Todo> {
    let path = format!("/grants/{}", grant.id);
    let todo =
        |tone, title, advice: &str| Some(Todo { tone, title, advice: advice.to_owned(), path, action: "Look at it" });
    let label = &grant.label;
    match (grant.status, grant.reason, grant.expires_at) {
        (GrantStatus::NeedsConsent, reason, _) => todo(
            Tone::Bad,
            format!("The grant “{label}” needs you"),
            reason.map_or("Renew the grant to go on.", crate::domain::grant::ConsentReason::advice),
        ),
        (GrantStatus::Uncertain, _, _) => todo(
            Tone::Wait,
            format!("It is not certain that the grant “{label}” still works"),
            "A refresh was sent to Teslascope and its answer is not known. Keyfob finds out by itself; if calls fail, renew the grant.",
        ),
        (GrantStatus::Active, _, Some(at)) if grant.kind != GrantKind::OAuth && at <= now.plus(SOON) => todo(
            Tone::Wait,
            format!("The pasted token “{label}” ends soon"),
            "A pasted token cannot be refreshed. Make a new one at Teslascope and paste it.",
        ),
        _ => None,
    }
}

fn of_tied(record: &AppRecord, gone: &Grant) -> Todo {
    Todo {
        tone: Tone::Bad,
        title: format!("The grant of “{}” is gone", record.app.name),
        advice: format!(
            "It is tied to “{}”, which is disconnected, so that its calls are refused. Make a new app, tied to another grant or to none.",
            gone.label
        ),
        path: format!("/apps/{}", record.app.id),
        action: "Look at it",
    }
}

fn of_app(record: &AppRecord, now: Timestamp) -> Option<Todo> {
    let app = &record.app;
    let expired = app.expires_at.filter(|at| *at <= now)?;
    // An app that has been over for a month is no news.
    (now.since(expired) < Duration::from_secs(30 * 86_400)).then(|| Todo {
        tone: Tone::Wait,
        title: format!("The key of “{}” is past its time", app.name),
        advice: "Its calls are refused. Make a new app for the program if you still use it, or revoke this one."
            .to_owned(),
        path: format!("/apps/{}", app.id),
        action: "Look at it",
    })
}
