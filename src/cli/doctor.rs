//! `keyfob doctor`: looks at everything that can be wrong, and says what to do.

use std::net::SocketAddr;

use serde::Serialize;

use super::output::{self, Table};
use super::{Failure, Result, SettingFlags, ready, runtime};
use crate::app::{Check, Files, bind, examine_kept, examine_provider, examine_settings, harden};
use crate::config::Settings;
use crate::config::keys::{self, Key};
use crate::telemetry::log;

#[derive(Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Check>,
}

pub(super) fn run(flags: &SettingFlags, json: bool) -> Result<()> {
    let files = harden();
    let settings = super::settings(flags, None)?;
    log::init(super::quiet(&settings), settings.log_format);
    let checks = runtime()?.block_on(examine(settings, files));
    let report = Report { ok: checks.iter().all(|check| check.ok), checks };
    if json {
        output::json(&report)?;
    } else {
        let mut table = Table::new(&["", "CHECK", "FOUND"]);
        for check in &report.checks {
            let mark = if check.ok { "ok" } else { "FAULT" };
            table.row([mark.to_owned(), check.name.to_owned(), check.detail.clone()]);
        }
        table.print()?;
    }
    let faults = report.checks.iter().filter(|check| !check.ok).count();
    match faults {
        0 => Ok(()),
        1 => Err(Failure::refused("One thing needs mending.")),
        n => Err(Failure::refused(format!("{n} things need mending."))),
    }
}

async fn examine(mut settings: Settings, files: Files) -> Vec<Check> {
    let mut checks = vec![examine_settings(&settings)];
    checks.extend(examine_kept(&mut settings, files).await);
    checks.extend(listeners(&settings).await);
    checks.extend(examine_provider(&settings).await);
    checks
}

/// Each address is free, or taken by a Keyfob that answers.
async fn listeners(settings: &Settings) -> Vec<Check> {
    let runs = ready::answers(settings.ops_listen);
    let mut checks = Vec::new();
    for (name, listener, key, address) in [
        ("web_listener", "web", &keys::WEB_LISTEN, settings.web_listen),
        ("proxy_listener", "proxy", &keys::PROXY_LISTEN, settings.proxy_listen),
        ("ops_listener", "ops", &keys::OPS_LISTEN, settings.ops_listen),
    ] {
        checks.push(listener_check(name, listener, key, address, runs).await);
    }
    checks
}

async fn listener_check(
    name: &'static str,
    listener: &'static str,
    key: &Key,
    address: SocketAddr,
    runs: bool,
) -> Check {
    let mut free = address;
    match bind(listener, key, &mut free).await {
        Ok(_) if runs => {
            Check::bad(name, format!("a Keyfob runs, but not on {address}; give it and this command the same settings"))
        }
        Ok(_) => Check::good(name, format!("{address} is free")),
        Err(_) if runs => Check::good(name, format!("{address} is taken, and a Keyfob runs")),
        Err(error) => Check::bad(name, error.to_string()),
    }
}
