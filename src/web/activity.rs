//! What the apps of a user did: calls by time as a chart with a table behind it, and what each app may do beside what it did.

use std::collections::HashMap;

use super::moment::Moment;
use super::problem::Problem;
use super::scopes::ORDER;
use super::visit::SignedIn;
use crate::broker::{AppRecord, CallCount};
use crate::domain::id::AppId;

/// The chart's height, and the room below the bars for their captions, in its own units.
const HEIGHT: i64 = 150;
const CAPTION: i64 = 24;
/// Its width.
const WIDTH: i64 = 720;

/// How far back, and in which steps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Span {
    Day,
    Week,
}

impl Span {
    const fn of(name: &str) -> Self {
        // One name, so that nothing else is another span.
        if matches!(name.as_bytes(), b"week") { Self::Week } else { Self::Day }
    }

    /// Steps, and the milliseconds of one.
    const fn steps(self) -> (i64, i64) {
        match self {
            Self::Day => (24, 3_600_000),
            Self::Week => (7, 86_400_000),
        }
    }

    /// Of each app so many calls are looked at: a page is made in bounded time.
    const fn most(self) -> u32 {
        match self {
            Self::Day => 10_000,
            Self::Week => 50_000,
        }
    }
}

/// What the home page shows of calls.
pub(crate) struct Activity {
    pub(crate) week: bool,
    pub(crate) calls: i64,
    pub(crate) refused: i64,
    pub(crate) most_in_a_step: i64,
    pub(crate) bars: Vec<Bar>,
    pub(crate) captions: Vec<Caption>,
    pub(crate) steps: Vec<Step>,
    /// In the order of the matrix.
    pub(crate) scope_names: [&'static str; 5],
    pub(crate) apps: Vec<AppUse>,
    /// Whether some app made more calls than are looked at.
    pub(crate) cut: bool,
}

/// One step's bar: what was allowed, and what was refused on top of it.
pub(crate) struct Bar {
    pub(crate) x: i64,
    pub(crate) width: i64,
    pub(crate) allowed_y: i64,
    pub(crate) allowed_height: i64,
    pub(crate) refused_y: i64,
    pub(crate) refused_height: i64,
}

/// A word below the bars.
pub(crate) struct Caption {
    pub(crate) x: i64,
    pub(crate) words: String,
}

/// One step in the table.
pub(crate) struct Step {
    pub(crate) from: Moment,
    pub(crate) calls: i64,
    pub(crate) refused: i64,
    pub(crate) by_app: String,
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

impl Activity {
    /// Reads the calls of a visit's user; `apps` are their live apps.
    pub(crate) async fn of(visit: &SignedIn, apps: &[AppRecord], span: &str) -> Result<Self, Problem> {
        let span = Span::of(span);
        let (steps, step_ms) = span.steps();
        let since = visit.now.plus_millis(-steps * step_ms);
        let counts = visit
            .web
            .broker
            .count_calls(visit.user.id, since, step_ms, span.most())
            .await
            .map_err(Problem::unavailable)?;
        let mut of_app: HashMap<AppId, i64> = HashMap::new();
        for count in &counts {
            *of_app.entry(count.app).or_default() += count.calls;
        }
        let names: HashMap<AppId, &str> = apps.iter().map(|record| (record.app.id, record.app.name.as_str())).collect();
        let (mut totals, mut rows) = (Vec::new(), Vec::new());
        for step in 0..steps {
            // What comes in while the page is made belongs to the last step.
            let here = |count: &&CallCount| count.span.min(steps - 1) == step;
            let (calls, refused) =
                counts.iter().filter(here).fold((0, 0), |(calls, refused), c| (calls + c.calls, refused + c.refused));
            totals.push((calls, refused));
            if calls > 0 {
                let of = |c: &CallCount| format!("{} {}", names.get(&c.app).unwrap_or(&"an app that is gone"), c.calls);
                rows.push(Step {
                    from: Moment::of(since.plus_millis(step * step_ms), visit.now),
                    calls,
                    refused,
                    by_app: counts.iter().filter(here).map(of).collect::<Vec<_>>().join(", "),
                });
            }
        }
        let most_in_a_step = totals.iter().map(|(calls, _)| *calls).max().unwrap_or(0);
        Ok(Self {
            week: span == Span::Week,
            calls: totals.iter().map(|(calls, _)| calls).sum(),
            refused: totals.iter().map(|(_, refused)| refused).sum(),
            most_in_a_step,
            bars: bars(&totals, most_in_a_step),
            captions: captions(span),
            steps: rows,
            scope_names: ORDER.map(crate::domain::scope::Scope::as_str),
            cut: of_app.values().any(|calls| *calls >= i64::from(span.most())),
            apps: apps.iter().map(|record| app_use(record, of_app.get(&record.app.id).copied().unwrap_or(0))).collect(),
        })
    }
}

fn bars(totals: &[(i64, i64)], most: i64) -> Vec<Bar> {
    let steps = i64::try_from(totals.len()).unwrap_or(1).max(1);
    let (room, gap) = (HEIGHT - CAPTION - 4, if steps > 12 { 6 } else { 24 });
    // What is not nothing can be seen.
    let height = |count: i64| if count == 0 { 0 } else { (count * room / most.max(1)).max(2) };
    totals
        .iter()
        .zip(0_i64..)
        .map(|((calls, refused), step)| {
            let x = step * WIDTH / steps;
            let (allowed_height, refused_height) = (height(calls - refused), height(*refused));
            let allowed_y = HEIGHT - CAPTION - allowed_height;
            Bar {
                x: x + gap / 2,
                width: WIDTH / steps - gap,
                allowed_y,
                allowed_height,
                refused_y: allowed_y - refused_height,
                refused_height,
            }
        })
        .collect()
}

fn captions(span: Span) -> Vec<Caption> {
    let caption = |at: i64, of: i64, words: &str| Caption { x: at * WIDTH / of, words: words.to_owned() };
    match span {
        Span::Day => vec![
            caption(0, 24, "24 hours ago"),
            caption(6, 24, "18 hours ago"),
            caption(12, 24, "12 hours ago"),
            caption(18, 24, "6 hours ago"),
        ],
        Span::Week => (0..7).map(|day| caption(day, 7, &format!("{} days ago", 7 - day))).collect(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stay_in_the_picture_and_what_is_not_nothing_is_seen() {
        let totals: Vec<(i64, i64)> = (0..24).map(|n| (n * n * 1_000, n)).collect();
        for bar in bars(&totals, 23 * 23 * 1_000) {
            assert!(bar.x >= 0 && bar.x + bar.width <= WIDTH && bar.width > 0);
            assert!(bar.refused_y >= 0 && bar.allowed_y + bar.allowed_height == HEIGHT - CAPTION);
        }
        let drawn = bars(&[(1_000_000, 1), (0, 0)], 1_000_000);
        assert_eq!((drawn[0].refused_height, drawn[1].allowed_height, drawn[1].refused_height), (2, 0, 0));
    }
}
