//! Whether this process can do its job, and if not, why.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Why this process is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Trouble {
    /// It is not up yet.
    Starting,
    /// It is going down.
    Stopping,
    /// The database cannot be written.
    Storage,
    /// Something had to be put beside the database and is not back in it yet.
    Spill,
}

impl Trouble {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Starting, Self::Stopping, Self::Storage, Self::Spill];

    /// One lower-case word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Stopping => "stopping",
            Self::Storage => "storage",
            Self::Spill => "spill",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What troubles this process; every clone sees the same.
#[derive(Clone, Debug)]
pub struct Health(Arc<AtomicU8>);

impl Health {
    /// Starting, and nothing else wrong.
    #[must_use]
    pub fn starting() -> Self {
        Self(Arc::new(AtomicU8::new(Trouble::Starting.bit())))
    }

    /// From now on this troubles it; true when it did not before.
    #[expect(clippy::must_use_candidate, reason = "most callers only tell")]
    pub fn set(&self, trouble: Trouble) -> bool {
        self.0.fetch_or(trouble.bit(), Ordering::Relaxed) & trouble.bit() == 0
    }

    /// This troubles it no longer; true when it did before.
    #[expect(clippy::must_use_candidate, reason = "most callers only tell")]
    pub fn clear(&self, trouble: Trouble) -> bool {
        self.0.fetch_and(!trouble.bit(), Ordering::Relaxed) & trouble.bit() != 0
    }

    /// Whether this troubles it.
    #[must_use]
    pub fn has(&self, trouble: Trouble) -> bool {
        self.0.load(Ordering::Relaxed) & trouble.bit() != 0
    }

    /// Everything that troubles it; nothing when it is ready.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        Trouble::ALL.into_iter().filter(|trouble| self.has(*trouble)).collect()
    }
}
