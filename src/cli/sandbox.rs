//! `keyfob sandbox`: the stand-in for Teslascope, alone.

use super::output;
use super::{Failure, Result, SettingFlags, runtime};
use crate::app::{bind, harden, make_directory, until_stopped};
use crate::config::{Settings, keys};
use crate::sandbox::{Sandbox, SandboxConfig};
use crate::telemetry::log;

pub(super) fn run(flags: &SettingFlags) -> Result<()> {
    let _ = harden();
    let mut settings = super::settings(flags, None)?;
    log::init(super::quiet(&settings), settings.log_format);
    runtime()?.block_on(async {
        let sandbox = start(&mut settings).await?;
        output::facts(&[("sandbox", sandbox.url()), ("mcp", sandbox.mcp_url()), ("client id", CLIENT_ID.to_owned())])?;
        output::note("This is not Teslascope: its accounts and cars are made up. Point a Keyfob at it with");
        output::note(&format!(
            "keyfob serve --teslascope-url {} --teslascope-mcp-url {} --oauth-client-id {CLIENT_ID}",
            sandbox.url(),
            sandbox.mcp_url()
        ));
        until_stopped().await?;
        sandbox.stop().await;
        Ok(())
    })
}

/// The OAuth application that the sandbox knows.
pub(super) const CLIENT_ID: &str = "keyfob-sandbox";

/// What the sandbox remembers, in the data directory.
pub(super) const STATE_FILE: &str = "sandbox.json";

/// Starts the sandbox on its listener; what it remembers is kept in the data directory.
pub(super) async fn start(settings: &mut Settings) -> Result<Sandbox> {
    make_directory(&settings.data_dir)?;
    let listener = bind("sandbox", &keys::SANDBOX_LISTEN, &mut settings.sandbox_listen).await?;
    let state_file = Some(settings.data_dir.join(STATE_FILE));
    let config = SandboxConfig { state_file, ..SandboxConfig::default() };
    Sandbox::serve_on(listener, config).map_err(|error| {
        Failure::refused(format!(
            "What the sandbox remembers in {} can't be read ({}). Move that file away to begin anew.",
            settings.data_dir.join(STATE_FILE).display(),
            error.kind()
        ))
    })
}
