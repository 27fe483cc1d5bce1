//! The real program against the sandbox and its faults; README.md tells which test holds what, and how to run longer.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod answers;
mod clock;
mod kills;
mod many;
mod processes;
#[path = "../world/sealed.rs"]
mod sealed;
#[path = "../world/start.rs"]
mod start;
mod storage;
mod town;
