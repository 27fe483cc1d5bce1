//! The provider's five scopes (RFC 6749 3.3), what each means in plain words, and sets of them.

use std::fmt;
use std::str::FromStr;

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

/// One scope of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Scope {
    /// User profile and account APIs.
    Account,
    /// Linked Tesla accounts.
    TeslaAccounts,
    /// Reading vehicles.
    Vehicles,
    /// Vehicle commands.
    Controls,
    /// MCP tools over HTTP.
    McpUse,
}

/// How much harm a scope can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Risk {
    /// Sees data.
    Read,
    /// Changes data.
    Change,
    /// Moves a car.
    Command,
}

impl Risk {
    /// One lower-case word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Change => "change",
            Self::Command => "command",
        }
    }
}

/// A name that is no scope of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not one of account, tesla-accounts, vehicles, controls, mcp:use")]
pub struct UnknownScope;

impl Scope {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Account, Self::TeslaAccounts, Self::Vehicles, Self::Controls, Self::McpUse];

    /// The provider's own string.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::TeslaAccounts => "tesla-accounts",
            Self::Vehicles => "vehicles",
            Self::Controls => "controls",
            Self::McpUse => "mcp:use",
        }
    }

    /// What an app with this scope can see or do, in one line.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Account => "See and change your Teslascope profile and account settings.",
            Self::TeslaAccounts => "See, add, refresh and remove the Tesla accounts linked to your Teslascope account.",
            Self::Vehicles => {
                "See your cars: state, battery, position, drives, charges, trips. Nothing can be changed."
            }
            Self::Controls => "Send commands to your cars: lock and unlock, climate, charging, horn, trunk.",
            Self::McpUse => "Let an AI client use Teslascope's MCP tools with what else this grant holds.",
        }
    }

    /// How much harm it can do.
    #[must_use]
    pub const fn risk(self) -> Risk {
        match self {
            Self::Vehicles => Risk::Read,
            Self::Account | Self::TeslaAccounts | Self::McpUse => Risk::Change,
            Self::Controls => Risk::Command,
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(name: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name).ok_or(UnknownScope)
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A set of scopes. One that a provider told of may hold more than can be named here.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ScopeSet(u8);

impl ScopeSet {
    /// No scope.
    pub const EMPTY: Self = Self(0);

    /// All five.
    pub const ALL: Self = Self(0b1_1111);

    /// Something that is no scope of the five, or that nobody asked for: no set of an app has it.
    const MORE: u8 = 0b10_0000;

    /// What a legacy API key can hold at most.
    pub const API_KEY: Self = Self(Scope::Vehicles.bit() | Scope::Controls.bit());

    /// Just this scope.
    #[must_use]
    pub const fn of(scope: Scope) -> Self {
        Self(scope.bit())
    }

    /// As bits in the order of [`Scope::ALL`], as the store keeps it.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// From kept bits; bits that are no scope are dropped.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & (Self::ALL.0 | Self::MORE))
    }

    /// Whether the scope is in it.
    #[must_use]
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Whether every scope of this set is in `other`.
    #[must_use]
    pub const fn is_subset_of(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// The scopes in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The scopes in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The scopes of this set that are not in `other`; only such as have a name.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0 & Self::ALL.0)
    }

    /// Those of its scopes that are in `known`; what is beyond them is not forgotten, only not named.
    #[must_use]
    pub const fn within(self, known: Self) -> Self {
        if self.is_subset_of(known) { self } else { self.intersection(known).and_more() }
    }

    /// This set and something that has no name here.
    #[must_use]
    pub const fn and_more(self) -> Self {
        Self(self.0 | Self::MORE)
    }

    /// Whether it holds something that has no name here.
    #[must_use]
    pub const fn holds_more(self) -> bool {
        self.0 & Self::MORE != 0
    }

    /// This set and one more.
    #[must_use]
    pub const fn with(self, scope: Scope) -> Self {
        Self(self.0 | scope.bit())
    }

    /// How many scopes it has; what has no name counts as one.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether it has none that has a name.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 & Self::ALL.0 == 0
    }

    /// Its scopes in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }

    /// Reads names separated by spaces or commas; repeated names count once.
    ///
    /// # Errors
    /// The first name that is no scope.
    pub fn parse_list(text: &str) -> Result<Self, String> {
        let names = text.split([' ', ',']).filter(|name| !name.is_empty());
        let mut set = Self::EMPTY;
        for name in names {
            set = set.with(name.parse().map_err(|UnknownScope| name.to_owned())?);
        }
        Ok(set)
    }

    /// Reads names from what the provider said; those that are not known here make it [hold more](Self::holds_more).
    #[must_use]
    pub fn told_of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        names.into_iter().fold(Self::EMPTY, |set, name| name.parse().map_or(set.and_more(), |scope| set.with(scope)))
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        scopes.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Display for ScopeSet {
    /// Names separated by one space, as on the wire.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}{}]", if self.holds_more() { " and more" } else { "" })
    }
}

impl Serialize for ScopeSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.len() as usize))?;
        for scope in self.iter() {
            seq.serialize_element(&scope)?;
        }
        seq.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_the_providers_own() {
        assert_eq!(ScopeSet::ALL.to_string(), "account tesla-accounts vehicles controls mcp:use");
        assert_eq!(ScopeSet::parse_list("vehicles,controls vehicles").map(ScopeSet::len), Ok(2));
        assert_eq!(ScopeSet::parse_list("vehicles Controls"), Err("Controls".to_owned()));
    }

    #[test]
    fn what_has_no_name_here_is_in_no_other_set() {
        let told = ScopeSet::told_of(["vehicles", "billing"]);
        assert_eq!((told.to_string().as_str(), told.len()), ("vehicles", 2));
        assert!(!told.is_subset_of(ScopeSet::ALL) && told.holds_more());
        assert!(ScopeSet::told_of(["*"]).is_empty() && !ScopeSet::told_of(["vehicles"]).holds_more());
        assert_eq!(ScopeSet::from_bits(told.bits()), told);
        assert!(told.minus(ScopeSet::of(Scope::Vehicles)).is_empty());
        let vehicles = ScopeSet::of(Scope::Vehicles);
        assert_eq!(ScopeSet::ALL.within(vehicles), vehicles.and_more());
        assert_eq!(vehicles.within(ScopeSet::ALL), vehicles);
        assert_eq!(told.within(ScopeSet::ALL), told);
    }

    proptest! {
        #[test]
        fn a_set_survives_its_text(bits in 0_u8..32) {
            let set = ScopeSet(bits);
            prop_assert_eq!(ScopeSet::parse_list(&set.to_string()), Ok(set));
        }

        #[test]
        fn subset_union_and_difference_agree(a in 0_u8..32, b in 0_u8..32) {
            let (a, b) = (ScopeSet(a), ScopeSet(b));
            prop_assert!(a.is_subset_of(a.union(b)));
            prop_assert_eq!(a.is_subset_of(b), a.minus(b).is_empty());
            prop_assert_eq!(a.minus(b).union(a.intersection(b)), a);
        }
    }
}
