//! The words: what Keyfob talks about, as types that are valid whenever they exist.

// Programs that call the proxy, and their keys.
pub mod app;
// What is remembered of calls and changes.
pub mod audit;
// Authorization requests on their way.
pub mod authorization;
// The lasting result of an authorization at the provider.
pub mod grant;
// Identifiers that cannot be mixed up.
pub mod id;
// Query strings as PHP reads them.
pub mod query;
// The path → scope table.
pub mod route;
// The provider's scopes and sets of them.
pub mod scope;
// Secrets: plain for a moment, sealed at rest.
pub mod secret;
// Time of day and spans of time.
pub mod time;
// People with an account.
pub mod user;
