//! The path → scope table, judged on exactly the bytes that are sent.

use std::sync::Arc;

use super::scope::Scope;

/// What a route needs of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// The app and a grant must hold this scope.
    Scope(Scope),
    /// An app key, and no token is sent.
    Public,
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
