//! What an operator sees of a running Keyfob: log lines, metrics, health.

mod escape;
mod exposition;
mod health;
mod histogram;
// Log lines.
pub mod log;
mod metrics;
// The listener for `/healthz`, `/readyz` and `/metrics`.
pub mod ops;

pub use health::{Health, Trouble};
pub use metrics::{Connection, Listener, Metrics, RefreshResult, UnknownCaller};
