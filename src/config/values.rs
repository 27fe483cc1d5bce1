//! Values that are no addresses: sizes, counts, spans, levels.

use std::time::Duration;

use super::fault::{Bad, quoted};
use crate::domain::app::Rate;
use crate::domain::time::parse_span;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For a person at a terminal.
    Pretty,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    pub(super) fn parse(text: &str) -> Result<Self, Bad> {
        match text {
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            _ => Err(Bad::new(format!("{} is no log format", quoted(text)), "write pretty or json")),
        }
    }
}

pub(super) fn boolean(text: &str) -> Result<bool, Bad> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Bad::new(format!("{} is neither true nor false", quoted(text)), "write true or false")),
    }
}

/// `64MiB`, `1GB`, `512KiB` or a plain number of bytes.
pub(super) fn size(text: &str) -> Result<u64, Bad> {
    let bad =
        || Bad::new(format!("{} is not a size", quoted(text)), "write a number and a unit, like 64MiB, 512KiB or 1GiB");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit: u64 = match &text[digits..] {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return Err(bad()),
    };
    let count: u64 = text[..digits].parse().map_err(|_| bad())?;
    count.checked_mul(unit).filter(|bytes| (1..=1 << 50).contains(bytes)).ok_or_else(bad)
}

pub(super) fn span(text: &str) -> Result<Duration, Bad> {
    parse_span(text).map_err(|_| {
        Bad::new(
            format!("{} is not a time from 1s to 36600d", quoted(text)),
            "write a number and a unit, like 30s, 15m, 24h or 90d",
        )
    })
}

pub(super) fn rate(text: &str) -> Result<Rate, Bad> {
    text.parse().map_err(|_| Bad::new(format!("{} is not a rate", quoted(text)), "write it like 10/s, 600/m or 5000/h"))
}

/// A whole number from 1 to `most`.
pub(super) fn count(most: u64) -> impl Fn(&str) -> Result<u64, Bad> {
    move |text| {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|n| digits && (1..=most).contains(n)).ok_or_else(|| {
            Bad::new(format!("{} is not a whole number from 1 to {most}", quoted(text)), "write digits only")
        })
    }
}

/// A level, or a list of levels and `target=level`.
pub(super) fn levels(text: &str) -> Result<String, Bad> {
    let known = |level: &str| {
        ["off", "error", "warn", "info", "debug", "trace"].iter().any(|known| level.eq_ignore_ascii_case(known))
    };
    let target =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'));
    for item in text.split(',').map(str::trim) {
        let good = match item.split_once('=') {
            Some((name, level)) => target(name) && known(level),
            None => known(item),
        };
        if !good {
            return Err(Bad::new(
                format!("{} is no log level", quoted(item)),
                "write error, warn, info, debug, trace or off, or a list like info,keyfob::proxy=debug",
            ));
        }
    }
    Ok(text.split(',').map(str::trim).collect::<Vec<_>>().join(","))
}

/// A client identifier (RFC 6749 A.1): printable ASCII.
pub(super) fn client_id(text: &str) -> Result<String, Bad> {
    if text.len() <= 255 && text.bytes().all(|b| (0x21..=0x7e).contains(&b)) {
        Ok(text.to_owned())
    } else {
        Err(Bad::new("is not a client id", "copy it from the OAuth application's page at Teslascope"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [("64MiB", 64 << 20), ("1", 1), ("512KiB", 512 << 10), ("2GB", 2_000_000_000)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "MiB", "0", "1.5MiB", "-1", "64 MiB", "64mib", "99999999999GiB", "1é"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn counts_are_digits_within_bounds() {
        assert_eq!(count(10)("10"), Ok(10));
        for bad in ["0", "11", "+1", "", "1e3", " 1"] {
            assert!(count(10)(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn levels_name_what_they_mean() {
        assert_eq!(levels("info, keyfob::proxy=debug").unwrap(), "info,keyfob::proxy=debug");
        for bad in ["loud", "keyfob::proxy", "a=loud", "=info", "info,,debug", "a b=info"] {
            assert!(levels(bad).is_err(), "{bad}");
        }
    }
}
