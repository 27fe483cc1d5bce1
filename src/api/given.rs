//! What a caller gave: the members of a JSON body or the parameters of a query. Each is taken by name and read; every fault is
//! kept, so that the answer can name them all at once, and what was not asked for is a fault too.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::problem::{Fault, Problem};
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::secret::{Secret, SecretKind};
use crate::domain::time::parse_span;

/// Why a value can't be read: what it must be, in words that follow its name.
pub(super) type Unread = String;

/// Members or parameters by name, and what is wrong with them.
#[derive(Debug, Default)]
pub(super) struct Given {
    values: BTreeMap<String, Value>,
    faults: Vec<Fault>,
}

impl Given {
    /// The parameters of a query. Empty values count as not given, so that a form's empty fields do no harm.
    pub(super) fn of_query(query: Option<&str>) -> Self {
        let mut given = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !value.is_empty() {
                given.put(name.into_owned(), Value::String(value.into_owned()));
            }
        }
        given
    }

    fn put(&mut self, name: String, value: Value) {
        // Two readers could take different ones.
        if self.values.contains_key(&name) {
            self.fault(&name, "is given twice");
        }
        self.values.insert(name, value);
    }

    /// Notes that something is wrong with a member.
    pub(super) fn fault(&mut self, member: &str, detail: impl fmt::Display) {
        if !self.faults.iter().any(|fault| fault.member == member) {
            self.faults.push(Fault { member: shorten(member), detail: detail.to_string() });
        }
    }

    /// Takes a member that may be missing; `null` is missing too.
    pub(super) fn maybe<T>(&mut self, name: &str, read: impl FnOnce(Value) -> Result<T, Unread>) -> Option<T> {
        match self.values.remove(name).filter(|value| !value.is_null()).map(read) {
            None => None,
            Some(Ok(value)) => Some(value),
            Some(Err(why)) => {
                self.fault(name, why);
                None
            }
        }
    }

    /// Takes a member that must be there.
    pub(super) fn must<T>(&mut self, name: &str, read: impl FnOnce(Value) -> Result<T, Unread>) -> Option<T> {
        if self.values.get(name).is_none_or(Value::is_null) {
            self.fault(name, "is missing");
        }
        self.maybe(name, read)
    }

    /// What was made of the members, or the problem with every fault in it.
    pub(super) fn finish<T>(mut self, made: Option<T>) -> Result<T, Problem> {
        let unknown: Vec<_> = std::mem::take(&mut self.values).into_keys().collect();
        for name in unknown.iter().take(20) {
            self.fault(name, "is not known here");
        }
        match made {
            Some(made) if self.faults.is_empty() => Ok(made),
            _ if self.faults.is_empty() => Err(Problem::internal("a member was lost while it was read")),
            _ => Err(Problem::invalid(self.faults)),
        }
    }
}

/// A name that a caller made up, cut to a length that can be shown.
fn shorten(name: &str) -> String {
    name.chars().take(64).collect()
}

impl<'de> Deserialize<'de> for Given {
    /// Reads an object, and notes members that are given twice.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Given;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
                let mut given = Given::default();
                while let Some((name, value)) = map.next_entry()? {
                    given.put(name, value);
                }
                Ok(given)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Any text.
pub(super) fn text(value: Value) -> Result<String, Unread> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err("must be a string".to_owned()),
    }
}

/// A text that can be read as a `T`.
pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(value: Value) -> Result<T, Unread> {
    text(value)?.parse().map_err(|why: T::Err| why.to_string())
}

/// One word of a list.
pub(super) fn word<T: Copy>(words: &'static [T], name: fn(T) -> &'static str) -> impl Fn(Value) -> Result<T, Unread> {
    move |value| {
        let given = text(value)?;
        words.iter().copied().find(|word| name(*word) == given).ok_or_else(|| {
            let all: Vec<_> = words.iter().map(|word| name(*word)).collect();
            format!("must be one of {}", all.join(", "))
        })
    }
}

/// A secret, taken over without a copy.
pub(super) fn secret<K: SecretKind>(value: Value) -> Result<Secret<K>, Unread> {
    match text(value)? {
        empty if empty.is_empty() => Err("must not be empty".to_owned()),
        text => Ok(Secret::new(text)),
    }
}

/// A list of at least one scope.
pub(super) fn scopes(value: Value) -> Result<ScopeSet, Unread> {
    let Value::Array(names) = value else { return Err("must be a list of scopes".to_owned()) };
    let mut set = ScopeSet::EMPTY;
    for name in names {
        set = set.with(parsed::<Scope>(name).map_err(|why| format!("holds something that {why}"))?);
    }
    if set.is_empty() { Err("must name at least one scope".to_owned()) } else { Ok(set) }
}

/// Yes or no.
#[expect(clippy::needless_pass_by_value, reason = "all readers take their value over")]
pub(super) fn flag(value: Value) -> Result<bool, Unread> {
    match value {
        Value::Bool(flag) => Ok(flag),
        _ => Err("must be true or false".to_owned()),
    }
}

/// A span like `24h`.
pub(super) fn span(value: Value) -> Result<Duration, Unread> {
    parse_span(&text(value)?).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::user::Role;

    #[test]
    fn every_fault_is_named_at_once() {
        let body = r#"{"a": 1, "b": null, "scopes": ["vehicles", "fly"], "role": "king", "x": 1, "x": 2, "y": {}}"#;
        let mut given: Given = serde_json::from_str(body).unwrap();
        assert_eq!(given.must("a", text), None);
        assert_eq!(given.must("b", text), None);
        assert_eq!(given.maybe("c", text), None);
        assert_eq!(given.must("scopes", scopes), None);
        assert_eq!(given.maybe("role", word(&[Role::Admin, Role::Member], Role::as_str)), None);
        given.maybe("x", Ok);
        let problem = given.finish(Some(())).unwrap_err();
        let text = format!("{problem:?}");
        for (member, why) in [
            ("a", "must be a string"),
            ("b", "is missing"),
            ("scopes", "holds something that is not one of account"),
            ("role", "must be one of admin, member"),
            ("x", "is given twice"),
            ("y", "is not known here"),
        ] {
            assert!(text.contains(&format!("member: \"{member}\", detail: \"{why}")), "{member}: {text}");
        }
        assert!(!text.contains("\"c\""));
    }

    #[test]
    fn a_query_is_read_like_a_body_and_empty_values_are_not_there() {
        let mut given = Given::of_query(Some("user=&scope=mcp%3Ause&limit=1&limit=2"));
        assert_eq!(given.maybe("user", text), None);
        assert_eq!(given.maybe("scope", parsed::<Scope>), Some(Scope::McpUse));
        given.maybe("limit", text);
        assert!(format!("{:?}", given.finish(Some(())).unwrap_err()).contains("is given twice"));
    }
}
