//! Software versions, which anybody may read.

use super::super::answer::Answer;
use super::super::json::{Json, object};

/// Newest first, with commit and how many cars run them.
const VERSIONS: &[(&str, &str, i64)] = &[
    ("2026.38.6", "8b27e21d9137", 4_210),
    ("2026.38.5", "4aa2cd7429ab", 6_318),
    ("2026.32.10", "a1f0c2b7e6d5", 3_905),
    ("2026.32.7", "0c9d1e5f7a83", 1_212),
    ("2023.6.9", "8b27e21d9137", 196),
];

/// `GET /api/software`, `/api/software/latest`, `/api/software/{version}`
pub(super) fn answer(version: Option<&str>) -> Answer {
    match version {
        None => Answer::enveloped(VERSIONS.iter().map(|(name, ..)| *name).collect::<Vec<_>>()),
        Some("latest") => body(&VERSIONS[0]).map_or_else(|| Answer::missing("Version"), Answer::enveloped),
        Some(name) => {
            let known = VERSIONS.iter().find(|(known, ..)| *known == name).and_then(body);
            known.map_or_else(|| Answer::missing("Version"), Answer::enveloped)
        }
    }
}

fn body((name, commit, count): &(&str, &str, i64)) -> Option<Json> {
    let total: i64 = VERSIONS.iter().map(|(.., count)| count).sum();
    let mut parts = name.split('.');
    let (year, week, major) = (parts.next()?, parts.next()?, parts.next()?);
    let tenths = count * 1000 / total;
    let percentage = super::super::cars::motion::float(tenths) / 10.0;
    Some(object! {
        "version": *name,
        "features": Vec::<()>::new(),
        "early_access": 0,
        "fsd": Option::<&str>::None,
        "created_at": "2026-11-01T00:00:00.000000Z",
        "updated_at": "2026-11-20T00:00:00.000000Z",
        "commit": *commit,
        "totalCount": total,
        "count": *count,
        "percentage": percentage,
        "year": year,
        "week": week,
        "major": major,
        "minor": parts.next(),
        "pending": object! { "waiting": 8, "available": 1, "downloading": 1, "installing": 0 },
        "pendingVersions": object! { "2023.2.10 4aa2cd7429ab": 2 },
        "countries": Json::list([object! { "country": "us", "count": *count }]),
        "firstSpotted": "2026-10-24T02:59:08.000000Z",
    })
}
