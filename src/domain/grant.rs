//! A grant: the lasting result of one authorization that a user gave at the provider.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::id::{GrantId, UserId};
use super::scope::ScopeSet;
use super::time::Timestamp;
use super::user::Label;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word of the contract.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.as_str()) }
        }
        impl FromStr for $name {
            type Err = ();
            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($word => Ok(Self::$variant),)* _ => Err(()) }
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

words! {
    /// How the grant came to be.
    GrantKind {
        /// By an authorization code (RFC 6749 4.1).
        OAuth = "oauth",
        /// A bearer that the user made at the provider and pasted here.
        PersonalAccessToken = "personal_access_token",
        /// The provider's old key, sent as `?api_key=`.
        ApiKey = "api_key",
    }
}

words! {
    /// Where a grant stands.
    GrantStatus {
        /// Its token can be used.
        Active = "active",
        /// A refresh runs.
        Refreshing = "refreshing",
        /// A refresh was sent and its answer is not known.
        Uncertain = "uncertain",
        /// Its user must renew it.
        NeedsConsent = "needs_consent",
        /// Ended here.
        Disconnected = "disconnected",
    }
}

impl GrantStatus {
    /// Whether a call can be tried with it.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Active | Self::Refreshing | Self::Uncertain)
    }
}

words! {
    /// Why a grant needs its user.
    ConsentReason {
        /// The provider rejected the refresh token.
        RefreshRejected = "refresh_rejected",
        /// The provider no longer takes the token.
        Revoked = "revoked",
        /// The token is past its expiry and nothing can renew it.
        Expired = "expired",
        /// The answer to a refresh was lost after the provider had rotated.
        RotationLost = "rotation_lost",
        /// The provider now grants less than the apps need.
        ScopeReduced = "scope_reduced",
        /// The settings name another provider than the grant was made with.
        ProviderChanged = "provider_changed",
    }
}

impl ConsentReason {
    /// What happened and what to do, for the grant's user.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::RefreshRejected => {
                "Teslascope no longer accepts this grant's refresh token. Renew the grant to go on."
            }
            Self::Revoked => {
                "Teslascope no longer accepts this grant's token: it was revoked there. Renew the grant to go on."
            }
            Self::Expired => "This grant's token is past its expiry. Renew the grant to go on.",
            Self::RotationLost => {
                "Teslascope's answer to a refresh was lost on the way, and the old token is spent. Renew the grant to go on."
            }
            Self::ScopeReduced => {
                "Teslascope now grants fewer scopes than before. Renew the grant to ask for them again."
            }
            Self::ProviderChanged => {
                "This grant was made with another provider address or client id than the settings now name. Renew it, or put the settings back."
            }
        }
    }
}

words! {
    /// How the granted scopes are known.
    ScopesSource {
        /// The token answer named them.
        Answer = "answer",
        /// The token's own `scopes` claim named them.
        Claim = "claim",
        /// Nothing named them: those that were requested.
        Assumed = "assumed",
    }
}

/// What a grant was made with; its secrets go nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The API's origin, as `scheme://host[:port]`.
    pub api_origin: String,
    /// The MCP server's origin.
    pub mcp_origin: String,
    /// The token endpoint's origin.
    pub token_origin: String,
    /// The client id of our registration, empty for pasted tokens made without one.
    pub client_id: String,
}

impl Binding {
    /// Whether secrets bound to `self` may be used under `other`: equal, with the port ignored on loopback.
    #[must_use]
    pub fn allows(&self, other: &Self, kind: GrantKind) -> bool {
        let pasted = kind != GrantKind::OAuth;
        // Not known yet is not another one: until it is, no token request is sent at all.
        let same_token_origin = other.token_origin.is_empty() || same_origin(&self.token_origin, &other.token_origin);
        same_origin(&self.api_origin, &other.api_origin)
            && same_origin(&self.mcp_origin, &other.mcp_origin)
            && (pasted || (self.client_id == other.client_id && same_token_origin))
    }
}

fn same_origin(a: &str, b: &str) -> bool {
    a == b || matches!((loopback_without_port(a), loopback_without_port(b)), (Some(a), Some(b)) if a == b)
}

fn loopback_without_port(origin: &str) -> Option<&str> {
    let (scheme, authority) = origin.split_once("://")?;
    let host_end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let host = &authority[..host_end];
    let loopback = host == "localhost" || host == "[::1]" || host.starts_with("127.");
    loopback.then(|| &origin[..scheme.len() + 3 + host_end])
}

/// A grant without its secrets: what may be shown and logged.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Names the grant; it keeps its id through every renewal.
    pub id: GrantId,
    /// Whose it is.
    pub user: UserId,
    /// What its user calls it.
    pub label: Label,
    /// How it came to be.
    pub kind: GrantKind,
    /// Where it stands.
    pub status: GrantStatus,
    /// Why it needs its user, when it does.
    pub reason: Option<ConsentReason>,
    /// What was asked for.
    pub scopes_requested: ScopeSet,
    /// What the provider gave.
    pub scopes_granted: ScopeSet,
    /// How that is known.
    pub scopes_source: ScopesSource,
    /// What calls have really needed.
    pub scopes_used: ScopeSet,
    /// When it was first given.
    pub created_at: Timestamp,
    /// When its tokens were last renewed.
    pub refreshed_at: Option<Timestamp>,
    /// When a call last used it.
    pub last_used_at: Option<Timestamp>,
    /// When its access token expires, when that is known.
    pub expires_at: Option<Timestamp>,
    /// Counts up with every new token pair; a late answer is kept only over the version it spent.
    pub token_version: i64,
    /// What it was made with.
    pub binding: Binding,
    /// The provider's name for the account, when the token told (`sub`).
    pub provider_account: Option<String>,
}

/// What tokens that are to replace a grant's say of whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountMatch {
    /// The account that the grant belongs to, or the grant's was never told.
    Same,
    /// Another account.
    Other,
    /// Nothing, though the grant's account is known.
    Untold,
}

impl Grant {
    /// Compares the provider account of new tokens with this grant's.
    #[must_use]
    pub fn account_match(&self, new: Option<&str>) -> AccountMatch {
        match (self.provider_account.as_deref(), new) {
            (None, _) => AccountMatch::Same,
            (Some(old), Some(new)) if old == new => AccountMatch::Same,
            (Some(_), Some(_)) => AccountMatch::Other,
            (Some(_), None) => AccountMatch::Untold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(api: &str) -> Binding {
        Binding { api_origin: api.into(), mcp_origin: "m".into(), token_origin: "t".into(), client_id: "c".into() }
    }

    #[test]
    fn the_port_is_ignored_on_loopback_only() {
        let oauth = GrantKind::OAuth;
        assert!(binding("http://127.0.0.1:1").allows(&binding("http://127.0.0.1:2"), oauth));
        assert!(binding("http://[::1]:1").allows(&binding("http://[::1]"), oauth));
        assert!(!binding("http://127.0.0.1:1").allows(&binding("http://127.0.0.2:1"), oauth));
        assert!(!binding("http://127.0.0.1:1").allows(&binding("https://127.0.0.1:1"), oauth));
        assert!(!binding("https://a.example:1").allows(&binding("https://a.example:2"), oauth));
        assert!(!binding("http://localhost.evil:1").allows(&binding("http://localhost.evil:2"), oauth));
    }
}
