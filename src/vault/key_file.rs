//! The file that holds the master keys: who may read it, how it is made, how it is replaced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use zeroize::Zeroizing;

use crate::ambient::Entropy;

/// A key file is a few lines.
const MAX_BYTES: u64 = 64 * 1024;

/// Where Docker and Kubernetes mount secrets.
const RUN_SECRETS: &str = "/run/secrets";

/// What is wrong with a key file, and what to do. Never holds anything of its content.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant is said by its sentence")]
pub enum KeyFileError {
    #[error(
        "the master key file {path} does not exist: put it back from its backup, or name it with KEYFOB_MASTER_KEYS_FILE"
    )]
    Missing { path: PathBuf },
    #[error("the master key file {path} exists already and is not replaced")]
    Exists { path: PathBuf },
    #[error("the master key file {path} is a symbolic link: name the file itself")]
    Symlink { path: PathBuf },
    #[error("the master key file {path} is not a plain file")]
    NotAFile { path: PathBuf },
    #[error("the master key file {path} can be used by others (mode {mode:04o}): run `chmod 600` on it")]
    Loose { path: PathBuf, mode: u32 },
    #[error(
        "the directory of the master key file {path} can be written by others (mode {mode:04o}): run `chmod go-w` on it"
    )]
    LooseDirectory { path: PathBuf, mode: u32 },
    #[error("the master key file {path} is longer than 64 KiB, so it is no key file")]
    TooLong { path: PathBuf },
    #[error("the master key file {path} holds no key: put it back from its backup")]
    Empty { path: PathBuf },
    #[error("the master key file {path} is malformed: line {line} {what}")]
    Malformed { path: PathBuf, line: usize, what: &'static str },
    #[error("the master key file {path} is being changed by another process: try again")]
    Busy { path: PathBuf },
    #[error(
        "the master key file {path} can't be written: make a key with `keyfob keys new` and put its line first by hand"
    )]
    ReadOnly { path: PathBuf },
    #[error("the key {id} seals new data and can't be dropped: put another key first, then try again")]
    Sealing { id: super::KeyId },
    #[error("the master key file {path} can't be read or written: look at its owner and its disk")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Names a key file, and knows whether it was handed over by a secret store of the system.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
    /// Directories whose files others may read and nobody may write.
    provided: Vec<PathBuf>,
}

/// What tells one content of the file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Fingerprint {
    fn of(meta: &fs::Metadata) -> Self {
        Self { inode: meta.ino(), size: meta.size(), changed: (meta.ctime(), meta.ctime_nsec()) }
    }
}

impl KeyFile {
    /// Names a key file. `credentials` is systemd's `$CREDENTIALS_DIRECTORY`, when there is one: there and under
    /// `/run/secrets` a file may be readable by others, and may be reached through a symbolic link.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, credentials: Option<PathBuf>) -> Self {
        let provided = std::iter::once(PathBuf::from(RUN_SECRETS)).chain(credentials);
        Self { path: path.into(), provided: provided.filter_map(|dir| dir.canonicalize().ok()).collect() }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is anything at the path, even something that can't be used.
    #[must_use]
    pub fn exists(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok()
    }

    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        fs::metadata(&self.path).ok().map(|meta| Fingerprint::of(&meta))
    }

    pub(super) fn read(&self) -> Result<(Zeroizing<String>, Fingerprint), KeyFileError> {
        let (file, meta) = self.open()?;
        if meta.len() > MAX_BYTES {
            return Err(KeyFileError::TooLong { path: self.path.clone() });
        }
        let mut text = Zeroizing::new(String::with_capacity(usize::try_from(meta.len()).unwrap_or(0) + 1));
        match file.take(MAX_BYTES).read_to_string(&mut text) {
            Ok(_) => Ok((text, Fingerprint::of(&meta))),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(KeyFileError::Malformed {
                path: self.path.clone(),
                line: 1,
                what: "begins something that is no text",
            }),
            Err(source) => Err(self.io(source)),
        }
    }

    /// Opens it without following a link, without waiting for a FIFO's writer, and looks at who may use it.
    fn open(&self) -> Result<(File, fs::Metadata), KeyFileError> {
        let link = fs::symlink_metadata(&self.path).map_err(|error| self.io(error))?.is_symlink();
        let real = self.path.canonicalize().map_err(|error| self.io(error))?;
        let provided = self.provided.iter().any(|dir| real.starts_with(dir));
        if link && !provided {
            return Err(KeyFileError::Symlink { path: self.path.clone() });
        }
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(&real)
            .map_err(|error| self.io(error))?;
        let meta = file.metadata().map_err(|error| self.io(error))?;
        if !meta.is_file() {
            return Err(KeyFileError::NotAFile { path: self.path.clone() });
        }
        let mode = meta.mode() & 0o7777;
        let refused = if provided { 0o022 } else { 0o077 };
        if mode & refused != 0 {
            return Err(KeyFileError::Loose { path: self.path.clone(), mode });
        }
        if !provided && let Some(dir) = real.parent() {
            let mode = fs::metadata(dir).map_err(|error| self.io(error))?.mode() & 0o7777;
            // In a sticky directory only the owner can replace the file.
            if mode & 0o022 != 0 && mode & 0o1000 == 0 {
                return Err(KeyFileError::LooseDirectory { path: self.path.clone(), mode });
            }
        }
        Ok((file, meta))
    }

    /// Makes the file: all of it or nothing, owner-only, never over another.
    pub(super) fn create(&self, content: &[u8], entropy: &Entropy) -> Result<(), KeyFileError> {
        if self.exists() {
            return Err(KeyFileError::Exists { path: self.path.clone() });
        }
        let dir = self.directory();
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|error| self.io(error))?;
        let beside = self.write_beside(content, 0o600, entropy)?;
        // A link fails where a file is, and shows the whole content at once to whoever starts at the same time.
        let linked = fs::hard_link(&beside, &self.path).map_err(|error| self.io(error));
        let removed = fs::remove_file(&beside).map_err(|error| self.io(error));
        linked.and(removed)?;
        self.sync_directory()
    }

    /// Replaces the content by what `change` makes of it, under a lock, all of it or nothing; owner and mode stay.
    pub(super) fn replace(
        &self,
        entropy: &Entropy,
        change: impl FnOnce(&str) -> Result<Zeroizing<String>, KeyFileError>,
    ) -> Result<(), KeyFileError> {
        let real = self.path.canonicalize().map_err(|error| self.io(error))?;
        if self.provided.iter().any(|dir| real.starts_with(dir)) {
            return Err(KeyFileError::ReadOnly { path: self.path.clone() });
        }
        let lock = File::open(self.directory()).map_err(|error| self.io(error))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| KeyFileError::Busy { path: self.path.clone() })?;
        let (text, _) = self.read()?;
        let changed = change(&text)?;
        let meta = fs::metadata(&self.path).map_err(|error| self.io(error))?;
        let beside = self.write_beside(changed.as_bytes(), meta.mode() & 0o700, entropy)?;
        let replaced = std::os::unix::fs::chown(&beside, Some(meta.uid()), Some(meta.gid()))
            .and_then(|()| fs::rename(&beside, &self.path))
            .map_err(|error| self.io(error));
        if replaced.is_err() {
            // The key that was about to be added seals nothing yet, so nothing is lost with it.
            let _ = fs::remove_file(&beside);
        }
        replaced.and_then(|()| self.sync_directory())
    }

    fn write_beside(&self, content: &[u8], mode: u32, entropy: &Entropy) -> Result<PathBuf, KeyFileError> {
        let name = format!(".master.keys.{:016x}", u64::from_be_bytes(entropy.bytes()));
        let beside = self.directory().join(name);
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)
            .and_then(|mut file| {
                file.write_all(content)?;
                file.set_permissions(fs::Permissions::from_mode(mode))?;
                file.sync_all()
            })
            .map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    KeyFileError::ReadOnly { path: self.path.clone() }
                }
                _ => self.io(error),
            });
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written.map(|()| beside)
    }

    fn directory(&self) -> PathBuf {
        match self.path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    fn sync_directory(&self) -> Result<(), KeyFileError> {
        File::open(self.directory()).and_then(|dir| dir.sync_all()).map_err(|error| self.io(error))
    }

    fn io(&self, source: io::Error) -> KeyFileError {
        let path = self.path.clone();
        match source.kind() {
            io::ErrorKind::NotFound => KeyFileError::Missing { path },
            io::ErrorKind::AlreadyExists => KeyFileError::Exists { path },
            _ => KeyFileError::Io { path, source },
        }
    }
}
