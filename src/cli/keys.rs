//! `keyfob keys`: the master keys that everything kept is sealed under.

use std::io::{IsTerminal as _, Write as _};

use clap::Subcommand;

use super::output::{self, Table};
use super::{Failure, Result};
use crate::ambient::Entropy;
use crate::app::StartError;
use crate::broker::{Broker, KeysError, MasterKeyUse, Retirement};
use crate::domain::id::GrantId;
use crate::vault::{KeyFileError, KeyRing};

/// What to do with the master keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List the master keys, and how much needs each.
    List {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Print a new key as a line for the key file, to be put first by hand where Keyfob can't write the file.
    New {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Make a new master key and seal everything under it, while the service runs.
    ///
    /// It can be stopped at any point and run again; it goes on where it was. Where a key was put first by hand, or an
    /// earlier rotation did not end, no key is made: what is left is sealed under the first one.
    Rotate {
        /// Make no key: seal what is left under the first one and drop the others from the key file.
        #[arg(long)]
        retire: bool,
        /// Print the keys afterwards, as `keys list --json` does.
        #[arg(long)]
        json: bool,
    },
    /// Open every sealed value, and say what does not open.
    Verify {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

/// Prints a new key. It needs no database and no key file.
pub(super) fn new(json: bool) -> Result<()> {
    let (id, line) = KeyRing::new_line(&Entropy::system());
    if json {
        let line = line.expose_str().unwrap_or_default().trim_end();
        output::json(&serde_json::json!({ "id": id.to_string(), "line": line }))?;
    } else {
        std::io::stdout().write_all(line.expose())?;
    }
    output::note(&format!(
        "This is the new key {id}. Put the line first in the key file, keep the others below it, then run `keyfob keys rotate`."
    ));
    Ok(())
}

pub(super) async fn run(broker: &Broker, command: KeysCommand) -> Result<()> {
    match command {
        KeysCommand::List { json } => list(broker, json).await,
        KeysCommand::New { json } => new(json),
        KeysCommand::Rotate { retire, json } => {
            if retire {
                self::retire(broker).await?;
            } else {
                rotate(broker).await?;
            }
            if json { list(broker, true).await } else { Ok(()) }
        }
        KeysCommand::Verify { json } => verify(broker, json).await,
    }
}

async fn list(broker: &Broker, json: bool) -> Result<()> {
    let progress = broker.key_progress().await?;
    if json {
        return Ok(output::json(&progress.keys)?);
    }
    let mut table = Table::new(&["KEY", "USE", "GRANTS", "OTHERS"]);
    for key in &progress.keys {
        let meaning = match key {
            MasterKeyUse { seals: true, .. } => "seals what is new",
            MasterKeyUse { in_file: true, .. } => "opens only",
            MasterKeyUse { .. } => "missing from the key file",
        };
        table.row([key.id.to_string(), meaning.to_owned(), key.data_keys.to_string(), key.others.to_string()]);
    }
    table.print()?;
    if progress.left > 0 {
        output::note(&format!(
            "{} of {} values are still sealed under other keys than the first. Run `keyfob keys rotate` to go on.",
            progress.left, progress.all
        ));
    }
    Ok(())
}

async fn rotate(broker: &Broker) -> Result<()> {
    let done = broker.rotate_keys(tell()).await?;
    if !done.unopened.is_empty() {
        return Err(unopened(&done.unopened));
    }
    let what = if done.made { "was made" } else { "was there already" };
    output::note(&format!(
        "The key {} {what}, and everything is sealed under it now ({} values anew). \
         `keyfob keys rotate --retire` drops the old keys; until then keep a copy of the key file.",
        done.first, done.resealed
    ));
    Ok(())
}

async fn retire(broker: &Broker) -> Result<()> {
    match broker.retire_keys(tell()).await? {
        Retirement::Retired { dropped, resealed } => {
            let words: Vec<_> = dropped.iter().map(ToString::to_string).collect();
            output::note(&format!(
                "Nothing needs the old keys any more ({resealed} values were still sealed anew): {} dropped from the key file. \
                 Keep them with the backups that were made under them.",
                words.join(", ")
            ));
            Ok(())
        }
        Retirement::NothingToDrop => {
            output::note("There is one key only, so there is nothing to drop.");
            Ok(())
        }
        Retirement::StillNeeded { unopened: grants, .. } if !grants.is_empty() => Err(unopened(&grants)),
        Retirement::StillNeeded { needed, .. } => {
            let words: Vec<_> =
                needed.iter().map(|key| format!("{} by {} values", key.id, key.data_keys + key.others)).collect();
            Err(Failure::refused(format!(
                "Old keys are still needed, so none was dropped: {}. Run this again in a moment; \
                 if it stays so, `keyfob keys verify` says what does not open.",
                words.join(", ")
            )))
        }
    }
}

async fn verify(broker: &Broker, json: bool) -> Result<()> {
    let found = broker.verify_keys().await?;
    if json {
        output::json(&found)?;
    } else {
        output::facts(&[
            ("canary", if found.canary { "opens" } else { "does not open" }.to_owned()),
            ("data keys", found.data_keys.to_string()),
            ("access tokens", found.access_tokens.to_string()),
            ("refresh tokens", found.refresh_tokens.to_string()),
            ("verifiers", found.verifiers.to_string()),
        ])?;
    }
    if found.ok {
        output::note("Everything opens.");
        return Ok(());
    }
    let grants: Vec<_> = found.unopened.iter().copied().collect();
    if grants.is_empty() {
        return Err(Failure::refused(
            "Something does not open: put the key file that belongs to this database back, then run this again.",
        ));
    }
    Err(unopened(&grants))
}

fn unopened(grants: &[GrantId]) -> Failure {
    let words: Vec<_> = grants.iter().map(ToString::to_string).collect();
    Failure::refused(format!(
        "These grants do not open, so no key was dropped: {}. Put the key that sealed them back into the key file, \
         or renew them, or end them with `keyfob grant disconnect`.",
        words.join(", ")
    ))
}

/// Says how much is left, now and then, where somebody watches.
fn tell() -> impl FnMut(u64) {
    let watched = std::io::stderr().is_terminal();
    let mut said = u64::MAX;
    move |left| {
        if watched && left > 0 && said.abs_diff(left) >= 1_000 {
            said = left;
            output::note(&format!("{left} left"));
        }
    }
}

impl From<KeysError> for Failure {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Store(error) => error.into(),
            KeysError::File(
                error @ (KeyFileError::ReadOnly { .. } | KeyFileError::Busy { .. } | KeyFileError::Sealing { .. }),
            ) => Self::refused(error.to_string()),
            KeysError::File(error) => StartError::MasterKey(error.to_string()).into(),
        }
    }
}
