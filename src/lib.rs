//! Keyfob, the OAuth 2.0 authorization helper and token broker for Teslascope.
//!
//! The modules in reading order: the words first, then what is built from them.

// The two things that only the system can tell: the time and randomness.
pub mod ambient;
// The wiring: settings, store and vault, routers, listeners, shutdown.
/// The management API, for programs.
pub mod api;
/// The wiring: settings, store and vault, routers, listeners, shutdown.
pub mod app;
// What the program does: one file per use case.
pub mod broker;
// The command line.
pub mod cli;
// Settings: flags over environment over file over defaults.
pub mod config;
// The words of the field, pure: no I/O, no async.
pub mod domain;
// The OAuth protocol, as a client.
pub mod oauth;
// The reverse proxy: apps' calls, on a listener of their own.
pub mod proxy;
// A stand-in for the provider, for trying Keyfob and for its tests.
pub mod sandbox;
// What is kept: one SQLite file.
pub mod store;
// What an operator sees: log lines, metrics, health.
pub mod telemetry;
// Encryption at rest.
pub mod vault;
// Pages for people.
pub mod web;
