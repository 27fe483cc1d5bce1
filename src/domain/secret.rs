//! Secrets. Plain, a secret is wiped when dropped and never prints; at rest it is [`Sealed`].

use std::fmt;
use std::marker::PhantomData;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What a secret is: its name goes into the associated data of its seal.
pub trait SecretKind: 'static {
    /// The kind's name, as it is sealed and as it prints redacted.
    const NAME: &'static str;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $kind {}
        impl SecretKind for $kind {
            const NAME: &'static str = $name;
        }
    )*};
}

kinds! {
    /// An access token (RFC 6749 1.4), a personal access token, or a legacy API key: what is sent with a call.
    AccessToken = "access_token";
    /// A refresh token (RFC 6749 1.5).
    RefreshToken = "refresh_token";
    /// The secret of our registration at the provider (RFC 6749 2.3.1).
    ClientSecret = "client_secret";
    /// The verifier of one authorization request (RFC 7636 4.1).
    CodeVerifier = "code_verifier";
    /// An authorization code (RFC 6749 1.3.1).
    AuthorizationCode = "authorization_code";
    /// The state of one authorization request (RFC 6749 10.12), as the browser carries it.
    State = "state";
    /// A person's password.
    Password = "password";
    /// A grant's own key.
    DataKey = "data_key";
    /// A master key, as the line of the key file that holds it.
    MasterKey = "master_key";
    /// A known value that proves that a key opens a database.
    Canary = "canary";
    /// The one-time token of the first setup.
    SetupToken = "setup_token";
    /// What an app key looks like before it is known to be one.
    PresentedKey = "presented_key";
}

/// A plain secret: wiped when dropped, never printed, never serialized.
pub struct Secret<K>(Zeroizing<Vec<u8>>, PhantomData<fn() -> K>);

impl<K: SecretKind> Secret<K> {
    /// Takes a secret over. The caller's own copy, if any, is the caller's to wipe.
    #[must_use]
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(value.into()), PhantomData)
    }

    /// The secret's bytes. The one word to search for in a review.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The secret as text, or nothing when it is not UTF-8.
    #[must_use]
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The SHA-256 digest, for secrets of at least 128 random bits only.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&*self.0).into()
    }
}

impl<K: SecretKind> Clone for Secret<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<K: SecretKind> fmt::Debug for Secret<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} redacted]", K::NAME)
    }
}

/// A secret at rest: an envelope that only the vault can open, at the place it was sealed for.
pub struct Sealed<K>(Vec<u8>, PhantomData<fn() -> K>);

impl<K: SecretKind> Sealed<K> {
    /// Wraps an envelope that was read from where it is kept.
    #[must_use]
    pub const fn from_envelope(envelope: Vec<u8>) -> Self {
        Self(envelope, PhantomData)
    }

    /// The envelope, to be kept.
    #[must_use]
    pub fn envelope(&self) -> &[u8] {
        &self.0
    }
}

impl<K: SecretKind> Clone for Sealed<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<K: SecretKind> fmt::Debug for Sealed<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} sealed, {} bytes]", K::NAME, self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::<AccessToken>::new("CANARY-1");
        assert_eq!(format!("{secret:?}"), "[access_token redacted]");
        let sealed = Sealed::<AccessToken>::from_envelope(b"CANARY-2".to_vec());
        assert_eq!(format!("{sealed:?}"), "[access_token sealed, 8 bytes]");
    }
}
