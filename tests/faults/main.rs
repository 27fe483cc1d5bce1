//! The real program against the sandbox and its faults: killed at every point of a refresh, several on one database, on a
//! full disk. `KEYFOB_TEST_KILLS=500` sweeps the kill points as often.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod disk;
mod kills;
mod processes;
mod town;
