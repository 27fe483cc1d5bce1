//! Calls by time as a chart with a table behind it.

use std::fmt::Write as _;

use super::moment::Moment;
use crate::domain::time::Timestamp;

/// The chart's height, and the room below the bars for their captions, in its own units.
const HEIGHT: i64 = 150;
const CAPTION: i64 = 24;
/// Its width.
const WIDTH: i64 = 720;
/// So many apps or decisions are named in one row of the table.
const NAMED: usize = 5;

/// How far back, and in which steps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    Day,
    Week,
}

impl Span {
    pub(crate) const fn of(name: &str) -> Self {
        // One name, so that nothing else is another span.
        if matches!(name.as_bytes(), b"week") { Self::Week } else { Self::Day }
    }

    /// Steps, and the milliseconds of one.
    pub(crate) const fn steps(self) -> (i64, i64) {
        match self {
            Self::Day => (24, 3_600_000),
            Self::Week => (7, 86_400_000),
        }
    }

    /// When the first step begins.
    pub(crate) const fn since(self, now: Timestamp) -> Timestamp {
        let (steps, step_ms) = self.steps();
        now.plus_millis(-steps * step_ms)
    }
}

/// Calls of one kind in one step.
pub(crate) struct Counted {
    /// Which step, counted from the first.
    pub(crate) step: i64,
    pub(crate) calls: i64,
    pub(crate) refused: i64,
    /// Whose they were, or what was decided.
    pub(crate) what: String,
}

/// A chart of calls, and the same as a table.
pub(crate) struct Chart {
    pub(crate) week: bool,
    pub(crate) calls: i64,
    pub(crate) refused: i64,
    pub(crate) most_in_a_step: i64,
    /// The bars of what was allowed, and of what was refused on top of them, as paths.
    pub(crate) allowed: String,
    pub(crate) refusals: String,
    pub(crate) captions: Vec<Caption>,
    pub(crate) steps: Vec<Step>,
    /// What the last column of the table tells apart.
    pub(crate) by: &'static str,
    /// What is said where there were more calls than are looked at.
    pub(crate) cut: Option<&'static str>,
}

/// One step's bar: what was allowed, and what was refused on top of it.
struct Bar {
    x: i64,
    width: i64,
    allowed_y: i64,
    allowed_height: i64,
    refused_y: i64,
    refused_height: i64,
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
    pub(crate) parts: String,
}

impl Chart {
    pub(crate) fn of(span: Span, now: Timestamp, by: &'static str, counts: &[Counted]) -> Self {
        let (steps, step_ms) = span.steps();
        let since = span.since(now);
        let (mut totals, mut rows) = (Vec::new(), Vec::new());
        for step in 0..steps {
            // What comes in while the page is made belongs to the last step.
            let here = |count: &&Counted| count.step.min(steps - 1) == step;
            let (calls, refused) =
                counts.iter().filter(here).fold((0, 0), |(calls, refused), c| (calls + c.calls, refused + c.refused));
            totals.push((calls, refused));
            if calls > 0 {
                rows.push(Step {
                    from: Moment::of(since.plus_millis(step * step_ms), now),
                    calls,
                    refused,
                    parts: parts(counts.iter().filter(here).collect()),
                });
            }
        }
        let most_in_a_step = totals.iter().map(|(calls, _)| *calls).max().unwrap_or(0);
        let bars = bars(&totals, most_in_a_step);
        Self {
            week: span == Span::Week,
            calls: totals.iter().map(|(calls, _)| calls).sum(),
            refused: totals.iter().map(|(_, refused)| refused).sum(),
            most_in_a_step,
            allowed: path(bars.iter().map(|bar| (bar.x, bar.width, bar.allowed_y, bar.allowed_height))),
            refusals: path(bars.iter().map(|bar| (bar.x, bar.width, bar.refused_y, bar.refused_height))),
            captions: captions(span),
            steps: rows,
            by,
            cut: None,
        }
    }
}

/// The most of one step, the others together.
fn parts(mut counted: Vec<&Counted>) -> String {
    counted.sort_by_key(|one| std::cmp::Reverse(one.calls));
    let others: i64 = counted.iter().skip(NAMED).map(|one| one.calls).sum();
    let mut words: Vec<_> = counted.iter().take(NAMED).map(|one| format!("{} {}", one.what, one.calls)).collect();
    if others > 0 {
        words.push(format!("others {others}"));
    }
    words.join(", ")
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

/// Boxes as one path; those without a height are left out.
fn path(boxes: impl Iterator<Item = (i64, i64, i64, i64)>) -> String {
    let mut path = String::new();
    for (x, width, y, height) in boxes.filter(|(.., height)| *height > 0) {
        let _ = write!(path, "M{x} {y}h{width}v{height}h-{width}z");
    }
    path
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
