//! What four other readers make of a raw path, and a second, plain reading of the table.
//!
//! The judge must decide on the bytes as each of them would on what it reads: an app must not be able to send a path that
//! the judge takes for one thing and the provider, or anything before it, for another.

use super::Need;
use crate::domain::scope::Scope;

/// A path as somebody reads it: decoded segments.
pub type Reading = Vec<Vec<u8>>;

/// What each reader makes of the path.
#[must_use]
pub fn readings(raw: &[u8]) -> Vec<(&'static str, Reading)> {
    let mut readings = vec![("rfc3986", rfc3986(raw)), ("nginx", nginx(raw)), ("laravel", laravel(raw))];
    if let Some(reading) = whatwg(raw) {
        readings.push(("whatwg", reading));
    }
    readings
}

/// RFC 3986 6.2.2: unreserved characters decoded, then dot segments removed, then each segment decoded.
fn rfc3986(raw: &[u8]) -> Reading {
    let path = raw.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    let mut normal = Vec::new();
    let mut at = 0;
    while at < path.len() {
        match hex(path, at) {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                normal.push(byte);
                at += 3;
            }
            _ => {
                normal.push(path[at]);
                at += 1;
            }
        }
    }
    let mut out: Vec<&[u8]> = Vec::new();
    for segment in normal.split(|&byte| byte == b'/').skip(1) {
        match segment {
            b"." => {}
            b".." => drop(out.pop()),
            _ => out.push(segment),
        }
    }
    out.into_iter().map(decoded).collect()
}

/// The WHATWG URL standard, as the `url` crate has it, then each segment decoded.
fn whatwg(raw: &[u8]) -> Option<Reading> {
    let url = url::Url::parse(&format!("http://host{}", std::str::from_utf8(raw).ok()?)).ok()?;
    Some(url.path().as_bytes().split(|&byte| byte == b'/').skip(1).map(decoded).collect())
}

/// nginx: decoded first, then slashes merged and dot segments removed (`ngx_http_parse_complex_uri`).
fn nginx(raw: &[u8]) -> Reading {
    let path = raw.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    let whole = decoded(path);
    let mut out: Vec<Vec<u8>> = Vec::new();
    let ends_in_slash = whole.ends_with(b"/");
    for segment in whole.split(|&byte| byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => drop(out.pop()),
            _ => out.push(segment.to_vec()),
        }
    }
    if ends_in_slash {
        out.push(Vec::new());
    }
    out
}

/// Laravel: slashes trimmed at both ends, `rawurldecode`, then matched by segments.
fn laravel(raw: &[u8]) -> Reading {
    let path = raw.split(|&byte| byte == b'?').next().unwrap_or_default();
    let start = path.iter().position(|&byte| byte != b'/').unwrap_or(path.len());
    let end = path.iter().rposition(|&byte| byte != b'/').map_or(start, |at| at + 1);
    decoded(&path[start..end]).split(|&byte| byte == b'/').map(<[u8]>::to_vec).collect()
}

fn hex(text: &[u8], at: usize) -> Option<u8> {
    let digits = text.get(at + 1..at + 3)?;
    if text[at] != b'%' || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if let Some(byte) = hex(text, at) {
            out.push(byte);
            at += 3;
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    out
}

/// The table once more, in the plainest way: what a reading needs, or nothing when it is in no row.
#[must_use]
pub fn need(reading: &[Vec<u8>]) -> Option<Need> {
    let mut segments: Vec<&[u8]> = reading.iter().map(Vec::as_slice).collect();
    if segments.len() > 1 && segments.last().is_some_and(|last| last.is_empty()) {
        segments.pop();
    }
    let scope = match segments.as_slice() {
        [b"mcp", ..] => Scope::McpUse,
        [b"api", b"account", segment, ..] if segment.starts_with(b"tesla-") => Scope::TeslaAccounts,
        [b"api", b"account", ..] => Scope::Account,
        [b"api", b"vehicles"] => Scope::Vehicles,
        [b"api", b"vehicle", id, below @ ..] if !id.is_empty() => match below {
            []
            | [b"detailed" | b"state" | b"drives" | b"charges" | b"trips" | b"locations"]
            | [b"drive" | b"charge" | b"trip" | b"location", _] => Scope::Vehicles,
            _ => Scope::Controls,
        },
        [b"api", b"software"] => return Some(Need::Public),
        [b"api", b"software", version] if !version.is_empty() => return Some(Need::Public),
        _ => return None,
    };
    Some(Need::Scope(scope))
}
