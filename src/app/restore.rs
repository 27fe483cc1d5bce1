//! Puts a backup in a database's place: all of it or nothing, and not before it is known that its key is here.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::StartError;
use super::in_use::InUse;
use super::open::{beside, foreign, make_directory, ring, sync_directory, unopened};
use crate::ambient::{Clock, Entropy};
use crate::config::Settings;
use crate::store::{Inspection, OpenError, copy_back, inspect_wholly, settle};
use crate::vault::{KeyId, Vault};

/// What was done.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The database that now holds what the backup held.
    pub database: PathBuf,
    /// Where the one that stood there before is now, if there was one.
    pub replaced: Option<PathBuf>,
}

/// Why nothing was restored. The database is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is no such file.
    #[error("there is no file {0}")]
    NoFile(PathBuf),
    /// A service or a command has the database open.
    #[error("the database {0} is in use: stop every Keyfob that uses it, then restore again")]
    InUse(PathBuf),
    /// It is damaged or newer, or its key is not here.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Puts a backup in place of the database that the settings name, which is kept beside it under a dated name.
///
/// # Errors
/// [`RestoreError`]
pub async fn restore(settings: &Settings, backup: &Path) -> Result<Restored, RestoreError> {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let database = &settings.database;
    let found = inspect_wholly(backup).await.map_err(|error| unopened(backup, &error))?;
    let found = found.ok_or_else(|| RestoreError::NoFile(backup.to_owned()))?;
    let vault = Vault::new(ring(settings)?, entropy.clone());
    check(&vault, &found, settings, backup)?;

    make_directory(&settings.data_dir)?;
    let Some(_alone) = InUse::alone(database)? else { return Err(RestoreError::InUse(database.clone())) };
    let fresh = beside(database, &format!(".restoring-{:08x}", u32::from_be_bytes(entropy.bytes())));
    let made = make(&fresh, backup, &vault, settings).await;
    if made.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    made?;
    let stamp: String = clock.now().to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    let replaced = beside(database, &format!(".replaced-{stamp}"));
    let swapped = swap(database, &fresh, &replaced).await;
    let replaced = swapped.map_err(|error| unopened(database, &OpenError::Unavailable(error.to_string())))?;
    Ok(Restored { database: database.clone(), replaced })
}

fn check(vault: &Vault, found: &Inspection, settings: &Settings, path: &Path) -> Result<(), StartError> {
    let Some(canary) = &found.canary else {
        return Err(unopened(path, &OpenError::Damaged("it is not a database that Keyfob has made".to_owned())));
    };
    vault.check_canary(canary).map_err(|_| foreign(settings, path))?;
    let known = vault.key_ids();
    match found.keys.iter().map(|id| KeyId::from_bytes(*id)).find(|id| !known.contains(id)) {
        None => Ok(()),
        Some(id) => Err(StartError::MasterKey(format!(
            "{}: some of it is sealed under the master key {id}, which {} does not hold; nothing was changed; put that key back into the file",
            path.display(),
            settings.master_keys_file.display()
        ))),
    }
}

/// Writes the backup beside the database, onto the disk, and looks at what was written.
async fn make(fresh: &Path, backup: &Path, vault: &Vault, settings: &Settings) -> Result<(), StartError> {
    let fault = |error: std::io::Error| unopened(fresh, &OpenError::Unavailable(error.to_string()));
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(fresh).map_err(fault)?;
    copy_back(backup, fresh).await.map_err(|error| unopened(fresh, &error))?;
    fs::File::open(fresh).and_then(|file| file.sync_all()).map_err(fault)?;
    let found = inspect_wholly(fresh).await.map_err(|error| unopened(fresh, &error))?;
    let missing = || unopened(fresh, &OpenError::Damaged("the copy vanished".to_owned()));
    check(vault, &found.ok_or_else(missing)?, settings, fresh)
}

/// Exchanges the two in one step, so that at no moment there is none or half of one. Where the replaced one is.
async fn swap(database: &Path, fresh: &Path, replaced: &Path) -> std::io::Result<Option<PathBuf>> {
    let existed = fs::symlink_metadata(database).is_ok();
    // What is in the log goes into the file. A database that is too damaged for that keeps its log beside it; it must go
    // from under the new one in any case, which it would be applied to.
    if existed && settle(database).await {
        remove(&beside(database, "-wal"))?;
    }
    for suffix in ["-wal", "-journal"] {
        if fs::metadata(beside(database, suffix)).is_ok() {
            fs::rename(beside(database, suffix), beside(replaced, suffix))?;
        }
    }
    remove(&beside(database, "-shm"))?;
    if !existed {
        fs::rename(fresh, database)?;
        sync_directory(database)?;
        return Ok(None);
    }
    if renameat_with(CWD, fresh, CWD, database, RenameFlags::EXCHANGE).is_ok() {
        fs::rename(fresh, replaced)?;
    } else {
        // A file system that can't exchange: the old one gets its second name first.
        fs::hard_link(database, replaced)?;
        fs::rename(fresh, database)?;
    }
    sync_directory(database)?;
    Ok(Some(replaced.to_owned()))
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
