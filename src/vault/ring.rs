//! The master keys: read from their file, never printed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::envelope::{KeyId, SealingKey};
use super::key_file::{Fingerprint, KeyFile, KeyFileError};
use crate::ambient::Entropy;
use crate::domain::secret::{MasterKey, Secret};

/// Several 256-bit keys, each with an id. The first seals, all open.
#[derive(Debug)]
pub struct KeyRing {
    keys: Vec<SealingKey>,
    file: KeyFile,
    read_as: Fingerprint,
}

impl KeyRing {
    /// Reads the key file. It must exist: a missing key for an existing database must never be replaced by a new one.
    ///
    /// # Errors
    /// The file is missing, is not a plain file of its owner only, or is malformed. The error names the line and holds
    /// nothing of it.
    pub fn open(file: KeyFile) -> Result<Self, KeyFileError> {
        let (text, read_as) = file.read()?;
        let keys = parse(&text).map_err(|(line, what)| KeyFileError::Malformed {
            path: file.path().to_owned(),
            line,
            what,
        })?;
        if keys.is_empty() {
            return Err(KeyFileError::Empty { path: file.path().to_owned() });
        }
        Ok(Self { keys, file, read_as })
    }

    /// Makes the key file with one new key, mode 0600, and reads it. Only for a data directory without a database.
    ///
    /// # Errors
    /// The file exists already, or can't be written.
    pub fn create_new(file: KeyFile, entropy: &Entropy) -> Result<Self, KeyFileError> {
        let mut text = Zeroizing::new(String::with_capacity(512));
        text.push_str(HEADER);
        text.push_str(new_line(entropy).1.expose_str().unwrap_or_default());
        file.create(text.as_bytes(), entropy)?;
        Self::open(file)
    }

    /// A new key as the line that an operator puts first in a key file that Keyfob can't write.
    #[must_use]
    pub fn new_line(entropy: &Entropy) -> (KeyId, Secret<MasterKey>) {
        new_line(entropy)
    }

    pub(super) fn first(&self) -> &SealingKey {
        // `open` has seen that there is one.
        &self.keys[0]
    }

    pub(super) fn find(&self, id: KeyId) -> Option<&SealingKey> {
        self.keys.iter().find(|key| key.id() == id)
    }

    pub(super) fn ids(&self) -> Vec<KeyId> {
        self.keys.iter().map(SealingKey::id).collect()
    }

    pub(super) const fn file(&self) -> &KeyFile {
        &self.file
    }

    /// Whether the file is another than the one that was read. One that can't be looked at counts as unchanged.
    pub(super) fn is_stale(&self) -> bool {
        self.file.fingerprint().is_some_and(|now| now != self.read_as)
    }
}

const HEADER: &str = "\
# Keyfob's master keys. Whoever has this file and the database has every token in it:
# keep it owner-only, and back it up apart from the database. Without it the database can't be opened.
# One key a line: its id and 256 bits in base64url. The first seals, the others open what they sealed.
";

/// `id key\n` of a new key.
pub(super) fn new_line(entropy: &Entropy) -> (KeyId, Secret<MasterKey>) {
    let id = KeyId::from_bytes(entropy.bytes());
    let bytes = Zeroizing::new(entropy.bytes::<32>());
    let mut line = String::with_capacity(64);
    line.push_str(&id.to_string());
    line.push(' ');
    URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut line);
    line.push('\n');
    (id, Secret::new(line))
}

/// The id that a line gives a key, when it is such a line.
pub(super) fn id_of_line(line: &str) -> Option<KeyId> {
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn parse(text: &str) -> Result<Vec<SealingKey>, (usize, &'static str)> {
    let mut keys: Vec<SealingKey> = Vec::new();
    let mut seen: Vec<Zeroizing<[u8; 32]>> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let mut words = line.split_ascii_whitespace();
        let Some(id) = words.next().filter(|word| !word.starts_with('#')) else { continue };
        let id: KeyId = id.parse().map_err(|_| (number, "does not begin with a key id of eight hexadecimal digits"))?;
        let key = words.next().ok_or((number, "has an id but no key"))?;
        if words.next().is_some_and(|word| !word.starts_with('#')) {
            return Err((number, "has more than an id and a key"));
        }
        let bytes = decode(key).ok_or((number, "holds a key that is not 256 bits in base64url (43 characters)"))?;
        if keys.iter().any(|key| key.id() == id) {
            return Err((number, "repeats the id of a key above it"));
        }
        if seen.contains(&bytes) {
            return Err((number, "repeats a key above it under another id"));
        }
        keys.push(SealingKey::new(id, &bytes));
        seen.push(bytes);
    }
    Ok(keys)
}

fn decode(key: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    let written = (key.len() == 43).then(|| URL_SAFE_NO_PAD.decode_slice(key, bytes.as_mut_slice()).ok())??;
    (written == 32).then_some(bytes)
}
