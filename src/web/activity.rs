//! What the apps of a user did: calls by time, and what each app may do beside what it did.

use std::collections::HashMap;

use super::chart::{Chart, Counted, Span};
use super::problem::Problem;
use super::scopes::ORDER;
use super::visit::SignedIn;
use crate::broker::{AppRecord, CallCount};
use crate::domain::id::AppId;

/// What the home page shows of calls.
pub(crate) struct Activity {
    pub(crate) chart: Chart,
    /// In the order of the matrix.
    pub(crate) scope_names: [&'static str; 5],
    pub(crate) apps: Vec<AppUse>,
    /// Whether there are apps beside those of the matrix.
    pub(crate) more_apps: bool,
}

/// One app beside the scopes.
pub(crate) struct AppUse {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) calls: i64,
    pub(crate) scopes: Vec<ScopeUse>,
    /// Whether there is something to drop, and something left afterwards.
    pub(crate) droppable: bool,
}

/// What an app may do with a scope, and did.
pub(crate) struct ScopeUse {
    pub(crate) name: &'static str,
    pub(crate) allowed: bool,
    pub(crate) used: bool,
}

impl ScopeUse {
    /// In a word, which is its look too.
    pub(crate) const fn word(&self) -> &'static str {
        match (self.allowed, self.used) {
            (true, true) => "used",
            (true, false) => "never",
            (false, _) => "no",
        }
    }
}

/// So many apps stand in the matrix.
const SHOWN: usize = 8;

/// Of each app so many rows are looked at: a page is made in bounded time.
const fn most(span: Span) -> u32 {
    match span {
        Span::Day => 10_000,
        Span::Week => 50_000,
    }
}

impl Activity {
    /// Counts the calls of a visit's user.
    pub(crate) async fn count(visit: &SignedIn, span: Span) -> Result<Vec<CallCount>, Problem> {
        let (_, step_ms) = span.steps();
        let counts = visit.web.broker.count_calls(visit.user.id, span.since(visit.now), step_ms, most(span));
        counts.await.map_err(Problem::unavailable)
    }

    /// `apps` are the live apps of the visit's user, and `counts` their calls in this span.
    pub(crate) fn of(visit: &SignedIn, apps: &[AppRecord], counts: &[CallCount], span: Span) -> Self {
        let mut of_app: HashMap<AppId, (i64, i64)> = HashMap::new();
        for count in counts {
            let (calls, rows) = of_app.entry(count.app).or_default();
            *calls += count.calls;
            *rows += count.rows;
        }
        let names: HashMap<AppId, &str> = apps.iter().map(|record| (record.app.id, record.app.name.as_str())).collect();
        let counted: Vec<Counted> = counts
            .iter()
            .map(|count| Counted {
                step: count.span,
                calls: count.calls,
                refused: count.refused,
                what: (*names.get(&count.app).unwrap_or(&"another app")).to_owned(),
            })
            .collect();
        let mut chart = Chart::of(span, visit.now, "By app", &counted);
        if of_app.values().any(|(_, rows)| *rows >= i64::from(most(span))) {
            chart.cut = Some("Of apps with very many calls, the newest are counted.");
        }
        let calls_of = |app| of_app.get(&app).map_or(0, |(calls, _)| *calls);
        let mut uses: Vec<_> = apps.iter().map(|record| app_use(record, calls_of(record.app.id))).collect();
        uses.sort_by_key(|one| std::cmp::Reverse(one.calls));
        uses.truncate(SHOWN);
        Self {
            more_apps: apps.len() > uses.len(),
            apps: uses,
            chart,
            scope_names: ORDER.map(crate::domain::scope::Scope::as_str),
        }
    }
}

fn app_use(record: &AppRecord, calls: i64) -> AppUse {
    let (app, used) = (&record.app, record.scopes_used);
    let scopes = ORDER.map(|scope| ScopeUse {
        name: scope.as_str(),
        allowed: app.scopes.contains(scope),
        used: used.contains(scope),
    });
    let kept = app.scopes.intersection(used);
    AppUse {
        id: app.id.to_string(),
        name: app.name.to_string(),
        calls,
        scopes: scopes.into(),
        droppable: !kept.is_empty() && kept != app.scopes,
    }
}
