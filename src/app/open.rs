//! Opens the data directory so that nothing is changed unless the key fits.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use super::StartError;
use crate::ambient::Entropy;
use crate::config::Settings;
use crate::store::{self, Store, inspect};
use crate::vault::{KeyFile, KeyFileError, KeyRing, Vault};

pub(super) async fn open(settings: &Settings, entropy: &Entropy) -> Result<(Store, Vault), StartError> {
    make_directory(&settings.data_dir)?;
    // One process at a time makes the key file and the schema; the lock goes with the file's closing.
    let _one_at_a_time = first_start_lock(&settings.data_dir)?;
    let database = &settings.database;
    let found = inspect(database).await.map_err(|error| unopened(database, &error))?;
    let canary = found.and_then(|found| found.canary);
    let file = KeyFile::new(&settings.master_keys_file, settings.credentials_directory.clone());
    let ring = match &canary {
        Some(_) => KeyRing::open(file),
        // A key file without a database is one that its operator put there: it is used, never replaced.
        None if file.exists() => KeyRing::open(file),
        None => match KeyRing::create_new(file.clone(), entropy) {
            // Another process made it in this very moment.
            Err(KeyFileError::Exists { .. }) => KeyRing::open(file),
            made => made,
        },
    };
    let ring = ring.map_err(|error| StartError::MasterKey(error.to_string()))?;
    let vault = Vault::new(ring, entropy.clone());
    if let Some(canary) = &canary {
        vault.check_canary(canary).map_err(|_| foreign(settings))?;
    }
    let store = Store::open(database).await.map_err(|error| unopened(database, &error))?;
    let kept = store.keep_canary(&vault.seal_canary()).await.map_err(|error| unopened(database, &error.into()))?;
    if vault.check_canary(&kept).is_err() {
        store.close().await;
        return Err(foreign(settings));
    }
    Ok((store, vault))
}

fn make_directory(path: &Path) -> Result<(), StartError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        StartError::Settings(format!(
            "KEYFOB_DATA_DIR: {} can't be made ({}); name a directory that this user can write",
            path.display(),
            error.kind()
        ))
    })
}

fn first_start_lock(directory: &Path) -> Result<std::fs::File, StartError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = directory.join("keyfob.lock");
    let fault = |error: std::io::Error| {
        StartError::Settings(format!(
            "KEYFOB_DATA_DIR: {} can't be locked ({}); name a directory on a local file system that this user can write",
            path.display(),
            error.kind()
        ))
    };
    let file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(fault)?;
    file.lock().map_err(fault)?;
    Ok(file)
}

fn unopened(path: &Path, error: &store::OpenError) -> StartError {
    use store::OpenError;
    let advice = match error {
        OpenError::Newer { .. } => "run the newer version of Keyfob, or put back a backup from before the update",
        OpenError::Damaged(_) => "it was left as it is; put a backup back in its place",
        OpenError::Unavailable(_) => "look at its owner, its mode and its disk",
    };
    StartError::Database(format!("{}: {error}; {advice}", path.display()))
}

fn foreign(settings: &Settings) -> StartError {
    StartError::MasterKey(format!(
        "the master keys in {} do not open the database {}; nothing was changed; put the key file that belongs to it back, \
         or name it with KEYFOB_MASTER_KEYS_FILE",
        settings.master_keys_file.display(),
        settings.database.display()
    ))
}
