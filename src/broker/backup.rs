//! A copy of all that is kept, made while it is in use. It holds no key, and is not called done before it was opened.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::Broker;
use crate::store::{OpenError, StoreError, inspect_wholly};
use crate::vault::{KeyId, OpenError as VaultError};

/// A backup that was made and opened.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Backup {
    /// The file.
    pub file: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// The master keys that are needed to restore it.
    pub keys: Vec<KeyId>,
}

/// Why there is no backup. No file is left.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file of that name is there.
    #[error("{0} exists already and is not replaced: name another file")]
    Exists(PathBuf),
    /// The file can't be written.
    #[error("{path} can't be written ({}): name a file in a directory that this user can write, on a disk with room", cause.kind())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The database is not available.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The copy is not good.
    #[error("the backup was made but does not pass its check, so it was removed: {0}")]
    Damaged(#[from] OpenError),
    /// The copy's canary does not open.
    #[error("the backup was made but the master keys do not open it, so it was removed: {0}")]
    Sealed(#[from] VaultError),
}

impl Broker {
    /// Writes a backup into a new file, readable by its owner only.
    ///
    /// # Errors
    /// [`BackupError`]
    pub async fn backup(&self, file: &Path) -> Result<Backup, BackupError> {
        if fs::symlink_metadata(file).is_ok() {
            return Err(BackupError::Exists(file.to_owned()));
        }
        let mut part = file.as_os_str().to_owned();
        part.push(format!(".part-{:08x}", u32::from_be_bytes(self.entropy.bytes())));
        let part = PathBuf::from(part);
        let made = self.make_backup(&part, file).await;
        if made.is_err() {
            let _ = fs::remove_file(&part);
        }
        made
    }

    async fn make_backup(&self, part: &Path, file: &Path) -> Result<Backup, BackupError> {
        let unwritable = |cause| BackupError::Unwritable { path: file.to_owned(), cause };
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(part).map_err(unwritable)?;
        self.store.copy_into(part).await?;
        let written = File::open(part).map_err(unwritable)?;
        written.sync_all().map_err(unwritable)?;

        let found = inspect_wholly(part).await?.ok_or_else(|| OpenError::Damaged("the file vanished".to_owned()))?;
        let canary = found.canary.ok_or_else(|| OpenError::Damaged("the canary is missing".to_owned()))?;
        self.vault.check_canary(&canary)?;

        name_new(part, file).map_err(|cause| match cause.kind() {
            ErrorKind::AlreadyExists => BackupError::Exists(file.to_owned()),
            _ => unwritable(cause),
        })?;
        let directory = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory).and_then(|dir| dir.sync_all()).map_err(unwritable)?;
        let bytes = written.metadata().map_err(unwritable)?.len();
        let keys = found.keys.into_iter().map(KeyId::from_bytes).collect();
        Ok(Backup { file: file.to_owned(), bytes, keys })
    }
}

/// Gives a whole file its name, never over another. Some file systems can do it the one way, some the other.
fn name_new(part: &Path, file: &Path) -> io::Result<()> {
    match renameat_with(CWD, part, CWD, file, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(ErrorKind::AlreadyExists.into()),
        Err(_) => fs::hard_link(part, file).and_then(|()| fs::remove_file(part)),
    }
}
