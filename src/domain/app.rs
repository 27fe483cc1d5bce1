//! Apps, the programs that call the proxy, and the keys that Keyfob gives them.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::id::{AdminKeyId, AppId, GrantId, UserId};
use super::scope::ScopeSet;
use super::time::Timestamp;
use super::user::Label;

/// A program that calls the proxy on behalf of one user.
#[derive(Clone, Debug)]
pub struct App {
    /// Names the app.
    pub id: AppId,
    /// Whose it is.
    pub user: UserId,
    /// What its user calls it.
    pub name: Label,
    /// The most that it may do.
    pub scopes: ScopeSet,
    /// The one grant it is tied to, if it is.
    pub grant: Option<GrantId>,
    /// Whether its key may come in the URL as `?api_key=`.
    pub query_key: bool,
    /// Its own limit of calls.
    pub rate: Option<Rate>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last called.
    pub last_used_at: Option<Timestamp>,
    /// When its keys stop working.
    pub expires_at: Option<Timestamp>,
    /// Since when it is cut off.
    pub revoked_at: Option<Timestamp>,
}

impl App {
    /// Whether a call of this app could be made with a grant: both stand, it is not tied to another one, and both hold a scope.
    #[must_use]
    pub fn reaches(&self, grant: &super::grant::Grant) -> bool {
        self.user == grant.user
            && self.revoked_at.is_none()
            && grant.status != super::grant::GrantStatus::Disconnected
            && self.grant.is_none_or(|tied| tied == grant.id)
            && !self.scopes.intersection(grant.scopes_granted).is_empty()
    }
}

/// A key for the management API.
#[derive(Clone, Debug)]
pub struct AdminKey {
    /// Names the key.
    pub id: AdminKeyId,
    /// What its maker calls it.
    pub name: Label,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last shown to the API.
    pub last_used_at: Option<Timestamp>,
    /// Since when it is dead.
    pub revoked_at: Option<Timestamp>,
}

/// So many calls in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub calls: u32,
    /// In how long.
    pub per: Duration,
}

/// The text is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be calls per second, minute or hour, like 10/s, 600/m or 5000/h")]
pub struct BadRate;

impl std::str::FromStr for Rate {
    type Err = BadRate;

    fn from_str(text: &str) -> Result<Self, BadRate> {
        let (calls, unit) = text.split_once('/').ok_or(BadRate)?;
        let per = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            _ => return Err(BadRate),
        };
        if !calls.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BadRate);
        }
        match calls.parse() {
            Ok(calls @ 1..=1_000_000) => Ok(Self { calls, per: Duration::from_secs(per) }),
            _ => Err(BadRate),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        write!(f, "{}/{unit}", self.calls)
    }
}

/// What starts every app key.
pub const APP_KEY_PREFIX: &str = "kf_";
/// What starts every admin key.
pub const ADMIN_KEY_PREFIX: &str = "kfa_";

/// A key that Keyfob made, in the one moment in which it exists in plain.
pub struct IssuedKey(Zeroizing<String>);

impl IssuedKey {
    /// A key from 256 random bits.
    #[must_use]
    pub fn new(prefix: &str, random: &[u8; 32]) -> Self {
        let mut text = String::with_capacity(48);
        text.push_str(prefix);
        URL_SAFE_NO_PAD.encode_string(random, &mut text);
        Self(Zeroizing::new(text))
    }

    /// The key as its holder gets it, once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.0.as_bytes())
    }
}

impl fmt::Debug for IssuedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[issued key redacted]")
    }
}

/// The SHA-256 digest of a key: all that is kept, and what look-ups go by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The digest of a key's text.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        use sha2::{Digest as _, Sha256};
        Self(Sha256::digest(key).into())
    }

    /// From what was kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What is kept.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key hash]")
    }
}

/// Whether a text has the form of a key with this prefix: the prefix and 43 characters of base64url.
#[must_use]
pub fn has_key_form(text: &[u8], prefix: &str) -> bool {
    text.len() == prefix.len() + 43
        && text.starts_with(prefix.as_bytes())
        && text[prefix.len()..].iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_form_and_never_prints() {
        let key = IssuedKey::new(APP_KEY_PREFIX, &[7; 32]);
        assert!(has_key_form(key.expose().as_bytes(), APP_KEY_PREFIX));
        assert_eq!(key.expose().len(), 46);
        assert!(!has_key_form(key.expose().as_bytes(), ADMIN_KEY_PREFIX));
        assert!(!format!("{key:?} {:?}", key.hash()).contains("BwcH"));
    }

    #[test]
    fn rates_are_read() {
        assert_eq!("600/m".parse(), Ok(Rate { calls: 600, per: Duration::from_secs(60) }));
        for bad in ["", "10", "0/s", "10/d", "-1/s", "+1/s", "10/ s"] {
            assert_eq!(bad.parse::<Rate>(), Err(BadRate), "{bad}");
        }
    }
}
