//! People with an account on this Keyfob.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::id::UserId;
use super::time::Timestamp;

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees and ends the grants and apps of everyone.
    Admin,
    /// Has their own grants and apps.
    Member,
}

impl Role {
    /// The word that is kept and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Member => "member",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "admin" => Ok(Self::Admin),
            "member" => Ok(Self::Member),
            _ => Err(()),
        }
    }
}

/// The resource owner (RFC 6749 1.1): a person with an account here.
#[derive(Clone, Debug, Serialize)]
pub struct User {
    /// Names the user.
    pub id: UserId,
    /// What they sign in with.
    pub name: UserName,
    /// What they may do.
    pub role: Role,
    /// When the account was made.
    pub created_at: Timestamp,
    /// Since when they are shut out, if they are.
    #[serde(skip)]
    pub disabled_at: Option<Timestamp>,
}

/// A user's name: 1 to 64 characters without control characters or blanks at its ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct UserName(String);

/// Why a name cannot be a user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 letters, digits, or any of . _ - @ +, and start with a letter or digit")]
pub struct BadUserName;

impl UserName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for UserName {
    type Err = BadUserName;

    fn from_str(text: &str) -> Result<Self, BadUserName> {
        let count = text.chars().count();
        let good = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+');
        if (1..=64).contains(&count) && text.chars().all(good) && text.starts_with(char::is_alphanumeric) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadUserName)
        }
    }
}

/// A label or an app's name: 1 to 80 characters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Label(String);

/// Why a text cannot be a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 80 characters on one line")]
pub struct BadLabel;

impl Label {
    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Label {
    type Err = BadLabel;

    fn from_str(text: &str) -> Result<Self, BadLabel> {
        let text = text.trim();
        if (1..=80).contains(&text.chars().count()) && !text.chars().any(is_unprintable) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadLabel)
        }
    }
}

/// Control characters, and the ones that turn text around or hide it.
#[must_use]
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
