//! What the real program costs in memory and time when much is open, much passes through, or it has grown.
//!
//! As it stands this runs in seconds, in small, against the program that cargo built. `KEYFOB_TEST_LOAD=full` runs it in full,
//! `KEYFOB_TEST_PROGRAM` names another program, which is taken for a release build and held to the limits of one:
//!
//!     cargo build --release
//!     KEYFOB_TEST_LOAD=full KEYFOB_TEST_PROGRAM=target/release/keyfob cargo test --test load -- --nocapture --test-threads=1
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]
#![expect(clippy::disallowed_methods, reason = "what is timed here is the program itself")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod audit;
mod crowd;
mod driver;
mod figures;
mod grown;
mod house;
mod memory;
mod upstream;
