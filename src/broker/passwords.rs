//! Passwords: Argon2id, and never more than a few hashed at once, so that sign-ins cannot exhaust the machine.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use tokio::sync::Semaphore;

use crate::ambient::Entropy;
use crate::domain::secret::{Password, Secret};

/// 19 MiB, two passes, one lane: OWASP's first choice for Argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
/// How many are hashed at once; each takes its memory.
const AT_ONCE: usize = 2;
/// The shortest password that is taken, in characters.
pub(super) const SHORTEST: usize = 8;
/// The longest password that is taken, in bytes; longer ones are refused, never cut.
pub(super) const LONGEST: usize = 1024;

/// Why a password is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPassword {
    /// Too short.
    #[error("must have at least {SHORTEST} characters; 15 or more are better")]
    TooShort,
    /// Too long.
    #[error("must not be longer than {LONGEST} bytes")]
    TooLong,
    /// Among those that are tried first.
    #[error("is one of the passwords that are tried first; choose another")]
    Common,
    /// Contains the user's name.
    #[error("must not be the user's name")]
    IsName,
}

/// The most used passwords of at least eight characters: those that a guesser tries first.
const COMMON: &str = include_str!("common_passwords.txt");

/// Checks a new password.
///
/// # Errors
/// [`BadPassword`]
pub fn check_new(password: &Secret<Password>, user_name: &str) -> Result<(), BadPassword> {
    let Some(text) = password.expose_str() else { return Err(BadPassword::TooLong) };
    if text.len() > LONGEST {
        return Err(BadPassword::TooLong);
    }
    if text.chars().count() < SHORTEST {
        return Err(BadPassword::TooShort);
    }
    let folded = zeroize::Zeroizing::new(text.to_lowercase());
    if *folded == user_name.to_lowercase() {
        return Err(BadPassword::IsName);
    }
    if COMMON.lines().any(|common| common == *folded) {
        return Err(BadPassword::Common);
    }
    Ok(())
}

/// Hashes and checks passwords.
#[derive(Clone)]
pub(super) struct Hasher {
    places: Arc<Semaphore>,
    entropy: Entropy,
    /// The hash of a password that nobody has, so that an unknown name takes as long as a known one.
    nobody: Arc<str>,
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, 2, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

impl Hasher {
    /// A hasher with its places free.
    #[must_use]
    pub(super) fn new(entropy: Entropy) -> Self {
        // Well-formed, of the parameters above, and of no password: its digest is all zeros.
        let nobody = format!("$argon2id$v=19$m={MEMORY_KIB},t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA${}", "A".repeat(43));
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), entropy, nobody: nobody.into() }
    }

    /// The PHC string of a password.
    pub(super) async fn hash(&self, password: Secret<Password>) -> String {
        let salt = self.entropy.bytes::<16>();
        self.run(move || match argon2().hash_password_with_salt(password.expose(), &salt) {
            Ok(hash) => hash.to_string(),
            Err(cause) => {
                tracing::error!(error = %cause, "a password could not be hashed");
                String::new()
            }
        })
        .await
        .unwrap_or_default()
    }

    /// Whether this is the password behind the hash; as slow when there is no hash.
    pub(super) async fn matches(&self, password: Secret<Password>, hash: Option<String>) -> bool {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.to_string());
        if password.len() > LONGEST {
            return false;
        }
        let right = self.run(move || {
            PasswordHash::new(&hash).is_ok_and(|hash| argon2().verify_password(password.expose(), &hash).is_ok())
        });
        right.await.unwrap_or(false) && known
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop(place);
            done
        })
        .await
        .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let hasher = Hasher::new(Entropy::system());
        let hash = hasher.hash(Secret::new("correct horse")).await;
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(hasher.matches(Secret::new("correct horse"), Some(hash.clone())).await);
        assert!(!hasher.matches(Secret::new("correct horsf"), Some(hash)).await);
        assert!(!hasher.matches(Secret::new("correct horse"), None).await);
        assert!(PasswordHash::new(&hasher.nobody).is_ok());
    }

    #[test]
    fn weak_passwords_are_refused() {
        let check = |text: &str| check_new(&Secret::new(text), "marieke.vries");
        assert_eq!(check("short"), Err(BadPassword::TooShort));
        assert_eq!(check("Password123"), Err(BadPassword::Common));
        assert_eq!(check("Marieke.Vries"), Err(BadPassword::IsName));
        assert_eq!(check(&"x".repeat(1025)), Err(BadPassword::TooLong));
        assert_eq!(check("ein gutes Passwort äöü"), Ok(()));
        assert_eq!(check(&"ab".repeat(32)), Ok(()));
    }

    #[tokio::test]
    async fn no_more_passwords_are_hashed_at_once_than_there_are_places() {
        let hasher = Hasher::new(Entropy::seeded(1));
        let held: Vec<_> = (0..AT_ONCE).map(|_| hasher.places.clone().try_acquire_owned().unwrap()).collect();
        let waiting = hasher.clone();
        let mut hashing = tokio::spawn(async move { waiting.matches(Secret::new("a password"), None).await });
        let patience = std::time::Duration::from_millis(300);
        assert!(tokio::time::timeout(patience, &mut hashing).await.is_err(), "it waits for a place");
        drop(held);
        assert!(!hashing.await.unwrap());
    }
}
