//! `keyfob admin-key`: keys for the management API.

use clap::Subcommand;

use super::output::{self, Table};
use super::{Failure, Result};
use crate::broker::Broker;
use crate::broker::members::AdminKeyMembers;
use crate::domain::id::AdminKeyId;

/// What to do with admin keys.
#[derive(Debug, Subcommand)]
pub enum AdminKeyCommand {
    /// Make a key for the management API; it is shown once.
    Add {
        /// What it is for.
        name: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// List the keys.
    List {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Make a key useless at once.
    Revoke {
        /// Its id, or its name where only one live key has it.
        key: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(broker: &Broker, command: AdminKeyCommand) -> Result<()> {
    match command {
        AdminKeyCommand::Add { name, json } => {
            let (made, key) = broker.make_admin_key(&name).await?;
            if json {
                return Ok(output::json(&AdminKeyMembers::new(&made).with_key(&key))?);
            }
            let facts =
                [("name", made.name.to_string()), ("id", made.id.to_string()), ("key", key.expose().to_owned())];
            output::facts(&facts)?;
            output::note("The key is shown this once. Whoever has it can do all that an administrator can.");
            Ok(())
        }
        AdminKeyCommand::List { json } => list(broker, json).await,
        AdminKeyCommand::Revoke { key, json } => {
            let id = find(broker, &key).await?;
            broker.revoke_admin_key(id).await?;
            if json {
                let keys = broker.list_admin_keys().await?;
                output::json(&keys.iter().find(|key| key.id == id).map(AdminKeyMembers::new))?;
            }
            output::note("The key is revoked.");
            Ok(())
        }
    }
}

async fn list(broker: &Broker, json: bool) -> Result<()> {
    let keys = broker.list_admin_keys().await?;
    if json {
        return Ok(output::json(&keys.iter().map(AdminKeyMembers::new).collect::<Vec<_>>())?);
    }
    let mut table = Table::new(&["NAME", "MADE", "LAST USED", "STATE", "ID"]);
    for key in &keys {
        let state = if key.revoked_at.is_some() { "revoked" } else { "live" };
        table.row([
            key.name.to_string(),
            key.created_at.to_string(),
            output::time(key.last_used_at),
            state.to_owned(),
            key.id.to_string(),
        ]);
    }
    Ok(table.print()?)
}

async fn find(broker: &Broker, text: &str) -> Result<AdminKeyId> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let keys = broker.list_admin_keys().await?;
    let mut named = keys.iter().filter(|key| key.name.as_str() == text && key.revoked_at.is_none());
    match (named.next(), named.next()) {
        (Some(key), None) => Ok(key.id),
        (None, _) => Err(Failure::refused("There is no such admin key, or it is revoked.")),
        (Some(_), Some(_)) => Err(Failure::refused("Several keys have this name. Name the one by its id.")),
    }
}
