//! The real program, started and driven from outside.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod admin;
mod backup;
mod commands;
mod demo;
mod doctor;
mod documents;
mod exit_codes;
mod hang_up;
mod headless;
mod help;
mod kept;
mod keys;
mod notify;
mod one_processor;
mod ops;
mod pages;
mod program;
mod restored;
#[path = "../world/sealed.rs"]
mod sealed;
mod secrets;
mod service_manager;
mod settings;
mod start_faults;
mod visitor;
