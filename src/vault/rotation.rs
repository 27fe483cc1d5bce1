//! Changing the ring while the service runs: add a key, re-seal, retire.
//!
//! Each step can be killed and done again. Other processes follow: they look at the file when they seal, and read it
//! once more when they meet a key id that they do not know.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::Vault;
use super::envelope::KeyId;
use super::key_file::KeyFileError;
use super::ring::{self, KeyRing};

impl Vault {
    /// Puts a new key first in the key file; from now on it seals.
    ///
    /// # Errors
    /// The file can't be written (then an operator adds a line of [`KeyRing::new_line`] by hand), or another process is
    /// changing it. The file is as it was.
    pub fn add_key(&self) -> Result<KeyId, KeyFileError> {
        let (id, line) = ring::new_line(&self.entropy);
        self.ring.load().file().replace(&self.entropy, |text| {
            let mut changed = Zeroizing::new(String::with_capacity(text.len() + 128));
            // Comments that stand at the top stay at the top.
            let head = text.lines().take_while(|line| line.starts_with('#')).map(|line| line.len() + 1).sum::<usize>();
            let (head, rest) = text.split_at(head.min(text.len()));
            changed.push_str(head);
            if !head.is_empty() && !head.ends_with('\n') {
                changed.push('\n');
            }
            changed.push_str(line.expose_str().unwrap_or_default());
            changed.push_str(rest);
            Ok(changed)
        })?;
        self.reread()?;
        Ok(id)
    }

    /// Drops keys from the key file. This vault still opens what they sealed until it is made anew or reads the file
    /// again, so that its caller can look once more for what another process sealed at the last moment.
    ///
    /// The caller has made sure that nothing needs them any more.
    ///
    /// # Errors
    /// One of them is the first key, which seals; or the file can't be written. The file is as it was.
    pub fn retire(&self, ids: &[KeyId]) -> Result<(), KeyFileError> {
        self.ring.load().file().replace(&self.entropy, |text| {
            if let Some(id) = text.lines().find_map(ring::id_of_line).filter(|first| ids.contains(first)) {
                return Err(KeyFileError::Sealing { id });
            }
            let mut changed = Zeroizing::new(String::with_capacity(text.len()));
            for line in text.lines().filter(|line| ring::id_of_line(line).is_none_or(|id| !ids.contains(&id))) {
                changed.push_str(line);
                changed.push('\n');
            }
            Ok(changed)
        })
    }

    /// Reads the key file again.
    ///
    /// # Errors
    /// It can't be used; the ring stays as it was.
    pub fn reread(&self) -> Result<(), KeyFileError> {
        let file = self.ring.load().file().clone();
        self.ring.store(Arc::new(KeyRing::open(file)?));
        Ok(())
    }

    pub(super) fn reread_or_warn(&self) {
        if let Err(error) = self.reread() {
            tracing::warn!(vault.fault = %error, "The master key file can't be read again; the keys in memory stay in use.");
        }
    }
}
