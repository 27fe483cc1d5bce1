//! `keyfob grant`: what users granted at Teslascope.

use std::io::Write as _;

use clap::{Args, Subcommand};

use super::input::first_line;
use super::output::{self, Table};
use super::{Failure, Result, values};
use crate::broker::members::GrantMembers;
use crate::broker::{
    AuthorizationWish, Broker, GrantFilter, GrantSort, ListedGrant, PastedError, PastedWish, RefreshOutcome,
};
use crate::domain::app::KeyHash;
use crate::domain::grant::{Grant, GrantKind, GrantStatus};
use crate::domain::id::GrantId;
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::secret::Secret;
use crate::domain::user::User;
use crate::oauth::PastedCheck;

/// What to do with grants.
#[derive(Debug, Subcommand)]
pub enum GrantCommand {
    /// List who granted which scopes, and where each grant stands.
    List {
        /// Only of this user (name or id).
        #[arg(long)]
        user: Option<String>,
        /// Only those that hold this scope.
        #[arg(long, value_parser = values::scope())]
        scope: Option<Scope>,
        /// Only with this status.
        #[arg(long, value_parser = values::status())]
        status: Option<GrantStatus>,
        /// Print one JSON document.
        #[arg(long, conflicts_with = "csv")]
        json: bool,
        /// Print CSV, safe for spreadsheets.
        #[arg(long)]
        csv: bool,
    },
    /// Keep a personal access token or a legacy API key, read from the first line of standard input.
    ///
    /// It is checked at Teslascope at once. Example: `keyfob grant add-token --user ada --kind personal_access_token
    /// --scope vehicles < token.txt`
    AddToken(AddToken),
    /// Sign in at Teslascope with a browser on any machine, and paste the address that it ends at.
    ///
    /// Prints the address to open. Sign in there and authorize; the browser then shows a page that it can't load, whose
    /// address begins with this Keyfob's own. Paste that address here.
    Connect(Connect),
    /// Refresh a grant's tokens now.
    Refresh {
        /// The grant's id.
        id: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// End a grant: it is revoked at Teslascope where that is possible, and its tokens are wiped here.
    Disconnect {
        /// The grant's id.
        id: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

/// What to ask for.
#[derive(Args, Debug)]
pub struct Connect {
    /// Whose it will be (name or id).
    #[arg(long)]
    user: String,
    /// The scopes to ask for; may be repeated.
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_parser = values::scopes)]
    scopes: Vec<ScopeSet>,
    /// What to call it; made of its scopes where none is given.
    #[arg(long, default_value = "", hide_default_value = true)]
    label: String,
    /// Renew or widen this grant instead of making a new one.
    #[arg(long, value_name = "ID")]
    grant: Option<GrantId>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// What is pasted.
#[derive(Args, Debug)]
pub struct AddToken {
    /// Whose it will be (name or id).
    #[arg(long)]
    user: String,
    /// What it is.
    #[arg(long, value_parser = values::pasted_kind())]
    kind: GrantKind,
    /// The scopes that it was made with; may be repeated.
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_parser = values::scopes)]
    scopes: Vec<ScopeSet>,
    /// What to call it; made of its scopes where none is given.
    #[arg(long, default_value = "", hide_default_value = true)]
    label: String,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(broker: &Broker, command: GrantCommand) -> Result<()> {
    match command {
        GrantCommand::List { user, scope, status, json, csv } => {
            let user = match user {
                Some(user) => Some(broker.find_user(&user).await?.id),
                None => None,
            };
            let listed = list(broker, GrantFilter { user, scope, status, ..GrantFilter::default() }).await?;
            show(&listed, json, csv)
        }
        GrantCommand::AddToken(add) => add_token(broker, add).await,
        GrantCommand::Connect(wish) => connect(broker, wish).await,
        GrantCommand::Refresh { id, json } => refresh(broker, id_of(&id)?, json).await,
        GrantCommand::Disconnect { id, json } => {
            let id = id_of(&id)?;
            let Some(ended) = broker.disconnect(id, None).await? else {
                return Err(Failure::refused("There is no such grant, or it is disconnected already."));
            };
            broker.be_seen().await;
            if json {
                show_one(broker, id).await?;
            }
            output::note(&format!("{} is disconnected. {}", ended.grant.label, ended.at_provider.advice()));
            Ok(())
        }
    }
}

/// The authorization code grant without a browser of ours: this process is the browser that only it can answer for.
async fn connect(broker: &Broker, wish: Connect) -> Result<()> {
    let user = broker.find_user(&wish.user).await?;
    let browser = KeyHash::of(&broker.entropy.bytes::<32>());
    let begun = AuthorizationWish {
        user: user.id,
        browser,
        scopes: values::union(&wish.scopes),
        label: wish.label,
        grant: wish.grant,
        return_to: None,
    };
    let address = broker.begin_authorization(begun).await.map_err(|error| Failure::refused(error.to_string()))?;
    output::note("Open this address in a browser, sign in, authorize, and paste the address that you end at:");
    output::note(address.as_str());
    let answer = first_line("address")?;
    let query = answer.split_once('?').map_or("", |(_, query)| query.split('#').next().unwrap_or_default());
    let done = broker.complete_authorization(query, user.id, browser).await;
    let done = done.map_err(|error| Failure::refused(error.to_string()))?;
    show_made(&done.grant, &user, wish.json)?;
    if !done.withheld.is_empty() {
        output::note(&format!("Teslascope did not give {}.", done.withheld));
    }
    Ok(())
}

fn show_made(grant: &Grant, user: &User, json: bool) -> Result<()> {
    if json {
        return Ok(output::json(&GrantMembers::new(grant, user.name.as_str()))?);
    }
    Ok(output::facts(&[
        ("grant", grant.label.to_string()),
        ("user", user.name.to_string()),
        ("kind", grant.kind.to_string()),
        ("scopes", grant.scopes_granted.to_string()),
        ("expires", output::time(grant.expires_at)),
        ("id", grant.id.to_string()),
    ])?)
}

/// What is no id is the id of no grant.
fn id_of(text: &str) -> Result<GrantId> {
    text.parse().map_err(|_| Failure::refused("There is no such grant."))
}

async fn refresh(broker: &Broker, id: GrantId, json: bool) -> Result<()> {
    let outcome = broker.refresh_now(id, None).await?;
    let outcome = outcome.ok_or_else(|| Failure::refused("There is no such grant."))?;
    if json {
        show_one(broker, id).await?;
    }
    if matches!(outcome, RefreshOutcome::Refreshed | RefreshOutcome::Adopted) {
        output::note(&outcome.advice());
        return Ok(());
    }
    Err(Failure::refused(outcome.advice()))
}

async fn show_one(broker: &Broker, id: GrantId) -> Result<()> {
    let Some(grant) = broker.find_grant(id, None).await? else { return Ok(()) };
    let user = broker.find_user(&grant.user.to_string()).await?;
    Ok(output::json(&GrantMembers::new(&grant, user.name.as_str()))?)
}

async fn add_token(broker: &Broker, add: AddToken) -> Result<()> {
    let user = broker.find_user(&add.user).await?;
    let secret = first_line("token")?;
    let scopes = values::union(&add.scopes);
    let wish =
        PastedWish { user: user.id, kind: add.kind, scopes, label: add.label, secret: Secret::new(secret.as_bytes()) };
    let (grant, check) = broker.add_pasted_token(wish).await?;
    show_made(&grant, &user, add.json)?;
    output::note(match check {
        PastedCheck::Accepted => "Teslascope accepts it.",
        _ => "It was not checked: Teslascope gave no answer that tells. The first call will.",
    });
    Ok(())
}

async fn list(broker: &Broker, filter: GrantFilter) -> Result<Vec<ListedGrant>> {
    let mut filter = GrantFilter { sort: GrantSort::User, limit: 500, ..filter };
    let mut grants = Vec::new();
    loop {
        let page = broker.list_grants(&filter).await?;
        let last = page.len() < 500;
        grants.extend(page);
        if last {
            return Ok(grants);
        }
        filter.offset += filter.limit;
    }
}

fn show(listed: &[ListedGrant], json: bool, csv: bool) -> Result<()> {
    let members = || listed.iter().map(|listed| GrantMembers::new(&listed.grant, &listed.user_name));
    if json {
        return Ok(output::json(&members().collect::<Vec<_>>())?);
    }
    if csv {
        let lines: String =
            std::iter::once(GrantMembers::CSV_HEAD.to_owned()).chain(members().map(|m| m.csv())).collect();
        return Ok(std::io::stdout().write_all(lines.as_bytes())?);
    }
    let headings = &["USER", "LABEL", "KIND", "STATUS", "GRANTED", "USED", "APPS", "LAST USED", "EXPIRES", "ID"];
    let mut table = Table::new(headings);
    for ListedGrant { grant, user_name, apps } in listed {
        let status = match grant.reason {
            Some(reason) => format!("{} ({reason})", grant.status),
            None => grant.status.to_string(),
        };
        table.row([
            user_name.clone(),
            grant.label.to_string(),
            grant.kind.to_string(),
            status,
            grant.scopes_granted.to_string(),
            grant.scopes_used.to_string(),
            apps.to_string(),
            output::time(grant.last_used_at),
            output::time(grant.expires_at),
            grant.id.to_string(),
        ]);
    }
    Ok(table.print()?)
}

impl From<PastedError> for Failure {
    fn from(error: PastedError) -> Self {
        if let PastedError::Storage(cause) = &error {
            tracing::error!(error = %cause, "The database did not do what was asked");
        }
        Self::refused(error.to_string())
    }
}
