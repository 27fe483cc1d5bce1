//! Master keys: which there are and what needs them, re-sealing to the first while the service runs, dropping old ones,
//! and opening everything to see that it opens.
//!
//! A rotation has no state of its own: each envelope names its key, so that what is left is what is still under another
//! key than the first, and a rotation that was killed goes on where it stopped. The canary is re-sealed last and says
//! whether one is under way.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Broker;
use super::begin::verifier_place;
use super::cell::{access_token_place, refresh_token_place, token_row};
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::id::GrantId;
use crate::store::{GrantRecord, Resealed, SealedUnder, StoreError};
use crate::vault::{KeyFileError, KeyId};

/// So many data keys are re-sealed in one step of the database.
const BATCH: u32 = 100;
/// Between two steps the service's own writes get in.
const PAUSE: Duration = Duration::from_millis(4);

/// A master key and what needs it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MasterKeyUse {
    /// The key.
    pub id: KeyId,
    /// Whether it seals what is new.
    pub seals: bool,
    /// Whether the key file holds it; what is sealed under another does not open.
    pub in_file: bool,
    /// Grants whose own key is sealed under it.
    pub data_keys: u64,
    /// Open authorization requests, and the canary, that are sealed under it.
    pub others: u64,
}

/// Where a rotation stands.
#[derive(Clone, Debug)]
pub struct KeyProgress {
    /// Each key of the file, the one that seals first, then those that only the database knows.
    pub keys: Vec<MasterKeyUse>,
    /// How much is sealed under another key than the first.
    pub left: u64,
    /// How much is sealed in all.
    pub all: u64,
}

/// What a rotation came to.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The key that now seals.
    pub first: KeyId,
    /// Whether it was made now; else an earlier rotation, or a key that was put first by hand, was followed.
    pub made: bool,
    /// How many values were sealed anew.
    pub resealed: u64,
    /// Grants whose own key does not open, so that it is still under an old one.
    pub unopened: Vec<GrantId>,
}

/// What came of the wish to drop old keys.
#[derive(Clone, Debug)]
pub enum Retirement {
    /// They are gone from the key file; with what was still to be re-sealed before.
    Retired {
        /// The keys.
        dropped: Vec<KeyId>,
        /// How many values were sealed anew.
        resealed: u64,
    },
    /// There is one key only.
    NothingToDrop,
    /// Something is still sealed under old keys and does not open, so they stay.
    StillNeeded {
        /// Grants whose own key does not open.
        unopened: Vec<GrantId>,
        /// How much is sealed under which old key.
        needed: Vec<MasterKeyUse>,
    },
}

/// What opened and what did not.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Verification {
    /// Whether everything opened.
    pub ok: bool,
    /// Whether the canary did.
    pub canary: bool,
    /// Grants' own keys that opened.
    pub data_keys: u64,
    /// Access tokens, personal access tokens and API keys that opened.
    pub access_tokens: u64,
    /// Refresh tokens that opened.
    pub refresh_tokens: u64,
    /// Code verifiers of open authorization requests that opened.
    pub verifiers: u64,
    /// Open authorization requests whose verifier does not open; they end within minutes anyway.
    pub unopened_verifiers: u64,
    /// Grants of which something does not open.
    pub unopened: BTreeSet<GrantId>,
}

/// Why nothing could be done with the master keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The key file can't be used or changed.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The database is not available.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Broker {
    /// Which master keys there are, what needs each, and how far a rotation is.
    ///
    /// # Errors
    /// [`KeysError`]
    pub async fn key_progress(&self) -> Result<KeyProgress, KeysError> {
        self.vault.reread()?;
        let sealed = self.store.count_sealed().await?;
        let in_file = self.vault.key_ids();
        let first = self.vault.sealing_key();
        let unknown = sealed.iter().map(|under| KeyId::from_bytes(under.key)).filter(|id| !in_file.contains(id));
        let keys: Vec<_> = in_file
            .iter()
            .copied()
            .chain(unknown)
            .map(|id| {
                let under = sealed.iter().find(|under| under.key == *id.as_bytes()).copied().unwrap_or_default();
                let others = under.verifiers + u64::from(under.canary);
                MasterKeyUse {
                    id,
                    seals: id == first,
                    in_file: in_file.contains(&id),
                    data_keys: under.data_keys,
                    others,
                }
            })
            .collect();
        let needing = |key: &MasterKeyUse| key.data_keys + key.others;
        let left = keys.iter().filter(|key| !key.seals).map(needing).sum();
        let all = keys.iter().map(needing).sum();
        Ok(KeyProgress { keys, left, all })
    }

    /// Makes a new master key and seals everything under it. Where a rotation is under way, or a key was put first by
    /// hand, none is made: what is left is sealed under the first. `tell` hears how much is left.
    ///
    /// # Errors
    /// [`KeysError`]; what was sealed anew stays so, and the next call goes on.
    pub async fn rotate_keys(&self, tell: impl FnMut(u64)) -> Result<Rotation, KeysError> {
        self.vault.reread()?;
        let made = self.rotation_is_done().await?;
        if made {
            let id = self.vault.add_key()?;
            self.note_keys(&format!("key {id} was made"));
        }
        // An operator may have put a key first that was retired once.
        self.store.unretire_master_key(*self.vault.sealing_key().as_bytes()).await?;
        let (resealed, unopened) = self.reseal(tell).await?;
        let first = self.vault.sealing_key();
        self.note_keys(&format!("{resealed} values were sealed under key {first}"));
        Ok(Rotation { first, made, resealed, unopened })
    }

    /// Seals what is left under the first key, then drops the others. Makes none.
    ///
    /// From the moment that the database knows a key as retired it keeps nothing that is sealed under it, so that no
    /// process can leave something behind that would never open again.
    ///
    /// # Errors
    /// [`KeysError`]; the next call goes on.
    pub async fn retire_keys(&self, tell: impl FnMut(u64)) -> Result<Retirement, KeysError> {
        self.vault.reread()?;
        let (first, ids) = (self.vault.sealing_key(), self.vault.key_ids());
        let old: Vec<KeyId> = ids.into_iter().filter(|id| *id != first).collect();
        self.store.unretire_master_key(*first.as_bytes()).await?;
        let (resealed, unopened) = self.reseal(tell).await?;
        if old.is_empty() {
            return Ok(Retirement::NothingToDrop);
        }
        let bytes: Vec<_> = old.iter().map(|id| *id.as_bytes()).collect();
        if !self.store.retire_master_keys(&bytes, self.clock.now()).await? {
            let mut needed = self.key_progress().await?.keys;
            needed.retain(|key| old.contains(&key.id) && key.data_keys + key.others > 0);
            return Ok(Retirement::StillNeeded { unopened, needed });
        }
        self.vault.retire(&old)?;
        let words: Vec<_> = old.iter().map(ToString::to_string).collect();
        self.note_keys(&format!("key {} was dropped", words.join(", ")));
        Ok(Retirement::Retired { dropped: old, resealed })
    }

    /// Opens every sealed value: each grant's own key, its tokens, the verifiers of open requests, the canary.
    ///
    /// # Errors
    /// [`KeysError`]
    pub async fn verify_keys(&self) -> Result<Verification, KeysError> {
        self.vault.reread()?;
        let mut found = Verification::default();
        if let Some(canary) = self.store.find_canary().await? {
            found.canary = self.vault.check_canary(&canary).is_ok();
        }
        for record in self.store.list_live_grants().await? {
            if !self.opens(&record, &mut found) {
                found.unopened.insert(record.grant.id);
            }
        }
        for (state, verifier) in self.store.list_verifiers_not_under([0; 4]).await? {
            match self.vault.open(&verifier_place(&state), &verifier) {
                Ok(_) => found.verifiers += 1,
                Err(_) => found.unopened_verifiers += 1,
            }
        }
        found.ok = found.canary && found.unopened.is_empty() && found.unopened_verifiers == 0;
        Ok(found)
    }

    fn opens(&self, record: &GrantRecord, found: &mut Verification) -> bool {
        let (grant, row) = (&record.grant, token_row(record.grant.id, record.grant.user));
        let Some(Ok(key)) = record.data_key.as_ref().map(|key| self.vault.open_data_key(grant.id, key)) else {
            return false;
        };
        found.data_keys += 1;
        let access = record.access_token.as_ref().map(|t| key.open(&access_token_place(&row, grant.token_version), t));
        let refresh =
            record.refresh_token.as_ref().map(|t| key.open(&refresh_token_place(&row, grant.token_version), t));
        found.access_tokens += u64::from(matches!(access, Some(Ok(_))));
        found.refresh_tokens += u64::from(matches!(refresh, Some(Ok(_))));
        !matches!(access, Some(Err(_))) && !matches!(refresh, Some(Err(_)))
    }

    /// Whether everything that opens was sealed under the first key once: the canary follows last.
    async fn rotation_is_done(&self) -> Result<bool, KeysError> {
        let canary = self.store.find_canary().await?;
        Ok(canary.is_none_or(|canary| KeyId::of(&canary).is_ok_and(|id| id == self.vault.sealing_key())))
    }

    /// Seals everything under the first key, in small steps. How much was, and which grants did not open.
    async fn reseal(&self, mut tell: impl FnMut(u64)) -> Result<(u64, Vec<GrantId>), KeysError> {
        let (mut resealed, mut unopened) = (0, BTreeSet::new());
        // What another process seals under an old key while this runs is found on the next round.
        loop {
            let before = resealed;
            resealed += self.reseal_data_keys(&mut unopened, &mut tell).await?;
            resealed += self.reseal_verifiers().await?;
            if resealed == before {
                break;
            }
        }
        if let Some(canary) = self.store.find_canary().await?
            && let Ok(Some(after)) = self.vault.reseal_canary(&canary)
            && self.store.replace_canary(&canary, &after).await?
        {
            resealed += 1;
        }
        tell(0);
        Ok((resealed, unopened.into_iter().collect()))
    }

    async fn reseal_data_keys(
        &self,
        unopened: &mut BTreeSet<GrantId>,
        tell: &mut impl FnMut(u64),
    ) -> Result<u64, KeysError> {
        let first = self.vault.sealing_key();
        let under = self.store.count_sealed().await?;
        let mut left: u64 = under
            .iter()
            .filter(|under| under.key != *first.as_bytes())
            .map(|SealedUnder { data_keys, .. }| data_keys)
            .sum();
        let (mut resealed, mut after) = (0, None);
        loop {
            tell(left);
            let page = self.store.list_data_keys_not_under(*first.as_bytes(), after, BATCH).await?;
            let Some((last, _)) = page.last() else { return Ok(resealed) };
            after = Some(*last);
            let mut batch = Vec::with_capacity(page.len());
            for (grant, sealed) in page {
                match self.vault.reseal_data_key(grant, &sealed) {
                    Ok(Some(anew)) => batch.push(Resealed { row: grant, before: sealed, after: anew }),
                    Ok(None) => {}
                    Err(cause) => {
                        if unopened.insert(grant) {
                            tracing::error!(grant.id = %grant, error = %cause, "a grant's own key does not open");
                        }
                    }
                }
            }
            let done = self.store.replace_data_keys(&batch).await?;
            resealed += done;
            left = left.saturating_sub(done);
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn reseal_verifiers(&self) -> Result<u64, KeysError> {
        let first = self.vault.sealing_key();
        let mut batch = Vec::new();
        for (state, sealed) in self.store.list_verifiers_not_under(*first.as_bytes()).await? {
            match self.vault.reseal(&verifier_place(&state), &sealed) {
                Ok(Some(anew)) => batch.push(Resealed { row: state, before: sealed, after: anew }),
                Ok(None) => {}
                Err(cause) => tracing::error!(error = %cause, "the verifier of an open authorization does not open"),
            }
        }
        Ok(if batch.is_empty() { 0 } else { self.store.replace_verifiers(&batch).await? })
    }

    fn note_keys(&self, what: &str) {
        self.trail.record(AuditEvent::change(self.clock.now(), kind::MASTER_KEYS, None).about(what));
    }
}
