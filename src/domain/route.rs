//! The path → scope table, judged on exactly the bytes that are sent.
//!
//! [`RouteTable::judge`] reads the raw path once. A path that two readers could understand differently is refused, never
//! tidied up, so whatever the provider's stack makes of the bytes is what was judged here.

use std::fmt;
use std::sync::Arc;

use super::scope::Scope;

mod extra;
mod methods;
#[cfg(any(test, fuzzing))]
pub mod oracle;
mod path;
mod table;
#[cfg(test)]
mod tests;

pub use extra::{ExtraRow, RouteFault};
pub use methods::MethodSet;
pub(in crate::domain) use path::decode as decode_percent;
pub use table::RouteTable;

/// What a route needs of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// The app and a grant must hold this scope.
    Scope(Scope),
    /// An app key, and no token is sent.
    Public,
}

impl Need {
    /// The scope that is needed, if one is.
    #[must_use]
    pub const fn scope(self) -> Option<Scope> {
        match self {
            Self::Scope(scope) => Some(scope),
            Self::Public => None,
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scope(scope) => f.write_str(scope.as_str()),
            Self::Public => f.write_str("public"),
        }
    }
}

/// Which of the provider's servers a path goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Upstream {
    /// The REST API.
    Api,
    /// The MCP server.
    Mcp,
}

/// A known path and what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The row that matched, like `/api/vehicle/{id}/drives`.
    pub template: Arc<str>,
    /// What it needs.
    pub need: Need,
    /// Where it goes.
    pub upstream: Upstream,
    /// Whether it moves a car: sent at most once, on disk before it is sent.
    pub command: bool,
    /// Whether the provider takes a legacy API key here.
    pub takes_api_key: bool,
}

/// Why a request's path or method goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteRefusal {
    /// Two readers could understand the path differently: how, in a few words.
    Ambiguous(&'static str),
    /// The path is in no row of the table.
    Unknown,
    /// The path is known, but not with this method.
    Method {
        /// The methods that it takes.
        allow: MethodSet,
    },
}
