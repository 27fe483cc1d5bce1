//! Rows of the routes file: read, and refused where they contradict another row.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

use super::table::{CATCH_ALL, Entry, Segment, segments};
use super::{MethodSet, Need, Route, Upstream};

/// One `[[route]]` of the routes file, as it was written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraRow {
    /// Method names; `GET` brings `HEAD` only where it is listed too.
    pub methods: Vec<String>,
    /// Like `/api/vehicle/{id}/trips`; `{name}` stands for one segment.
    pub path: String,
    /// The scope it needs, or `public`.
    #[serde(default)]
    pub scope: Option<String>,
    /// Whether it needs none.
    #[serde(default)]
    pub public: bool,
}

/// What is wrong with the routes file, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("route {}: {}", .row + 1, .fault)]
pub struct RouteFault {
    /// Which row, counted from zero.
    pub row: usize,
    fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Path(String, &'static str),
    Method(String),
    NoMethod,
    Need(&'static str),
    Scope(String),
    Contradiction { path: String, other: String, need: Need },
    Head { path: String, other: String },
}

impl Fault {
    pub(super) const fn in_row(self, row: usize) -> RouteFault {
        RouteFault { row, fault: self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path, why) => write!(f, "the path \"{path}\" {why}"),
            Self::Method(name) => write!(f, "\"{name}\" is not one of GET, HEAD, POST, PUT, PATCH, DELETE"),
            Self::NoMethod => f.write_str("\"methods\" is empty; list at least one"),
            Self::Need(why) => f.write_str(why),
            Self::Scope(name) => write!(
                f,
                "\"{name}\" is not a scope; use account, tesla-accounts, vehicles, controls, mcp:use, or public"
            ),
            Self::Head { path, other } => write!(
                f,
                "the path \"{path}\" contradicts the row {other}, which is a command and takes no HEAD; leave HEAD out"
            ),
            Self::Contradiction { path, other, need } => write!(
                f,
                "the path \"{path}\" contradicts the row {other}, which needs {need}; use that, or a path that the row does not cover"
            ),
        }
    }
}

impl ExtraRow {
    /// The row as an entry, next to those that there are.
    pub(super) fn entry(&self, known: &[Entry]) -> Result<Entry, Fault> {
        self.check_path()?;
        let mut methods = MethodSet::NONE;
        for name in &self.methods {
            methods = methods.union(MethodSet::of(name).ok_or_else(|| Fault::Method(name.clone()))?);
        }
        if methods == MethodSet::NONE {
            return Err(Fault::NoMethod);
        }
        let need = self.need()?;
        if let Some(other) = self.contradicted(need, known) {
            let (other, need) = (other.route.template.to_string(), other.route.need);
            return Err(Fault::Contradiction { path: self.path.clone(), other, need });
        }
        // A command without HEAD gets none by a row: the provider's framework runs its GET for it.
        let without = |entry: &&Entry| entry.route.command && !entry.methods.contains(MethodSet::HEAD);
        if methods.contains(MethodSet::HEAD)
            && let Some(other) = known.iter().filter(without).find(|entry| overlap(&self.path, &entry.route.template))
        {
            return Err(Fault::Head { path: self.path.clone(), other: other.route.template.to_string() });
        }
        let command = need == Need::Scope(super::super::scope::Scope::Controls);
        let route =
            Route { template: Arc::from(&*self.path), need, upstream: Upstream::Api, command, takes_api_key: false };
        Ok(Entry { methods, route })
    }

    /// The most particular row that covers some of this path and needs something else. One path, one scope, whatever the
    /// method: a method smuggled past us must not find a cheaper one. A row that is more particular than the one in
    /// question, covers the whole path and needs the same settles it.
    fn contradicted<'a>(&self, need: Need, known: &'a [Entry]) -> Option<&'a Entry> {
        let settled = |entry: &Entry| {
            known.iter().any(|other| {
                let other_path = &*other.route.template;
                other.route.need == need && covers(other_path, &self.path) && covers(&entry.route.template, other_path)
            })
        };
        let contradicts = |entry: &&Entry| {
            let other = &*entry.route.template;
            let opposed = if other == CATCH_ALL { self.is_kept_for_commands(need) } else { overlap(&self.path, other) };
            entry.route.need != need && opposed && !settled(entry)
        };
        let found = known.iter().filter(contradicts);
        found.reduce(|best, entry| if covers(&best.route.template, &entry.route.template) { entry } else { best })
    }

    /// Whether the row under a vehicle for whatever is not known stands against this one: new readings may be opened with a
    /// scope, but nothing without one, and nothing below what moves a car.
    fn is_kept_for_commands(&self, need: Need) -> bool {
        let third = self.path.split('/').nth(4);
        overlap(&self.path, CATCH_ALL)
            && (need == Need::Public
                || third.is_some_and(|name| name.starts_with('{') || ["command", "wakeup", "update"].contains(&name)))
    }

    fn need(&self) -> Result<Need, Fault> {
        match (self.scope.as_deref(), self.public) {
            (Some("public"), _) | (None, true) => Ok(Need::Public),
            (Some(_), true) => Err(Fault::Need("it has a \"scope\" and is \"public\"; keep one of the two")),
            (Some(name), false) => name.parse().map(Need::Scope).map_err(|_| Fault::Scope(name.to_owned())),
            (None, false) => Err(Fault::Need("it has no \"scope\"; name one, or \"public\"")),
        }
    }

    fn check_path(&self) -> Result<(), Fault> {
        let fault = |why| Err(Fault::Path(self.path.clone(), why));
        let Some(below) = self.path.strip_prefix("/api/") else { return fault("must begin with /api/") };
        if below.split('/').count() > 16 {
            return fault("has more than sixteen segments");
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        for segment in below.split('/') {
            let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            match name.unwrap_or(segment) {
                "" => return fault("has an empty segment or name"),
                "." | ".." => return fault("has a dot segment"),
                text if name.is_some() && text.contains('.') => return fault("may have {name} for one segment only"),
                text if !text.bytes().all(plain) => {
                    return fault("may have letters, digits, - . _ ~ and whole segments like {id} only");
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether every path of the inner pattern is in the outer one.
fn covers(outer: &str, inner: &str) -> bool {
    let (mut outer, mut inner) = (segments(outer), segments(inner));
    loop {
        return match (outer.next(), inner.next()) {
            (None, None) | (Some(Segment::Rest), Some(_)) => true,
            (None, _) | (_, None) | (Some(_), Some(Segment::Rest)) => false,
            (Some(Segment::Any), Some(_)) => continue,
            (Some(Segment::Prefix(prefix)), Some(Segment::Literal(text) | Segment::Prefix(text)))
                if text.starts_with(prefix) =>
            {
                continue;
            }
            (Some(Segment::Literal(a)), Some(Segment::Literal(b))) if a == b => continue,
            _ => false,
        };
    }
}

/// Whether one path can be in both patterns.
fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (segments(one), segments(other));
    loop {
        return match (one.next(), other.next()) {
            (None, None) | (Some(Segment::Rest), Some(_)) | (Some(_), Some(Segment::Rest)) => true,
            (None, _) | (_, None) => false,
            (Some(Segment::Literal(a)), Some(Segment::Literal(b))) if a != b => false,
            (Some(Segment::Literal(text)), Some(Segment::Prefix(prefix)))
            | (Some(Segment::Prefix(prefix)), Some(Segment::Literal(text)))
                if !text.starts_with(prefix) =>
            {
                false
            }
            _ => continue,
        };
    }
}
