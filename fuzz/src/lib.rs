//! The parts of Keyfob that are fuzzed, from its own files.

#[path = "../../src/domain/mod.rs"]
pub mod domain;
pub mod proxy;
#[path = "../../src/oauth/response.rs"]
mod response;

/// The protocol's answers.
pub mod oauth {
    pub use crate::response::TokenAnswer;
}
