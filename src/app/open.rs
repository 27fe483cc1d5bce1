//! Opens the data directory so that nothing is changed unless the key fits.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::StartError;
use super::in_use::InUse;
use crate::ambient::Entropy;
use crate::config::Settings;
use crate::domain::secret::{Canary, Sealed};
use crate::store::{self, OpenError, Store, inspect};
use crate::vault::{KeyFile, KeyFileError, KeyRing, Vault};

/// The database and the vault, and the sign that this process uses them.
pub(super) struct Kept {
    pub(super) store: Store,
    pub(super) vault: Vault,
    pub(super) in_use: InUse,
}

/// Opens the database that is there, or makes one.
///
/// # Errors
/// [`StartError`]; then no file was changed or made, but for a key file and a lock file where there is no database yet.
pub(super) async fn open(settings: &Settings, entropy: &Entropy) -> Result<Kept, StartError> {
    make_directory(&settings.data_dir)?;
    let database = &settings.database;
    loop {
        // Looked at before anything is locked or made: with the wrong key not even a lock file may appear.
        if let Some(canary) = canary_of(database).await? {
            let vault = Vault::new(ring(settings)?, entropy.clone());
            check(&vault, &canary, settings)?;
            let looked_at = identity(database);
            let in_use = InUse::shared(database).await?;
            if identity(database) != looked_at {
                // Another was put in its place meanwhile.
                continue;
            }
            let store = Store::open(database).await.map_err(|error| unopened(database, &error))?;
            return Ok(Kept { store, vault, in_use });
        }
        // A key file without a database is one that its operator put there: it is used, never replaced.
        let key_file = key_file(settings);
        if key_file.exists() {
            ring(settings)?;
        }
        let Some(alone) = InUse::alone(database)? else {
            InUse::moment().await;
            continue;
        };
        if canary_of(database).await?.is_none() {
            make(settings, key_file, entropy).await?;
        }
        drop(alone);
    }
}

/// Makes the key file where there is none, and a database under another name first: it gets its own when it is whole, so
/// that a first start that was killed leaves none that looks damaged.
async fn make(settings: &Settings, key_file: KeyFile, entropy: &Entropy) -> Result<(), StartError> {
    let database = &settings.database;
    let ring = if key_file.exists() {
        ring(settings)?
    } else {
        match KeyRing::create_new(key_file, entropy) {
            // One with another database made it in this very moment.
            Err(KeyFileError::Exists { .. }) => ring(settings)?,
            made => made.map_err(|error| StartError::MasterKey(error.to_string()))?,
        }
    };
    let vault = Vault::new(ring, entropy.clone());
    if std::fs::metadata(beside(database, "-wal")).is_ok_and(|meta| meta.len() > 0) {
        // It would be taken for the new database's own.
        let cause = OpenError::Damaged("the file is missing, but its log is there".to_owned());
        return Err(unopened(database, &cause));
    }
    let fresh = beside(database, ".new");
    for suffix in ["", "-wal", "-shm"] {
        // Left by a first start that was killed; nobody has ever used it.
        let _ = std::fs::remove_file(beside(&fresh, suffix));
    }
    let made = async {
        let store = Store::open(&fresh).await?;
        store.keep_canary(&vault.seal_canary()).await?;
        store.close().await;
        let named = std::fs::rename(&fresh, database).and_then(|()| sync_directory(database));
        named.map_err(|error| OpenError::Unavailable(error.to_string()))
    };
    made.await.map_err(|error| unopened(database, &error))
}

async fn canary_of(database: &Path) -> Result<Option<Sealed<Canary>>, StartError> {
    let Some(found) = inspect(database).await.map_err(|error| unopened(database, &error))? else { return Ok(None) };
    match found.canary {
        Some(canary) => Ok(Some(canary)),
        None => Err(unopened(database, &OpenError::Damaged("it is not a database that Keyfob has made".to_owned()))),
    }
}

/// What tells a database file from another that was put in its place.
fn identity(database: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(database).ok().map(|meta| (meta.dev(), meta.ino()))
}

pub(super) fn key_file(settings: &Settings) -> KeyFile {
    KeyFile::new(&settings.master_keys_file, settings.credentials_directory.clone())
}

pub(super) fn ring(settings: &Settings) -> Result<KeyRing, StartError> {
    KeyRing::open(key_file(settings)).map_err(|error| StartError::MasterKey(error.to_string()))
}

fn check(vault: &Vault, canary: &Sealed<Canary>, settings: &Settings) -> Result<(), StartError> {
    vault.check_canary(canary).map_err(|_| foreign(settings, &settings.database))
}

/// Makes the data directory, for its owner only, where it is not there yet.
///
/// # Errors
/// [`StartError::Settings`]
pub fn make_directory(path: &Path) -> Result<(), StartError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        StartError::Settings(format!(
            "KEYFOB_DATA_DIR: {} can't be made ({}); name a directory that this user can write",
            path.display(),
            error.kind()
        ))
    })
}

/// Makes sure that the names in a file's directory are on disk.
pub(super) fn sync_directory(file: &Path) -> std::io::Result<()> {
    let directory = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(directory)?.sync_all()
}

/// The path of a file beside the database.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn unopened(path: &Path, error: &store::OpenError) -> StartError {
    let advice = match error {
        OpenError::Newer { .. } => "run the newer version of Keyfob, or put back a backup from before the update",
        OpenError::Damaged(_) => "it was left as it is; put a backup in its place with `keyfob restore`",
        OpenError::Unavailable(_) => "look at its owner, its mode and its disk",
    };
    StartError::Database(format!("{}: {error}; {advice}", path.display()))
}

pub(super) fn foreign(settings: &Settings, database: &Path) -> StartError {
    StartError::MasterKey(format!(
        "the master keys in {} do not open the database {}; nothing was changed; put the key file that belongs to it back, \
         or name it with KEYFOB_MASTER_KEYS_FILE",
        settings.master_keys_file.display(),
        database.display()
    ))
}
