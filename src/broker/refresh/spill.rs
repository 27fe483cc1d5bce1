//! A file beside the database for tokens that the database can't take: its space is set aside beforehand, and what is in
//! it is sealed as it would be in the database.
//!
//! Each process has one and holds a lock on it while it lives, so that others can tell whether the owner of a lease
//! still runs. A file without a living owner is taken in by whoever comes next.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::domain::id::GrantId;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{Sealed, SecretKind};
use crate::domain::time::Timestamp;
use crate::store::{KeptTokens, ProcessId};

/// Room for the tokens of every refresh that can be in flight.
const SPACE: usize = 1024 * 1024;

/// Tokens on their way into the database.
#[derive(Clone, Debug)]
pub(in crate::broker) struct Spilled {
    pub(in crate::broker) grant: GrantId,
    pub(in crate::broker) spent: i64,
    pub(in crate::broker) tokens: KeptTokens,
}

/// This process's spill file, and the sight of others'.
pub(in crate::broker) struct Spill {
    database: PathBuf,
    me: ProcessId,
    own: Mutex<Option<Own>>,
}

struct Own {
    file: File,
    end: u64,
    waiting: HashSet<GrantId>,
}

/// A file whose process is gone, locked while it is taken in.
pub(in crate::broker) struct Orphan {
    path: PathBuf,
    file: File,
}

impl Spill {
    pub(super) fn new(database: &Path, me: ProcessId) -> Self {
        Self { database: database.to_owned(), me, own: Mutex::new(None) }
    }

    /// Makes and locks this process's file, once.
    pub(super) fn prepare(&self) -> io::Result<()> {
        let mut own = self.lock();
        if own.is_none() {
            let path = self.path_of(self.me);
            // Locked before it has its name, so that nobody takes it for one whose process is gone.
            let unnamed = self.directory().join(format!(".spill-{}", hex(self.me)));
            let made = make(&unnamed).and_then(|file| fs::rename(&unnamed, &path).map(|()| file));
            if made.is_err() {
                let _ = fs::remove_file(&unnamed);
            }
            *own = Some(Own { file: made?, end: 0, waiting: HashSet::new() });
        }
        Ok(())
    }

    /// Whether the process that goes by this name is gone.
    pub(super) fn is_gone(&self, process: ProcessId) -> bool {
        if process == self.me {
            return false;
        }
        match File::open(self.path_of(process)) {
            Ok(file) => flock(&file, FlockOperation::NonBlockingLockShared).is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// This grant's tokens wait for the database from now on, whether or not the file takes them.
    pub(super) fn wait_for(&self, grant: GrantId) {
        if let Some(own) = self.lock().as_mut() {
            own.waiting.insert(grant);
        }
    }

    /// Puts sealed tokens on disk. Gives when they are there.
    pub(super) fn put(&self, spilled: &Spilled) -> io::Result<()> {
        let line = Line::of(spilled).to_bytes()?;
        let mut own = self.lock();
        let own = own.as_mut().ok_or(io::ErrorKind::NotFound)?;
        own.file.seek(SeekFrom::Start(own.end))?;
        own.file.write_all(&line)?;
        own.file.sync_data()?;
        own.end += line.len() as u64;
        Ok(())
    }

    /// The database has them now. True when nothing waits any more; then the file is empty again.
    pub(super) fn done(&self, grant: GrantId) -> bool {
        let mut own = self.lock();
        let Some(own) = own.as_mut() else { return true };
        own.waiting.remove(&grant);
        if own.waiting.is_empty() && own.end > 0 {
            let wiped = usize::try_from(own.end).unwrap_or(SPACE);
            let zeroes = own.file.seek(SeekFrom::Start(0)).and_then(|_| own.file.write_all(&vec![0; wiped]));
            match zeroes.and_then(|()| own.file.sync_data()) {
                Ok(()) => own.end = 0,
                Err(cause) => {
                    tracing::warn!(error = %cause, "the spill file could not be emptied; it is read again and does no harm");
                }
            }
        }
        own.waiting.is_empty()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().as_ref().is_none_or(|own| own.waiting.is_empty())
    }

    /// Files whose processes are gone.
    pub(super) fn orphans(&self) -> io::Result<Vec<Orphan>> {
        let prefix = self.prefix();
        let mut found = Vec::new();
        for entry in fs::read_dir(self.directory())? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(owner) = name.to_str().and_then(|name| name.strip_prefix(&prefix)) else { continue };
            if owner == hex(self.me) || !entry.file_type()?.is_file() {
                continue;
            }
            let Ok(file) = OpenOptions::new().read(true).open(entry.path()) else { continue };
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() && entry.path().exists() {
                found.push(Orphan { path: entry.path(), file });
            }
        }
        Ok(found)
    }

    fn path_of(&self, process: ProcessId) -> PathBuf {
        self.directory().join(format!("{}{}", self.prefix(), hex(process)))
    }

    fn prefix(&self) -> String {
        let name = self.database.file_name().and_then(|name| name.to_str()).unwrap_or("keyfob.db");
        format!("{name}.spill-")
    }

    fn directory(&self) -> &Path {
        self.database.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Own>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        let empty = self.lock().as_ref().is_some_and(|own| own.waiting.is_empty());
        if empty {
            let _ = fs::remove_file(self.path_of(self.me));
        }
    }
}

impl Orphan {
    /// What is in it. What can't be read is said once in the log and left out.
    pub(in crate::broker) fn read(&mut self) -> io::Result<Vec<Spilled>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        io::Read::by_ref(&mut self.file).take(SPACE as u64).read_to_end(&mut bytes)?;
        let lines = bytes.split(|b| *b == b'\n').take_while(|line| line.first().is_some_and(|b| *b != 0));
        Ok(lines
            .filter_map(|line| {
                let read = serde_json::from_slice::<Line>(line).ok().and_then(Line::read);
                if read.is_none() {
                    tracing::error!(
                        "a line of a spill file was cut short; the grant that it was for will say so itself"
                    );
                }
                read
            })
            .collect())
    }

    /// Removes it: everything in it is in the database.
    pub(in crate::broker) fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

fn make(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    // Written, not only reserved: on a file system that copies on write a reservation holds nothing.
    file.write_all(&vec![0; SPACE])?;
    file.sync_all()?;
    Ok(file)
}

fn hex(process: ProcessId) -> String {
    format!("{:032x}", u128::from_be_bytes(process))
}

#[derive(Serialize, Deserialize)]
struct Line {
    grant: String,
    spent: i64,
    access_token: String,
    refresh_token: Option<String>,
    scopes: u8,
    scopes_source: String,
    expires_at: Option<i64>,
    due_at: Option<i64>,
    provider_account: Option<String>,
}

impl Line {
    fn of(spilled: &Spilled) -> Self {
        let tokens = &spilled.tokens;
        Self {
            grant: spilled.grant.to_string(),
            spent: spilled.spent,
            access_token: STANDARD_NO_PAD.encode(tokens.access_token.envelope()),
            refresh_token: tokens.refresh_token.as_ref().map(|token| STANDARD_NO_PAD.encode(token.envelope())),
            scopes: tokens.scopes_granted.bits(),
            scopes_source: tokens.scopes_source.as_str().to_owned(),
            expires_at: tokens.expires_at.map(Timestamp::millis),
            due_at: tokens.due_at.map(Timestamp::millis),
            provider_account: tokens.provider_account.clone(),
        }
    }

    fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn read(self) -> Option<Spilled> {
        Some(Spilled {
            grant: self.grant.parse().ok()?,
            spent: self.spent,
            tokens: KeptTokens {
                access_token: sealed(&self.access_token)?,
                refresh_token: match self.refresh_token {
                    Some(token) => Some(sealed(&token)?),
                    None => None,
                },
                scopes_granted: ScopeSet::from_bits(self.scopes),
                scopes_source: self.scopes_source.parse().ok()?,
                expires_at: self.expires_at.map(Timestamp::from_millis),
                due_at: self.due_at.map(Timestamp::from_millis),
                provider_account: self.provider_account,
            },
        })
    }
}

fn sealed<K: SecretKind>(text: &str) -> Option<Sealed<K>> {
    STANDARD_NO_PAD.decode(text).ok().map(Sealed::from_envelope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::grant::ScopesSource;
    use crate::domain::id::Id;

    fn spilled(id: u8) -> Spilled {
        Spilled {
            grant: Id::from_bytes([id; 16]),
            spent: 3,
            tokens: KeptTokens {
                access_token: Sealed::from_envelope(vec![1; 50]),
                refresh_token: Some(Sealed::from_envelope(vec![2; 50])),
                scopes_granted: ScopeSet::ALL,
                scopes_source: ScopesSource::Claim,
                expires_at: Some(Timestamp::from_millis(5)),
                due_at: None,
                provider_account: Some("1".to_owned()),
            },
        }
    }

    fn spill(dir: &tempfile::TempDir, me: u8) -> Spill {
        Spill::new(&dir.path().join("keyfob.db"), [me; 16])
    }

    #[test]
    fn what_was_spilled_is_found_by_the_next_process_once_its_own_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (spill(&dir, 1), spill(&dir, 2));
        first.prepare().unwrap();
        first.put(&spilled(7)).unwrap();
        first.put(&spilled(8)).unwrap();
        assert!(second.orphans().unwrap().is_empty() && !second.is_gone([1; 16]));
        // What a kill does: the lock goes, the file stays.
        *first.lock() = None;
        assert!(second.is_gone([1; 16]));
        let mut orphans = second.orphans().unwrap();
        let found = orphans[0].read().unwrap();
        assert_eq!(found.iter().map(|found| found.grant).collect::<Vec<_>>(), [spilled(7).grant, spilled(8).grant]);
        assert_eq!(found[0].tokens.access_token.envelope(), vec![1; 50]);
        assert_eq!(format!("{:?}", found[0]), format!("{:?}", spilled(7)));
        orphans.remove(0).remove().unwrap();
        assert!(second.orphans().unwrap().is_empty());
    }

    #[test]
    fn the_space_is_set_aside_and_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let own = spill(&dir, 1);
        own.prepare().unwrap();
        let path = own.path_of([1; 16]);
        let length = || fs::metadata(&path).unwrap().len();
        assert_eq!(length(), SPACE as u64);
        own.wait_for(spilled(7).grant);
        own.wait_for(spilled(8).grant);
        assert!(!own.is_empty(), "also while the file has not taken them");
        own.put(&spilled(7)).unwrap();
        own.put(&spilled(8)).unwrap();
        assert_eq!(length(), SPACE as u64);
        assert!(!own.done(spilled(7).grant));
        assert!(own.done(spilled(8).grant));
        assert!(fs::read(&path).unwrap().iter().all(|b| *b == 0));
        drop(own);
        assert!(!path.exists(), "nothing waits, so nothing is left behind");
    }

    #[test]
    fn a_line_that_was_cut_short_does_not_hide_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let own = spill(&dir, 1);
        own.prepare().unwrap();
        own.put(&spilled(7)).unwrap();
        let path = own.path_of([1; 16]);
        let mut bytes = fs::read(&path).unwrap();
        let end = bytes.iter().position(|b| *b == b'\n').unwrap();
        bytes[end + 1..end + 6].copy_from_slice(b"{\"gra");
        *own.lock() = None;
        fs::write(&path, bytes).unwrap();
        let mut orphan = spill(&dir, 2).orphans().unwrap().remove(0);
        assert_eq!(orphan.read().unwrap().len(), 1);
    }
}
