//! Time of day in milliseconds since 1970, UTC, and spans as people write them (`15m`, `90d`).

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since 1970.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From seconds since 1970.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Seconds since 1970, rounded down.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This moment moved by so many milliseconds.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// This moment and a span after it.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        self.plus_millis(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
    }

    /// This moment and a span before it.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads an RFC 3339 moment.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok().map(Self)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, to the millisecond.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i128::from(self.0) * 1_000_000;
        let Ok(at) = OffsetDateTime::from_unix_timestamp_nanos(nanos) else {
            return f.write_str("9999-12-31T23:59:59.999Z");
        };
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.millisecond()
        )
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a span could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a number and a unit, like 30s, 15m, 24h or 90d")]
pub struct BadSpan;

/// Reads `2s`, `15m`, `24h`, `90d`: a whole number above zero and one unit.
///
/// # Errors
/// [`BadSpan`] for anything else, or for more than a hundred years.
pub fn parse_span(text: &str) -> Result<Duration, BadSpan> {
    let unit = match text.chars().next_back() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => return Err(BadSpan),
    };
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(BadSpan);
    }
    let count: u64 = digits.parse().map_err(|_| BadSpan)?;
    let secs = count.checked_mul(unit).ok_or(BadSpan)?;
    if secs == 0 || secs > 100 * 366 * 86_400 {
        return Err(BadSpan);
    }
    Ok(Duration::from_secs(secs))
}

/// Writes a span the way [`parse_span`] reads it, in the largest unit that divides it.
#[must_use]
pub fn format_span(span: Duration) -> String {
    let secs = span.as_secs();
    for (unit, letter) in [(86_400, 'd'), (3_600, 'h'), (60, 'm')] {
        if secs >= unit && secs.is_multiple_of(unit) {
            return format!("{}{letter}", secs / unit);
        }
    }
    format!("{secs}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        assert_eq!(parse_span("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(parse_span("2s"), Ok(Duration::from_secs(2)));
        for bad in ["", "s", "5", "-5m", "1.5h", "0s", "9999999999999999999d", "5 m", "5w", "50é"] {
            assert_eq!(parse_span(bad), Err(BadSpan), "{bad}");
        }
        assert_eq!(format_span(Duration::from_secs(86_400)), "1d");
        assert_eq!(format_span(Duration::from_secs(61)), "61s");
    }

    #[test]
    fn moments_are_written_as_rfc_3339() {
        let at = Timestamp::from_millis(1_795_399_383_012);
        assert_eq!(at.to_string(), "2026-11-23T02:03:03.012Z");
        assert_eq!(Timestamp::parse_rfc3339("2026-11-23T03:03:03.012+01:00"), Some(at));
        assert_eq!(Timestamp::from_millis(i64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }
}
