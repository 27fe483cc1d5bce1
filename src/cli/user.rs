//! `keyfob user`: accounts.

use base64::Engine as _;
use clap::Subcommand;
use serde::Serialize;
use zeroize::Zeroizing;

use super::input::first_line;
use super::output::{self, Table};
use super::{Failure, Result};
use crate::broker::{AccountError, Broker};
use crate::domain::secret::{Password, Secret};
use crate::domain::user::{Role, User};

/// What to do with accounts.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make an account; without --password-stdin a password is made and shown once.
    Add {
        /// What they sign in with.
        name: String,
        /// They see and end the grants and apps of everyone.
        #[arg(long)]
        admin: bool,
        /// Read the password from the first line of standard input.
        #[arg(long)]
        password_stdin: bool,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// List the accounts.
    List {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Remove an account with its grants and apps.
    Remove {
        /// Name or id.
        user: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Set a new password and end the account's sessions; without --password-stdin one is made and shown once.
    ResetPassword {
        /// Name or id.
        user: String,
        /// Read the password from the first line of standard input.
        #[arg(long)]
        password_stdin: bool,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

/// A user's members, with the password only where it was just made.
#[derive(Serialize)]
struct Made<'u> {
    #[serde(flatten)]
    user: &'u User,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'u str>,
}

pub(super) async fn run(broker: &Broker, command: UserCommand) -> Result<()> {
    match command {
        UserCommand::Add { name, admin, password_stdin, json } => {
            let password = NewPassword::of(broker, password_stdin)?;
            let role = if admin { Role::Admin } else { Role::Member };
            let user = broker.add_user(&name, role, Some(password.secret())).await?;
            show(&user, &password, json)
        }
        UserCommand::List { json } => list(broker, json).await,
        UserCommand::Remove { user, json } => {
            let user = broker.find_user(&user).await?;
            broker.remove_user(user.id).await?;
            broker.be_seen().await;
            if json {
                output::json(&user)?;
            }
            output::note(&format!("{} is removed, with their grants and apps.", user.name));
            Ok(())
        }
        UserCommand::ResetPassword { user, password_stdin, json } => {
            let user = broker.find_user(&user).await?;
            let password = NewPassword::of(broker, password_stdin)?;
            broker.reset_password(user.id, password.secret(), None).await?;
            show(&user, &password, json)
        }
    }
}

fn show(user: &User, password: &NewPassword, json: bool) -> Result<()> {
    if json {
        return Ok(output::json(&Made { user, password: password.made() })?);
    }
    let mut lines = vec![("user", user.name.to_string()), ("role", user.role.to_string()), ("id", user.id.to_string())];
    if let Some(made) = password.made() {
        lines.push(("password", made.to_owned()));
    }
    Ok(output::facts(&lines)?)
}

async fn list(broker: &Broker, json: bool) -> Result<()> {
    let users = all(broker).await?;
    if json {
        return Ok(output::json(&users)?);
    }
    let mut table = Table::new(&["NAME", "ROLE", "MADE", "ID"]);
    for user in &users {
        table.row([user.name.to_string(), user.role.to_string(), user.created_at.to_string(), user.id.to_string()]);
    }
    Ok(table.print()?)
}

/// Every account, in the order of their making.
pub(super) async fn all(broker: &Broker) -> Result<Vec<User>> {
    let mut users: Vec<User> = Vec::new();
    loop {
        let page = broker.list_users(users.last().map(|user| user.id), 500).await?;
        let last = page.len() < 500;
        users.extend(page);
        if last {
            return Ok(users);
        }
    }
}

/// A password that its user chose, or one that was made and will be shown once.
pub(super) enum NewPassword {
    Chosen(Secret<Password>),
    Made(Zeroizing<String>),
}

impl NewPassword {
    fn of(broker: &Broker, from_stdin: bool) -> Result<Self> {
        if from_stdin {
            Ok(Self::Chosen(Secret::new(first_line("password")?.as_bytes())))
        } else {
            Ok(Self::make(broker))
        }
    }

    /// 120 random bits.
    pub(super) fn make(broker: &Broker) -> Self {
        let bytes = Zeroizing::new(broker.entropy.bytes::<15>());
        Self::Made(Zeroizing::new(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes.as_slice())))
    }

    pub(super) fn secret(&self) -> Secret<Password> {
        match self {
            Self::Chosen(secret) => secret.clone(),
            Self::Made(text) => Secret::new(text.as_bytes()),
        }
    }

    pub(super) fn made(&self) -> Option<&str> {
        match self {
            Self::Chosen(_) => None,
            Self::Made(text) => Some(text),
        }
    }
}

impl From<AccountError> for Failure {
    fn from(error: AccountError) -> Self {
        if let AccountError::Storage(cause) = &error {
            tracing::error!(error = %cause, "The database did not do what was asked");
        }
        Self::refused(error.to_string())
    }
}
