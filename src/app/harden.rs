//! What the process asks of the system before it reads a secret.

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask};

/// How many files this process may have open.
#[derive(Clone, Copy, Debug)]
pub struct Files(u64);

/// Kept free for the database, logs and listeners.
const RESERVED: u64 = 64;

impl Files {
    /// How many connections the limit leaves room for, when each may need one to the provider as well.
    #[must_use]
    pub fn connections(self) -> usize {
        usize::try_from(self.0.saturating_sub(RESERVED) / 2).unwrap_or(usize::MAX).max(1)
    }
}

/// Makes new files owner-only, raises the limit of open files as far as it goes, and keeps memory out of core dumps and
/// away from other processes of the same user. What the system refuses is left as it is: each is a second lock.
#[must_use]
pub fn harden() -> Files {
    umask(Mode::RWXG | Mode::RWXO);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let before = getrlimit(Resource::Nofile);
    if before.current != before.maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, maximum: before.maximum });
    }
    Files(getrlimit(Resource::Nofile).current.unwrap_or(1 << 20))
}
