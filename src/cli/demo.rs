//! `keyfob demo`: everything on one machine, with the sandbox in Teslascope's place.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::sandbox::CLIENT_ID;
use super::user::NewPassword;
use super::{Failure, Result, SettingFlags, output, runtime};
use crate::app::{App, DEMO, harden};
use crate::broker::{AppFilter, AppWish, AuthorizationWish, Broker, GrantFilter, MadeApp};
use crate::domain::app::KeyHash;
use crate::domain::grant::{GrantKind, GrantStatus};
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::user::{Role, User};
use crate::sandbox::{Consent, Sandbox};
use crate::telemetry::log;

/// The demo's user and app.
const NAME: &str = "demo";
/// How long the key of the run before stays valid.
const OVERLAP: Duration = Duration::from_hours(24);
/// Who agrees at the sandbox.
const ACCOUNT: u32 = 1;

/// What the demo shows, once.
#[derive(Serialize)]
struct Shown {
    web: String,
    proxy: String,
    sandbox: String,
    username: &'static str,
    password: String,
    app_key: String,
    curl: String,
}

pub(super) fn run(flags: &SettingFlags, json: bool) -> Result<()> {
    let files = harden();
    let mut settings = super::settings(flags, Some(PathBuf::from("./keyfob-demo")))?;
    log::init(super::quiet(&settings), settings.log_format);
    runtime()?.block_on(async {
        // A sandbox that remembers nothing knows no token of an earlier run.
        let forgetful = !settings.data_dir.join(super::sandbox::STATE_FILE).exists();
        let sandbox = super::sandbox::start(&mut settings).await?;
        settings.replace_provider(&sandbox.url(), &sandbox.mcp_url(), CLIENT_ID);
        for notice in &settings.notices {
            tracing::warn!("{notice}");
        }
        let (app, listeners) = App::listen(settings, files).await?;
        // Whatever repository the demo is tried in, git leaves its secrets alone.
        let _ = std::fs::write(app.settings.data_dir.join(".gitignore"), "*\n");
        let shown = match prepare(&app, &sandbox, forgetful).await {
            Ok(shown) => shown,
            Err(failure) => {
                app.close().await;
                return Err(failure);
            }
        };
        // Whoever reads what is printed finds in the audit trail what was done for it.
        app.broker.trail().catch_up(Duration::from_secs(1)).await;
        let served = app.serve(listeners, || shown.print(json)).await;
        sandbox.stop().await;
        Ok(served?)
    })
}

impl Shown {
    fn print(&self, json: bool) {
        let printed = if json {
            let line = serde_json::to_string(self).unwrap_or_default();
            writeln!(std::io::stdout(), "{line}")
        } else {
            output::note(
                "The sandbox stands in for Teslascope: its people and cars are made up. Ctrl-C ends the demo.",
            );
            output::facts(&[
                ("open", self.web.clone()),
                ("user", self.username.to_owned()),
                ("password", self.password.clone()),
                ("app key", self.app_key.clone()),
                ("try", self.curl.clone()),
            ])
        };
        if let Err(error) = printed {
            tracing::warn!(error = %error, "What the demo is reached by could not be printed");
        }
    }
}

/// Makes, or takes up again, the demo's user, grant and app.
async fn prepare(app: &App, sandbox: &Sandbox, forgetful: bool) -> Result<Shown> {
    let (broker, settings) = (&app.broker, &app.settings);
    claim(app, sandbox).await?;
    let password = NewPassword::make(broker);
    let user = user(broker, &password).await?;
    grant(broker, sandbox, &user, forgetful).await?;
    let MadeApp { app, key } = self::app(broker, &user).await?;
    let proxy = settings.proxy_public_url.to_string();
    Ok(Shown {
        web: settings.public_url.to_string(),
        curl: super::app::curl(&proxy, app.scopes, key.expose()),
        proxy,
        sandbox: sandbox.url(),
        username: NAME,
        password: password.made().unwrap_or_default().to_owned(),
        app_key: key.expose().to_owned(),
    })
}

/// Marks the database as a demo's: only one that is empty, or was a demo's before, is given a demo user.
async fn claim(app: &App, sandbox: &Sandbox) -> Result<()> {
    let store = &app.broker.store;
    let demo = store.find_fact(DEMO).await?.is_some();
    if !demo && !app.broker.list_users(None, 1).await?.is_empty() {
        return Err(Failure::refused(format!(
            "{} holds a Keyfob that is no demo. Name another directory with --data-dir.",
            app.settings.data_dir.display()
        )));
    }
    let provider = format!("{} {} {CLIENT_ID}", sandbox.url(), sandbox.mcp_url());
    Ok(store.keep_fact(DEMO, provider.as_bytes()).await?)
}

async fn user(broker: &Broker, password: &NewPassword) -> Result<User> {
    let Some(user) = broker.list_users(None, 500).await?.into_iter().find(|user| user.name.as_str() == NAME) else {
        return Ok(broker.add_user(NAME, Role::Admin, Some(password.secret())).await?);
    };
    broker.reset_password(user.id, password.secret(), None).await?;
    if user.role != Role::Admin {
        broker.set_role(user.id, Role::Admin).await?;
    }
    if user.disabled_at.is_some() {
        broker.set_disabled(user.id, false).await?;
    }
    Ok(user)
}

/// What the demo's grant and app hold: to look, and to let an AI client look; nothing that moves a car.
fn scopes() -> ScopeSet {
    ScopeSet::of(Scope::Vehicles).with(Scope::McpUse)
}

/// A grant as a person would give it, by an authorization code; kept from run to run while it can be used.
async fn grant(broker: &Broker, sandbox: &Sandbox, user: &User, forgetful: bool) -> Result<()> {
    let filter = GrantFilter { user: Some(user.id), limit: 500, ..GrantFilter::default() };
    let mut grants = broker.list_grants(&filter).await?.into_iter().map(|listed| listed.grant);
    let old = grants.find(|grant| grant.kind == GrantKind::OAuth && scopes().is_subset_of(grant.scopes_requested));
    if old.as_ref().is_some_and(|grant| grant.status.is_usable() && !forgetful) {
        return Ok(());
    }
    let browser = KeyHash::of(&broker.entropy.bytes::<32>());
    let wish = AuthorizationWish {
        user: user.id,
        browser,
        scopes: scopes(),
        label: "Sandbox".to_owned(),
        grant: old.filter(|grant| grant.status != GrantStatus::Disconnected).map(|grant| grant.id),
        return_to: None,
    };
    let refused = |words: String| Failure::refused(format!("The demo's grant could not be made. {words}"));
    let address = broker.begin_authorization(wish).await.map_err(|error| refused(error.to_string()))?;
    let answer = sandbox
        .decide(address.as_str(), ACCOUNT, Consent::Authorize(scopes()))
        .map_err(|_| refused("The sandbox did not take the request.".to_owned()))?;
    let query = answer.split_once('?').map_or("", |(_, query)| query);
    broker.complete_authorization(query, user.id, browser).await.map_err(|error| refused(error.to_string()))?;
    Ok(())
}

async fn app(broker: &Broker, user: &User) -> Result<MadeApp> {
    let filter = AppFilter { user: Some(user.id), limit: 500, ..AppFilter::default() };
    let apps = broker.list_apps(&filter).await?.into_iter().map(|found| found.app);
    match apps.into_iter().find(|app| app.name.as_str() == NAME && app.revoked_at.is_none()) {
        Some(app) => Ok(broker.roll_app(app.id, None, OVERLAP).await?),
        None => Ok(broker
            .make_app(AppWish {
                user: user.id,
                name: NAME.to_owned(),
                scopes: scopes(),
                expires_in: None,
                query_key: false,
                grant: None,
                rate: None,
            })
            .await?),
    }
}
