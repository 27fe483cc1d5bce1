//! The sandbox on a real socket, compared with what was captured from the provider's own framework.

mod api;
mod authorize;
mod browser;
mod faults;
mod mcp;
mod token;
