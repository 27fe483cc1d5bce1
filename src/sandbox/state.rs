//! What the sandbox remembers, and the file in which it survives a restart.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::account::Profile;
use super::cars::Wishes;
use super::register::Registered;
use super::session::Sessions;
use super::tokens::Tokens;

/// What is known at a moment.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct State {
    pub tokens: Tokens,
    /// What commands did to the cars, by public id.
    #[serde(default)]
    pub cars: BTreeMap<String, Wishes>,
    /// What people changed about themselves, by account.
    #[serde(default)]
    pub profiles: BTreeMap<u32, Profile>,
    /// Clients that registered themselves, by their id.
    #[serde(default)]
    pub clients: BTreeMap<String, Registered>,
    #[serde(skip)]
    pub sessions: Sessions,
}

/// The state behind its lock, and its file.
#[derive(Clone)]
pub(super) struct Memory(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    file: Option<PathBuf>,
}

impl Memory {
    /// Takes up what the file holds; a file that is not there is an empty one.
    pub(super) fn open(file: Option<PathBuf>) -> io::Result<Self> {
        let state = match &file {
            None => State::default(),
            Some(path) => match fs::read(path) {
                Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| damaged(&error))?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
                Err(error) => return Err(error),
            },
        };
        Ok(Self(Arc::new(Inner { state: Mutex::new(state), file })))
    }

    /// To look at, or to change what no file keeps.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and keeps it before the change is answered.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        if let Some(path) = &self.0.file
            && let Err(error) = keep(path, &state)
        {
            tracing::warn!(%error, "The sandbox could not keep its state; after a restart its tokens will not work.");
        }
        result
    }
}

fn damaged(error: &serde_json::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it is not what a sandbox keeps: {error}"))
}

/// Writes the whole state beside the file and puts it in its place, so that a crash leaves the old or the new one.
fn keep(path: &Path, state: &State) -> io::Result<()> {
    let bytes = serde_json::to_vec(state)?;
    let beside = path.with_extension("new");
    let _ = fs::remove_file(&beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
