//! Who works with a database: a lock file beside it, held by every process for as long as it has the database open.
//!
//! SQLite's own locks say who reads or writes at a moment, not who will. To put another file in a database's place,
//! nobody may have it open at all.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::StartError;

/// How often the lock is asked for again, and how many times.
const AGAIN: Duration = Duration::from_millis(20);
const TIMES: u32 = 1_500;

/// The lock; given back when dropped, and by the system when the process is killed.
#[derive(Debug)]
pub(super) struct InUse(#[expect(dead_code, reason = "closing it gives the lock back")] File);

impl InUse {
    /// Says that this process uses the database, as others may. Waits while another makes or restores it.
    pub(super) async fn shared(database: &Path) -> Result<Self, StartError> {
        let file = open(database)?;
        for _ in 0..TIMES {
            match file.try_lock_shared() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(AGAIN).await,
                Err(TryLockError::Error(error)) => return Err(fault(database, &error)),
            }
        }
        Err(StartError::Database(format!(
            "{}: another process is restoring it; try again when that is done",
            database.display()
        )))
    }

    /// Keeps everybody else off the database. Nothing when somebody uses it.
    pub(super) fn alone(database: &Path) -> Result<Option<Self>, StartError> {
        let file = open(database)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(fault(database, &error)),
        }
    }

    /// Waits a moment for somebody else's lock.
    pub(super) async fn moment() {
        tokio::time::sleep(AGAIN).await;
    }
}

fn path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

fn open(database: &Path) -> Result<File, StartError> {
    let path = path(database);
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    opened.map_err(|error| fault(database, &error))
}

fn fault(database: &Path, error: &std::io::Error) -> StartError {
    StartError::Database(format!(
        "{}: its lock file can't be used ({}); keep the database in a directory on a local file system that this user can write",
        path(database).display(),
        error.kind()
    ))
}
