//! `keyfob backup` and `keyfob restore`.

use std::path::PathBuf;

use clap::Args;

use super::output;
use super::{Failure, Result};
use crate::app::{RestoreError, restore};
use crate::broker::{BackupError, Broker};
use crate::config::Settings;

/// Where a backup goes.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The file to make; one that is there is not replaced.
    file: PathBuf,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Where a backup is.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup.
    file: PathBuf,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(broker: &Broker, args: BackupArgs) -> Result<()> {
    let made = broker.backup(&args.file).await?;
    if args.json {
        output::json(&made)?;
    }
    let keys: Vec<_> = made.keys.iter().map(ToString::to_string).collect();
    output::note(&format!(
        "{} holds all that is kept ({} bytes) and was opened to see that it is whole. It holds no key: keep the master key file \
         apart from it. To restore it, the master keys {} are needed.",
        made.file.display(),
        made.bytes,
        keys.join(", ")
    ));
    Ok(())
}

pub(super) async fn run_restore(settings: &Settings, args: &RestoreArgs) -> Result<()> {
    let file = &args.file;
    let done = restore(settings, file).await?;
    if args.json {
        output::json(&serde_json::json!({ "database": done.database, "replaced": done.replaced }))?;
    }
    output::note(&format!("{} now holds what {} held.", done.database.display(), file.display()));
    if let Some(replaced) = done.replaced {
        output::note(&format!("What stood there before is in {}.", replaced.display()));
    }
    output::note(
        "Everybody signs in again. A grant whose tokens were refreshed after the backup was made asks for its user once. \
         `keyfob keys verify` opens everything and says what does not open.",
    );
    Ok(())
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Store(error) => error.into(),
            other => Self::refused(other.to_string()),
        }
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Start(error) => error.into(),
            other => Self::refused(other.to_string()),
        }
    }
}
