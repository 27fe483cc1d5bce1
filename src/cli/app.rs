//! `keyfob app`: programs that may call the proxy.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::output::{self, Table};
use super::{Failure, Result, values};
use crate::broker::members::AppMembers;
use crate::broker::{AppError, AppFilter, AppRecord, AppWish, Broker, MadeApp};
use crate::domain::app::Rate;
use crate::domain::id::{AppId, GrantId};
use crate::domain::scope::ScopeSet;

/// What to do with apps.
#[derive(Debug, Subcommand)]
pub enum AppCommand {
    /// Make an app; its key is shown once.
    Add(AddApp),
    /// List the apps.
    List {
        /// Only of this user (name or id).
        #[arg(long)]
        user: Option<String>,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Cut an app off at once.
    Revoke {
        /// Id, or its name where only one app has it.
        app: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Give an app a new key; the old one stays valid for a while.
    Roll {
        /// Id, or its name where only one app has it.
        app: String,
        /// How long the old key stays valid.
        #[arg(long, default_value = "24h", value_parser = values::span)]
        overlap: Duration,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

/// What an app is to be.
#[derive(Args, Debug)]
pub struct AddApp {
    /// Its name.
    name: String,
    /// Whose it is (name or id).
    #[arg(long)]
    user: String,
    /// What it may do: account, tesla-accounts, vehicles, controls, mcp:use; may be repeated.
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_parser = values::scopes)]
    scopes: Vec<ScopeSet>,
    /// For how long it may call, like 90d; without it, until it is revoked.
    #[arg(long, value_name = "TIME", value_parser = values::span)]
    expires: Option<Duration>,
    /// Let it put its key in the URL as ?`api_key=`, for programs that can do nothing else.
    #[arg(long)]
    query_key: bool,
    /// Tie it to this one grant.
    #[arg(long, value_name = "ID")]
    grant: Option<GrantId>,
    /// Its own limit of calls, like 10/s or 600/m.
    #[arg(long, value_parser = values::rate)]
    rate: Option<Rate>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(broker: &Broker, command: AppCommand) -> Result<()> {
    match command {
        AppCommand::Add(add) => {
            let user = broker.find_user(&add.user).await?;
            let scopes = values::union(&add.scopes);
            let wish = AppWish {
                user: user.id,
                name: add.name,
                scopes,
                expires_in: add.expires,
                query_key: add.query_key,
                grant: add.grant,
                rate: add.rate,
            };
            let made = broker.make_app(wish).await?;
            show(broker, &made, user.name.as_str(), add.json)
        }
        AppCommand::List { user, json } => {
            let user = match user {
                Some(user) => Some(broker.find_user(&user).await?.id),
                None => None,
            };
            list(&all(broker, AppFilter { user, ..AppFilter::default() }).await?, json)
        }
        AppCommand::Revoke { app, json } => {
            let found = find(broker, &app).await?;
            broker.revoke_app(found.app.id, None).await?;
            broker.be_seen().await;
            if json {
                let revoked = broker.find_app(found.app.id, None).await?;
                output::json(&AppMembers::new(&revoked.app, &revoked.user_name))?;
            }
            output::note(&format!("{} is revoked; its keys no longer work.", found.app.name));
            Ok(())
        }
        AppCommand::Roll { app, overlap, json } => {
            let found = find(broker, &app).await?;
            let made = broker.roll_app(found.app.id, None, overlap).await?;
            if overlap < Duration::from_secs(5) {
                broker.be_seen().await;
            }
            show(broker, &made, &found.user_name, json)
        }
    }
}

fn show(broker: &Broker, made: &MadeApp, user_name: &str, json: bool) -> Result<()> {
    let MadeApp { app, key } = made;
    if json {
        return Ok(output::json(&AppMembers::new(app, user_name).with_key(key))?);
    }
    output::facts(&[
        ("app", app.name.to_string()),
        ("user", user_name.to_owned()),
        ("scopes", app.scopes.to_string()),
        ("expires", output::time(app.expires_at)),
        ("id", app.id.to_string()),
        ("key", key.expose().to_owned()),
        ("try", curl(&broker.settings.proxy_public_url, app.scopes, key.expose())),
    ])?;
    output::note("The key is shown this once. Keep it where the app reads it.");
    Ok(())
}

/// A line that makes a call which these scopes allow.
pub(super) fn curl(proxy: &str, scopes: ScopeSet, key: &str) -> String {
    use crate::domain::scope::Scope;
    let path = if scopes.contains(Scope::Vehicles) {
        "/api/vehicles"
    } else if scopes.contains(Scope::Account) {
        "/api/account"
    } else {
        "/api/software"
    };
    format!("curl -H 'Authorization: Bearer {key}' {proxy}{path}")
}

fn list(apps: &[AppRecord], json: bool) -> Result<()> {
    if json {
        let members: Vec<_> = apps.iter().map(|found| AppMembers::new(&found.app, &found.user_name)).collect();
        return Ok(output::json(&members)?);
    }
    let mut table = Table::new(&["NAME", "USER", "SCOPES", "LAST USED", "EXPIRES", "STATE", "ID"]);
    for AppRecord { app, user_name, .. } in apps {
        let state = if app.revoked_at.is_some() { "revoked" } else { "live" };
        table.row([
            app.name.to_string(),
            user_name.clone(),
            app.scopes.to_string(),
            output::time(app.last_used_at),
            output::time(app.expires_at),
            state.to_owned(),
            app.id.to_string(),
        ]);
    }
    Ok(table.print()?)
}

async fn all(broker: &Broker, filter: AppFilter) -> Result<Vec<AppRecord>> {
    let mut filter = AppFilter { limit: 500, ..filter };
    let mut apps: Vec<AppRecord> = Vec::new();
    loop {
        let page = broker.list_apps(&filter).await?;
        let last = page.len() < 500;
        apps.extend(page);
        if last {
            return Ok(apps);
        }
        filter.after = apps.last().map(|found| found.app.id);
    }
}

/// An app by id, or by its name where only one that is not revoked has it.
pub(super) async fn find(broker: &Broker, text: &str) -> Result<AppRecord> {
    if let Ok(id) = text.parse::<AppId>() {
        return Ok(broker.find_app(id, None).await?);
    }
    one(named(broker, text).await?.into_iter().filter(|found| found.app.revoked_at.is_none()).collect())
}

/// The same, or a revoked one where none that is live has the name: its trail is still of interest.
pub(super) async fn find_ever(broker: &Broker, text: &str) -> Result<AppRecord> {
    if let Ok(id) = text.parse::<AppId>() {
        return Ok(broker.find_app(id, None).await?);
    }
    let found = named(broker, text).await?;
    let (live, revoked): (Vec<_>, Vec<_>) = found.into_iter().partition(|found| found.app.revoked_at.is_none());
    one(if live.is_empty() { revoked } else { live })
}

async fn named(broker: &Broker, text: &str) -> Result<Vec<AppRecord>> {
    let filter = AppFilter { search: Some(text.to_owned()), ..AppFilter::default() };
    let mut named = all(broker, filter).await?;
    named.retain(|found| found.app.name.as_str() == text);
    Ok(named)
}

fn one(mut named: Vec<AppRecord>) -> Result<AppRecord> {
    match named.len() {
        1 => Ok(named.remove(0)),
        0 => Err(AppError::NotFound.into()),
        n => Err(Failure::refused(format!(
            "{n} apps have this name. Name the one by its id: `keyfob app list` shows it."
        ))),
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        if let AppError::Storage(cause) = &error {
            tracing::error!(error = %cause, "The database did not do what was asked");
        }
        Self::refused(error.to_string())
    }
}
