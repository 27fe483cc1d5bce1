//! The sandbox on a real socket, compared with what was captured from the provider's own framework.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod api;
mod authorize;
mod browser;
mod faults;
mod mcp;
mod token;
