//! Encryption at rest: AES-256-GCM, and what a ciphertext is bound to.
//!
//! A few master keys live in a file ([`KeyRing`]); the first of them seals. Each grant has a data key of its own, sealed
//! under a master key, and its tokens are sealed under that. Every seal names its place (table, row, column, version) in
//! the associated data, so that a ciphertext that was moved does not open. `aes-gcm` stays in here.

mod envelope;
mod key_file;
mod ring;
mod rotation;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use zeroize::Zeroizing;

use crate::ambient::Entropy;
use crate::domain::id::GrantId;
use crate::domain::secret::{Canary, DataKey, Sealed, Secret, SecretKind};

use envelope::SealingKey;
pub use envelope::{KeyId, OpenError, Place};
pub use key_file::{KeyFile, KeyFileError};
pub use ring::KeyRing;

/// What the canary says, once opened.
const CANARY: &[u8] = b"keyfob opens this database";

/// Where the canary is kept.
const CANARY_PLACE: Place<'static> = Place { table: "meta", row: b"canary", column: "value", version: 0 };

/// Seals and opens what is kept. A clone is the same vault.
#[derive(Clone, Debug)]
pub struct Vault {
    ring: Arc<ArcSwap<KeyRing>>,
    entropy: Entropy,
}

impl Vault {
    /// A vault over a ring of master keys.
    #[must_use]
    pub fn new(ring: KeyRing, entropy: Entropy) -> Self {
        Self { ring: Arc::new(ArcSwap::from_pointee(ring)), entropy }
    }

    /// Seals a secret under the first master key, for one place only.
    ///
    /// The key file is looked at first, so that nothing is sealed any more under a key that another process has retired.
    #[must_use]
    pub fn seal<K: SecretKind>(&self, place: &Place<'_>, secret: &Secret<K>) -> Sealed<K> {
        if self.ring.load().is_stale() {
            self.reread_or_warn();
        }
        self.ring.load().first().seal(place, secret, &self.entropy)
    }

    /// Opens what was sealed for this place under any key of the ring. A key id that is not known makes the key file be
    /// read once more: another process may have added the key.
    ///
    /// # Errors
    /// The envelope is damaged, was moved, or belongs to a version or a key that is not known. Nothing else is tried.
    pub fn open<K: SecretKind>(&self, place: &Place<'_>, sealed: &Sealed<K>) -> Result<Secret<K>, OpenError> {
        let id = KeyId::of(sealed)?;
        if self.ring.load().find(id).is_none() {
            self.reread_or_warn();
        }
        self.ring.load().find(id).ok_or(OpenError::UnknownKey(id))?.open(place, sealed)
    }

    /// Seals under the first key what is sealed under another; nothing when it is under the first already.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn reseal<K: SecretKind>(&self, place: &Place<'_>, sealed: &Sealed<K>) -> Result<Option<Sealed<K>>, OpenError> {
        if KeyId::of(sealed)? == self.sealing_key() {
            return Ok(None);
        }
        let secret = self.open(place, sealed)?;
        Ok(Some(self.seal(place, &secret)))
    }

    /// A new data key for a grant, ready for use and sealed to be kept.
    #[must_use]
    pub fn new_data_key(&self, grant: GrantId) -> (GrantKey, Sealed<DataKey>) {
        let bytes = Zeroizing::new(self.entropy.bytes::<32>());
        let secret = Secret::<DataKey>::new(bytes.as_slice());
        let key = GrantKey::of(&bytes, &self.entropy);
        (key, self.seal(&data_key_place(&grant), &secret))
    }

    /// Opens a grant's data key.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn open_data_key(&self, grant: GrantId, sealed: &Sealed<DataKey>) -> Result<GrantKey, OpenError> {
        let secret = self.open(&data_key_place(&grant), sealed)?;
        let bytes: &[u8; 32] = secret.expose().try_into().map_err(|_| OpenError::Refused)?;
        Ok(GrantKey::of(bytes, &self.entropy))
    }

    /// Seals a grant's data key under the first master key; nothing when it is under that already.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn reseal_data_key(
        &self,
        grant: GrantId,
        sealed: &Sealed<DataKey>,
    ) -> Result<Option<Sealed<DataKey>>, OpenError> {
        self.reseal(&data_key_place(&grant), sealed)
    }

    /// A known value, sealed: kept with a database, it tells whether this ring opens it.
    #[must_use]
    pub fn seal_canary(&self) -> Sealed<Canary> {
        self.seal(&CANARY_PLACE, &Secret::new(CANARY))
    }

    /// Whether this ring opens the database that kept this canary.
    ///
    /// # Errors
    /// It does not: nothing in that database must be touched.
    pub fn check_canary(&self, sealed: &Sealed<Canary>) -> Result<(), OpenError> {
        let found = self.open(&CANARY_PLACE, sealed)?;
        if found.expose() == CANARY { Ok(()) } else { Err(OpenError::Refused) }
    }

    /// The canary under the first master key; nothing when it is under that already.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn reseal_canary(&self, sealed: &Sealed<Canary>) -> Result<Option<Sealed<Canary>>, OpenError> {
        self.reseal(&CANARY_PLACE, sealed)
    }

    /// The key that seals.
    #[must_use]
    pub fn sealing_key(&self) -> KeyId {
        self.ring.load().first().id()
    }

    /// All keys of the ring, the one that seals first.
    #[must_use]
    pub fn key_ids(&self) -> Vec<KeyId> {
        self.ring.load().ids()
    }
}

const fn data_key_place(grant: &GrantId) -> Place<'_> {
    Place { table: "grants", row: grant.as_bytes(), column: "data_key", version: 0 }
}

/// A grant's own key: seals its tokens. Never prints.
#[derive(Clone)]
pub struct GrantKey {
    key: Arc<SealingKey>,
    entropy: Entropy,
}

impl GrantKey {
    fn of(bytes: &[u8; 32], entropy: &Entropy) -> Self {
        Self { key: Arc::new(SealingKey::with_own_id(bytes)), entropy: entropy.clone() }
    }

    /// Seals one of the grant's secrets for one place only.
    #[must_use]
    pub fn seal<K: SecretKind>(&self, place: &Place<'_>, secret: &Secret<K>) -> Sealed<K> {
        self.key.seal(place, secret, &self.entropy)
    }

    /// Opens one of the grant's secrets.
    ///
    /// # Errors
    /// The envelope is damaged, was moved, or was sealed under another grant's key.
    pub fn open<K: SecretKind>(&self, place: &Place<'_>, sealed: &Sealed<K>) -> Result<Secret<K>, OpenError> {
        self.key.open(place, sealed)
    }
}

impl fmt::Debug for GrantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[grant key redacted]")
    }
}

#[cfg(test)]
mod tests;
