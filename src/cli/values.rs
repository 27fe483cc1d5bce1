//! Values of arguments, read into the words of the domain; a wrong one is named with those that would do.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use http::Method;

use crate::domain::app::Rate;
use crate::domain::audit::kind;
use crate::domain::grant::{GrantKind, GrantStatus};
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::time::parse_span;

/// `account`, `tesla-accounts`, `vehicles`, `controls` or `mcp:use`.
pub(super) fn scope() -> impl TypedValueParser<Value = Scope> {
    PossibleValuesParser::new(Scope::ALL.map(Scope::as_str)).try_map(|text| text.parse::<Scope>())
}

/// A method that the proxy passes on.
pub(super) fn method() -> impl TypedValueParser<Value = Method> {
    PossibleValuesParser::new(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
        .try_map(|text| text.to_ascii_uppercase().parse::<Method>())
}

/// One scope, or several separated by blanks or commas.
pub(super) fn scopes(text: &str) -> Result<ScopeSet, String> {
    let bad = |name| format!("{name:?} is no scope; they are {}", ScopeSet::ALL.to_string().replace(' ', ", "));
    let set = ScopeSet::parse_list(text).map_err(bad)?;
    if set.is_empty() { Err("name at least one scope".to_owned()) } else { Ok(set) }
}

/// All of the sets that a repeated argument gave.
pub(super) fn union(sets: &[ScopeSet]) -> ScopeSet {
    sets.iter().fold(ScopeSet::EMPTY, |all, more| all.union(*more))
}

/// A grant's status.
pub(super) fn status() -> impl TypedValueParser<Value = GrantStatus> {
    PossibleValuesParser::new(GrantStatus::ALL.iter().map(|status| status.as_str()))
        .try_map(|text| text.parse::<GrantStatus>().map_err(|()| "is no status"))
}

/// The kind of a pasted secret.
pub(super) fn pasted_kind() -> impl TypedValueParser<Value = GrantKind> {
    PossibleValuesParser::new([GrantKind::PersonalAccessToken.as_str(), GrantKind::ApiKey.as_str()])
        .try_map(|text| text.parse::<GrantKind>().map_err(|()| "is no kind"))
}

/// The kind of an event.
pub(super) fn event_kind() -> impl TypedValueParser<Value = &'static str> {
    PossibleValuesParser::new(kind::ALL)
        .try_map(|text| kind::ALL.into_iter().find(|known| *known == text).ok_or("is no kind of event"))
}

/// `2s`, `15m`, `24h`, `90d`.
pub(super) fn span(text: &str) -> Result<Duration, crate::domain::time::BadSpan> {
    parse_span(text)
}

/// `10/s`, `600/m`.
pub(super) fn rate(text: &str) -> Result<Rate, crate::domain::app::BadRate> {
    text.parse()
}
