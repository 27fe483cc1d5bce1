//! Keyfob, the OAuth 2.0 authorization helper and token broker for Teslascope.
//!
//! The modules in reading order: the words first, then what is built from them. Each says what it is at its top.

// The two things that only the system can tell: the time and randomness.
pub mod ambient;

// The words of the field, pure: no I/O, no async.
pub mod domain;

// Encryption at rest, what is kept, and the protocol as a client.
pub mod vault;

pub mod store;

pub mod oauth;

// What the program does: one file per use case.
pub mod broker;

// Its dress: pages for people, the API for programs, the reverse proxy for apps' calls.
pub mod web;

pub mod api;

pub mod proxy;

// The other side of the wire: a stand-in for the provider, for trying Keyfob and for its tests.
pub mod sandbox;

// Settings, what an operator sees, the wiring, and the command line.
pub mod config;

pub mod telemetry;

pub mod app;

pub mod cli;
