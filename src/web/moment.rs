//! Moments and spans in words: "3 minutes ago", "in 14 days", and the exact time beside them.

use crate::domain::time::Timestamp;

/// A moment as a page shows it.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    /// RFC 3339, for `datetime`, from which the script makes the person's local time.
    pub(crate) iso: String,
    /// The exact time in UTC, for the title.
    pub(crate) exact: String,
    /// Seen from now.
    pub(crate) words: String,
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Moment {
    pub(crate) fn of(at: Timestamp, now: Timestamp) -> Self {
        let iso = at.to_string();
        Self { exact: exact(&iso), words: words(at, now, &iso), iso }
    }

    /// The time of day in UTC, which says enough of a moment ago.
    pub(crate) fn clock(&self) -> String {
        format!("{} UTC", self.iso.get(11..19).unwrap_or_default())
    }

    pub(crate) fn maybe(at: Option<Timestamp>, now: Timestamp) -> Option<Self> {
        at.map(|at| Self::of(at, now))
    }
}

/// `24 Nov 2026` of an RFC 3339 text.
fn day(iso: &str) -> String {
    let month = iso.get(5..7).and_then(|m| m.parse::<usize>().ok()).and_then(|m| MONTHS.get(m.wrapping_sub(1)));
    let day = iso.get(8..10).unwrap_or("").trim_start_matches('0');
    format!("{day} {} {}", month.copied().unwrap_or("?"), iso.get(..4).unwrap_or(""))
}

fn exact(iso: &str) -> String {
    format!("{}, {} UTC", day(iso), iso.get(11..19).unwrap_or(""))
}

fn words(at: Timestamp, now: Timestamp, iso: &str) -> String {
    let away = now.millis().abs_diff(at.millis()) / 1000;
    let (count, unit) = match away {
        // A page is made a moment after its time is read.
        0..3 => return "just now".to_owned(),
        3..45 => return if at > now { "in a moment".to_owned() } else { "just now".to_owned() },
        45..5_400 => ((away + 30) / 60, "minute"),
        5_400..129_600 => ((away + 1_800) / 3_600, "hour"),
        129_600..3_888_000 => ((away + 43_200) / 86_400, "day"),
        _ => return day(iso),
    };
    let plural = if count == 1 { "" } else { "s" };
    if at > now { format!("in {count} {unit}{plural}") } else { format!("{count} {unit}{plural} ago") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_from_now() {
        let now = Timestamp::parse_rfc3339("2026-11-24T12:00:00Z").unwrap();
        let told = |secs: i64| Moment::of(now.plus_millis(secs * 1000), now).words;
        assert_eq!(told(-5), "just now");
        assert_eq!(told(-60), "1 minute ago");
        assert_eq!(told(7_200), "in 2 hours");
        assert_eq!(told(-14 * 86_400), "14 days ago");
        assert_eq!(told(365 * 86_400), "24 Nov 2027");
        assert_eq!(Moment::of(now, now).exact, "24 Nov 2026, 12:00:00 UTC");
    }
}
