//! Scopes as a page offers them: name, meaning, risk, what apps gain from them, ticked or not.

use crate::domain::scope::{Scope, ScopeSet};

/// One box to tick.
pub(crate) struct ScopeRow {
    pub(crate) name: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) gain: &'static str,
    pub(crate) risk: &'static str,
    pub(crate) ticked: bool,
    /// Whether a grant of the user holds it.
    pub(crate) held: bool,
}

impl ScopeRow {
    pub(crate) fn of(scope: Scope, ticked: ScopeSet, held: ScopeSet) -> Self {
        Self {
            name: scope.as_str(),
            meaning: scope.meaning(),
            gain: gain(scope),
            risk: scope.risk().word(),
            ticked: ticked.contains(scope),
            held: held.contains(scope),
        }
    }
}

/// The rows of every scope, the harmless one first.
pub(crate) fn rows(ticked: ScopeSet, held: ScopeSet) -> Vec<ScopeRow> {
    ORDER.into_iter().map(|scope| ScopeRow::of(scope, ticked, held)).collect()
}

/// The harmless one first, the commands last.
pub(crate) const ORDER: [Scope; 5] =
    [Scope::Vehicles, Scope::Account, Scope::TeslaAccounts, Scope::McpUse, Scope::Controls];

/// What apps can be good for with it.
const fn gain(scope: Scope) -> &'static str {
    match scope {
        Scope::Vehicles => "Enough for dashboards, statistics, and hubs that watch the battery.",
        Scope::Account => "For apps that show or keep your profile; few need it.",
        Scope::TeslaAccounts => "For apps that manage which Tesla accounts Teslascope follows; few need it.",
        Scope::McpUse => "For AI clients. They also need vehicles to see anything about your cars.",
        Scope::Controls => "For automations that act: preheating, charging by the price, locking at night.",
    }
}

/// The ticked scopes of a form; an unknown name is an error that names it (CL-24).
pub(crate) fn ticked<'a>(names: impl Iterator<Item = &'a str>) -> Result<ScopeSet, String> {
    names.flat_map(|value| value.split([' ', ',']).filter(|name| !name.is_empty())).try_fold(
        ScopeSet::EMPTY,
        |set, name| match name.parse::<Scope>() {
            Ok(scope) => Ok(set.with(scope)),
            Err(_) => Err(format!("There is no scope named “{}”.", shortened(name))),
        },
    )
}

fn shortened(name: &str) -> String {
    name.chars().take(40).filter(|c| !crate::domain::user::is_unprintable(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scope_cannot_be_slipped_in() {
        let set = ticked(["vehicles", "mcp:use"].into_iter()).unwrap();
        assert_eq!(set, ScopeSet::of(Scope::Vehicles).with(Scope::McpUse));
        assert!(ticked(["vehicles", "*"].into_iter()).is_err());
        assert!(ticked(["vehicles openid"].into_iter()).is_err());
    }
}
