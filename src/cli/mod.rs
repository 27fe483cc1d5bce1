//! The command line: what a person types becomes use cases, and what comes of them a table, JSON, and an exit code.

mod admin_key;
mod app;
mod args;
mod audit;
mod backup;
mod call;
mod demo;
mod doctor;
mod flags;
mod grant;
mod input;
mod keys;
mod man;
// Tables and JSON.
pub mod output;
mod ready;
mod sandbox;
mod user;
mod values;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::{CommandFactory as _, Parser as _};

pub use args::{Args, Command};

use flags::SettingFlags;

use crate::app::{App, StartError, harden};
use crate::broker::Broker;
use crate::config::{self, Faults, Given, Settings, Source};
use crate::store::StoreError;
use crate::telemetry::log;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Refused, or not found.
    Refused = 1,
    /// A setting or an argument is missing or wrong.
    Settings = 2,
    /// The database can't be opened, or belongs to a newer version.
    Database = 3,
    /// The master key does not open this database.
    MasterKey = 4,
    /// A listener's address can't be had.
    Listener = 5,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what was asked: the exit code, and what to tell the person.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    advice: String,
}

impl Failure {
    /// Refused, or not found.
    pub(crate) fn refused(advice: impl Into<String>) -> Self {
        Self { exit: Exit::Refused, advice: advice.into() }
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self { exit: Exit::Settings, advice: faults.to_string() }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let exit = match &error {
            StartError::Settings(_) => Exit::Settings,
            StartError::Database(_) => Exit::Database,
            StartError::MasterKey(_) => Exit::MasterKey,
            StartError::Listener { .. } => Exit::Listener,
            StartError::Runtime(_) => Exit::Refused,
        };
        Self { exit, advice: error.to_string() }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = %error, "The database did not do what was asked");
        Self::refused("Keyfob could not read or save this. Try again in a moment.")
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::refused(format!("The output can't be written ({}).", error.kind()))
    }
}

type Result<T> = std::result::Result<T, Failure>;

/// Does what the command line says.
#[must_use]
pub fn run(arguments: impl Iterator<Item = std::ffi::OsString>) -> Exit {
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => {
            // A broken pipe while printing help is nobody's fault.
            let _ = error.print();
            return if error.exit_code() == 0 { Exit::Done } else { Exit::Settings };
        }
    };
    match command(args) {
        Ok(()) => Exit::Done,
        Err(failure) => {
            for line in failure.advice.lines() {
                let _ = writeln!(std::io::stderr(), "keyfob: {}", output::printable(line));
            }
            failure.exit
        }
    }
}

fn command(args: Args) -> Result<()> {
    let flags = &args.settings;
    match args.command.unwrap_or(Command::Serve) {
        Command::Serve => serve(flags),
        Command::Demo { json } => demo::run(flags, json),
        Command::Sandbox => sandbox::run(flags),
        Command::User(command) => with_broker(flags, async |broker| user::run(broker, command).await),
        Command::Grant(command) => with_broker(flags, async |broker| grant::run(broker, command).await),
        Command::App(command) => with_broker(flags, async |broker| app::run(broker, command).await),
        Command::AdminKey(command) => with_broker(flags, async |broker| admin_key::run(broker, command).await),
        Command::Keys(keys::KeysCommand::New { json }) => keys::new(json),
        Command::Keys(command) => with_broker(flags, async |broker| keys::run(broker, command).await),
        Command::Backup(args) => with_broker(flags, async |broker| backup::run(broker, args).await),
        Command::Restore(args) => restore(flags, &args),
        Command::Audit(args) => with_broker(flags, async |broker| audit::run(broker, args).await),
        Command::Doctor { json } => doctor::run(flags, json),
        Command::Ready => ready::run(&settings(flags, None)?),
        Command::Call(args) => with_app(flags, async |app| call::run(app, args).await),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "keyfob", &mut script);
            Ok(std::io::stdout().write_all(&script)?)
        }
        Command::Man => Ok(std::io::stdout().write_all(&man::page()?)?),
    }
}

fn with_broker(flags: &SettingFlags, act: impl AsyncFnOnce(&Broker) -> Result<()>) -> Result<()> {
    with_app(flags, async |app| act(&app.broker).await)
}

/// Opens the data directory, does one thing with it, and closes it.
fn with_app(flags: &SettingFlags, act: impl AsyncFnOnce(&App) -> Result<()>) -> Result<()> {
    let files = harden();
    let settings = settings(flags, None)?;
    log::init(quiet(&settings), settings.log_format);
    runtime()?.block_on(async {
        let app = App::open(settings, files).await?;
        let done = act(&app).await;
        app.close().await;
        done
    })
}

fn serve(flags: &SettingFlags) -> Result<()> {
    let files = harden();
    let settings = settings(flags, None)?;
    log::init(&settings.log, settings.log_format);
    for notice in &settings.notices {
        tracing::warn!("{notice}");
    }
    runtime()?.block_on(async {
        let (app, listeners) = App::listen(settings, files).await?;
        Ok(app.serve(listeners, || {}).await?)
    })
}

/// Needs no open database: it puts another in its place.
fn restore(flags: &SettingFlags, args: &backup::RestoreArgs) -> Result<()> {
    let _ = harden();
    let settings = settings(flags, None)?;
    log::init("warn", settings.log_format);
    runtime()?.block_on(backup::run_restore(&settings, args))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| StartError::Runtime(error.to_string()).into())
}

/// A command says what it has to say itself; the log is for what went wrong, unless somebody wants more.
fn quiet(settings: &Settings) -> &str {
    if settings.source(&config::keys::LOG) == Source::Default { "warn" } else { &settings.log }
}

/// The settings; `data_dir` is the data directory when nothing sets it, where that is not the usual.
fn settings(flags: &SettingFlags, data_dir: Option<PathBuf>) -> Result<Settings> {
    let given = Given {
        flags: flags.0.clone(),
        environment: std::env::vars_os().collect(),
        terminal: std::io::stderr().is_terminal(),
        data_dir,
    };
    Ok(Settings::load(&given)?)
}
