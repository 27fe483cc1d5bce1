//! What people changed about themselves.

use serde::{Deserialize, Serialize};

/// Overrides of an account's own data.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Profile {
    pub name: Option<String>,
}
