//! The command line as types.

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use super::admin_key::AdminKeyCommand;
use super::app::AppCommand;
use super::audit::AuditArgs;
use super::backup::{BackupArgs, RestoreArgs};
use super::call::CallArgs;
use super::flags::SettingFlags;
use super::grant::GrantCommand;
use super::keys::KeysCommand;
use super::user::UserCommand;

const AFTER_HELP: &str = "\
Every setting can be a flag (--data-dir), an environment variable (KEYFOB_DATA_DIR) or a line in keyfob.toml
(data_dir = \"…\"); flags win over the environment, which wins over the file. `keyfob --help` lists them all.";

const AFTER_LONG_HELP: &str = "\
Every setting can be a flag (--data-dir), an environment variable (KEYFOB_DATA_DIR) or a line in keyfob.toml
(data_dir = \"…\"); flags win over the environment, which wins over the file. An empty variable counts as not set.
Only the client secret has no flag: set KEYFOB_OAUTH_CLIENT_SECRET, or better KEYFOB_OAUTH_CLIENT_SECRET_FILE.
Lists are separated by commas. Times are written 30s, 15m, 24h, 90d; sizes 512KiB, 64MiB; rates 10/s, 600/m.

Exit codes: 0 done, 1 refused or not found, 2 a setting or an argument is wrong, 3 the database can't be opened,
4 the master key does not open this database, 5 a listener's address can't be had.";

/// OAuth 2.0 authorization helper and token broker for Teslascope.
///
/// Sign in once in a browser, tick the scopes you are willing to give, and let every other program call Teslascope
/// through the local proxy with a key of its own. They never see a Teslascope token.
#[derive(Debug, Parser)]
#[command(name = "keyfob", version, after_help = AFTER_HELP, after_long_help = AFTER_LONG_HELP)]
#[command(disable_help_subcommand = true, max_term_width = 120)]
pub struct Args {
    /// What to do; without one, serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings given as flags.
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve pages, the proxy and the operators' listener (the default).
    Serve,
    /// Try everything on this machine: the same with a stand-in for Teslascope, a user, a grant and an app.
    ///
    /// Its data directory is ./keyfob-demo unless another is set; a second run takes it up again with a new password and a
    /// new key.
    Demo {
        /// Print what it is reached by as one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Serve the stand-in for Teslascope alone.
    Sandbox,
    /// Manage accounts.
    #[command(subcommand)]
    User(UserCommand),
    /// Manage what users granted at Teslascope.
    #[command(subcommand)]
    Grant(GrantCommand),
    /// Manage the programs that may call the proxy.
    #[command(subcommand)]
    App(AppCommand),
    /// Manage keys for the management API.
    #[command(subcommand)]
    AdminKey(AdminKeyCommand),
    /// Manage the master keys that everything kept is sealed under.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Write all that is kept into one new file, while the service runs.
    Backup(BackupArgs),
    /// Put a backup in the database's place; the service must not run.
    Restore(RestoreArgs),
    /// Show what was called and changed, newest first.
    Audit(AuditArgs),
    /// Look at everything that can be wrong, and say what to do (exit code 1 when something is).
    Doctor {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Ask the running service whether it is ready (exit code 1 when not), for health checks.
    Ready,
    /// Make one call to Teslascope, as an app or as a user; it is checked and recorded like every call.
    Call(CallArgs),
    /// Write the completions for a shell to standard output.
    ///
    /// For bash: `keyfob completions bash > ~/.local/share/bash-completion/completions/keyfob`
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Write the manual page to standard output.
    ///
    /// Read it with: `keyfob man | man -l -`
    Man,
}
