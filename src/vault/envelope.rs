//! One ciphertext: version, key id, nonce, ciphertext and tag, bound to its place.

use std::fmt;
use std::str::FromStr;

use aes_gcm::aead::{AeadInOut, KeyInit, Nonce, Tag};
use aes_gcm::{Aes256Gcm, Key};
use sha2::{Digest, Sha256};

use crate::ambient::Entropy;
use crate::domain::secret::{Sealed, Secret, SecretKind};

/// The only version of the envelope there is: `version (1) | key id (4) | nonce (12) | ciphertext | tag (16)`.
const VERSION: u8 = 1;
const ID_AT: usize = 1;
const NONCE_AT: usize = 5;
const BODY_AT: usize = 17;
const TAG_LEN: usize = 16;

/// Where a ciphertext belongs. It opens nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The table.
    pub table: &'static str,
    /// The row: its id's bytes, or whatever names it.
    pub row: &'a [u8],
    /// The column.
    pub column: &'static str,
    /// The version of the row's secret, so that an older ciphertext cannot be put back; 0 where there is only one.
    pub version: i64,
}

/// An envelope does not open. Which of the reasons holds is for the log; none of them is tried a second way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Too short to be an envelope.
    #[error("the sealed value is cut short")]
    Truncated,
    /// Sealed by another version of Keyfob.
    #[error("the sealed value has version {0}, which this Keyfob does not know")]
    UnknownVersion(u8),
    /// Sealed under a key that the ring does not hold.
    #[error("the sealed value needs the master key {0}, which the key file does not hold")]
    UnknownKey(KeyId),
    /// The key is there, but the value was changed, moved from its place, or sealed under another key of that id.
    #[error("the sealed value does not open at this place: it was changed or moved, or the key is another one")]
    Refused,
}

/// Names a key: four bytes, eight hexadecimal digits. In an envelope they are the bytes 2 to 5.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 4]);

impl KeyId {
    /// The key that an envelope was sealed under.
    ///
    /// # Errors
    /// It is no envelope of a known version.
    pub fn of<K: SecretKind>(sealed: &Sealed<K>) -> Result<Self, OpenError> {
        let envelope = sealed.envelope();
        match envelope.first() {
            None => Err(OpenError::Truncated),
            Some(&VERSION) if envelope.len() < BODY_AT + TAG_LEN => Err(OpenError::Truncated),
            Some(&VERSION) => Ok(Self([envelope[1], envelope[2], envelope[3], envelope[4]])),
            Some(&version) => Err(OpenError::UnknownVersion(version)),
        }
    }

    /// From its four bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// Its four bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not the id of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a key id of eight hexadecimal digits")]
pub struct BadKeyId;

impl FromStr for KeyId {
    type Err = BadKeyId;

    fn from_str(text: &str) -> Result<Self, BadKeyId> {
        if text.len() != 8 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(BadKeyId);
        }
        u32::from_str_radix(text, 16).map(|id| Self(id.to_be_bytes())).map_err(|_| BadKeyId)
    }
}

impl serde::Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A 256-bit key, expanded: its bytes are kept nowhere else, and the expansion is wiped when dropped.
pub(super) struct SealingKey {
    id: KeyId,
    cipher: Box<Aes256Gcm>,
}

impl SealingKey {
    pub(super) fn new(id: KeyId, bytes: &[u8; 32]) -> Self {
        let key: &Key<Aes256Gcm> = bytes.into();
        Self { id, cipher: Box::new(Aes256Gcm::new(key)) }
    }

    /// A key whose id is drawn from itself, so that a wrong key is told apart from a damaged value.
    pub(super) fn with_own_id(bytes: &[u8; 32]) -> Self {
        let digest = Sha256::new().chain_update(b"keyfob data key id").chain_update(bytes).finalize();
        Self::new(KeyId([digest[0], digest[1], digest[2], digest[3]]), bytes)
    }

    pub(super) const fn id(&self) -> KeyId {
        self.id
    }

    /// 96 random bits a seal: good for 2^32 seals a key (NIST SP 800-38D 8.3). A data key seals two tokens a refresh, a
    /// master key a few values a grant.
    #[expect(clippy::expect_used, reason = "AES-GCM fails above 64 GiB only")]
    pub(super) fn seal<K: SecretKind>(&self, place: &Place<'_>, secret: &Secret<K>, entropy: &Entropy) -> Sealed<K> {
        let nonce = entropy.bytes::<12>();
        let mut envelope = Vec::with_capacity(BODY_AT + secret.len() + TAG_LEN);
        envelope.push(VERSION);
        envelope.extend_from_slice(&self.id.0);
        envelope.extend_from_slice(&nonce);
        envelope.extend_from_slice(secret.expose());
        let aad = associated_data::<K>(self.id, place);
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce.into(), &aad, (&mut envelope[BODY_AT..]).into())
            .expect("a secret is shorter than 64 GiB");
        envelope.extend_from_slice(&tag);
        Sealed::from_envelope(envelope)
    }

    pub(super) fn open<K: SecretKind>(&self, place: &Place<'_>, sealed: &Sealed<K>) -> Result<Secret<K>, OpenError> {
        let id = KeyId::of(sealed)?;
        if id != self.id {
            return Err(OpenError::UnknownKey(id));
        }
        let (head, tag) = sealed.envelope().split_at(sealed.envelope().len() - TAG_LEN);
        let nonce = Nonce::<Aes256Gcm>::try_from(&head[NONCE_AT..BODY_AT]).map_err(|_| OpenError::Truncated)?;
        let tag = Tag::<Aes256Gcm>::try_from(tag).map_err(|_| OpenError::Truncated)?;
        let aad = associated_data::<K>(id, place);
        let mut plain = head[BODY_AT..].to_vec();
        // The tag is checked before a byte is decrypted, so a refusal leaves only ciphertext behind.
        self.cipher
            .decrypt_inout_detached(&nonce, &aad, plain.as_mut_slice().into(), &tag)
            .map_err(|_| OpenError::Refused)?;
        Ok(Secret::new(plain))
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[key {} redacted]", self.id)
    }
}

/// Each part with its length before it, so that no two places have the same bytes.
fn associated_data<K: SecretKind>(id: KeyId, place: &Place<'_>) -> Vec<u8> {
    let parts: [&[u8]; 4] = [K::NAME.as_bytes(), place.table.as_bytes(), place.row, place.column.as_bytes()];
    let mut out = Vec::with_capacity(64 + parts.iter().map(|part| part.len()).sum::<usize>());
    out.extend_from_slice(b"keyfob");
    out.push(VERSION);
    out.extend_from_slice(&id.0);
    for part in parts {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part);
    }
    out.extend_from_slice(&place.version.to_be_bytes());
    out
}

const _: () = assert!(ID_AT + 4 == NONCE_AT && NONCE_AT + 12 == BODY_AT);
