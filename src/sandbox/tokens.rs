//! Tokens and codes that were issued, by digest, and what happens to them.
//!
//! A refresh kills the old refresh token and the old access token at once, without grace, as league does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::TokensAlive;
use super::mint::{Claims, Digest, Mint};
use crate::domain::scope::ScopeSet;

/// How many dead tokens are remembered as dead; older ones become unknown.
const DEAD_KEPT: usize = 20_000;

/// An access token, personal or of an OAuth grant.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct AccessToken {
    pub account: u32,
    pub client: String,
    #[serde(with = "scopes_text")]
    pub scopes: ScopeSet,
    pub issued: i64,
    pub expires: i64,
    pub revoked: bool,
    /// Its name at the page of personal access tokens; `None` for one of an OAuth grant.
    pub personal: Option<String>,
}

impl AccessToken {
    fn is_alive(&self, now: i64) -> bool {
        !self.revoked && self.expires > now
    }
}

/// A refresh token and the access token that was issued with it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct RefreshToken {
    pub access: Digest,
    pub account: u32,
    pub client: String,
    #[serde(with = "scopes_text")]
    pub scopes: ScopeSet,
    pub expires: i64,
    pub revoked: bool,
}

/// An authorization code that was issued.
#[derive(Clone)]
pub(super) struct Code {
    pub client: String,
    pub account: u32,
    pub scopes: ScopeSet,
    pub redirect_uri: Option<String>,
    pub challenge: Option<Challenge>,
    pub expires: i64,
    pub spent: bool,
}

/// PKCE's challenge.
#[derive(Clone)]
pub(super) enum Challenge {
    Plain(String),
    S256(String),
}

/// For whom tokens are made.
pub(super) struct Holder<'a> {
    pub client: &'a str,
    pub account: u32,
    pub scopes: ScopeSet,
}

/// When something begins and ends, in milliseconds since 1970.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub now: i64,
    pub access: i64,
    pub refresh: i64,
}

/// Two new secrets.
pub(super) struct Pair {
    pub access: String,
    pub refresh: String,
}

/// Everything that was issued.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Tokens {
    pub access: BTreeMap<Digest, AccessToken>,
    pub refresh: BTreeMap<Digest, RefreshToken>,
    /// Legacy API keys and whose they are.
    pub api_keys: BTreeMap<Digest, u32>,
    #[serde(skip)]
    pub codes: BTreeMap<Digest, Code>,
}

impl Tokens {
    /// Issues an access and a refresh token.
    pub(super) fn issue(&mut self, mint: &Mint, holder: &Holder<'_>, span: Span) -> Pair {
        let access = self.issue_access(mint, holder, span.now, span.access, None);
        let refresh = mint.refresh_token();
        let kept = RefreshToken {
            access: Digest::of(&access),
            account: holder.account,
            client: holder.client.to_owned(),
            scopes: holder.scopes,
            expires: span.refresh,
            revoked: false,
        };
        self.refresh.insert(Digest::of(&refresh), kept);
        Pair { access, refresh }
    }

    /// Issues an access token alone; with a name it is a personal one.
    pub(super) fn issue_access(
        &mut self,
        mint: &Mint,
        holder: &Holder<'_>,
        now: i64,
        expires: i64,
        personal: Option<&str>,
    ) -> String {
        self.forget_the_dead(now);
        let Holder { client, account, scopes } = *holder;
        let token = mint.access_token(&Claims { client, account, scopes, issued: now, expires });
        let kept = AccessToken {
            account,
            client: client.to_owned(),
            scopes,
            issued: now,
            expires,
            revoked: false,
            personal: personal.map(str::to_owned),
        };
        self.access.insert(Digest::of(&token), kept);
        token
    }

    /// Issues a legacy API key.
    pub(super) fn issue_api_key(&mut self, mint: &Mint, account: u32) -> String {
        let key = mint.api_key();
        self.api_keys.insert(Digest::of(&key), account);
        key
    }

    /// The access token, if it works.
    pub(super) fn find_access(&self, token: &str, now: i64) -> Option<&AccessToken> {
        self.access.get(&Digest::of(token)).filter(|known| known.is_alive(now))
    }

    /// Kills a refresh token and the access token that came with it.
    pub(super) fn kill_pair(&mut self, refresh: &Digest) {
        if let Some(known) = self.refresh.get_mut(refresh) {
            known.revoked = true;
            if let Some(access) = self.access.get_mut(&known.access) {
                access.revoked = true;
            }
        }
    }

    /// Kills whatever this secret is, and its other half (RFC 7009 2.1), if the client may.
    pub(super) fn revoke(&mut self, secret: &str, client: &str) {
        let digest = Digest::of(secret);
        let refresh = self.refresh.iter().find(|(id, known)| **id == digest || known.access == digest);
        if let Some(id) = refresh.filter(|(_, known)| known.client == client).map(|(id, _)| id.clone()) {
            self.kill_pair(&id);
        }
    }

    /// The scopes that an account has granted to a client with tokens that still work.
    pub(super) fn granted(&self, account: u32, client: &str, now: i64) -> ScopeSet {
        self.access
            .values()
            .filter(|token| token.account == account && token.client == client && token.personal.is_none())
            .filter(|token| token.is_alive(now))
            .fold(ScopeSet::EMPTY, |all, token| all.union(token.scopes))
    }

    /// Kills everything that an account has issued: OAuth grants, personal tokens and API keys.
    pub(super) fn revoke_account(&mut self, account: u32) {
        self.access.values_mut().filter(|token| token.account == account).for_each(|token| token.revoked = true);
        self.refresh.values_mut().filter(|token| token.account == account).for_each(|token| token.revoked = true);
        self.api_keys.retain(|_, owner| *owner != account);
    }

    /// Ends the life of every access token of an OAuth grant now; refresh tokens live on.
    pub(super) fn expire_access(&mut self, now: i64) {
        let of_grants = self.access.values_mut().filter(|token| token.personal.is_none());
        of_grants.for_each(|token| token.expires = token.expires.min(now));
    }

    /// What works for an account.
    pub(super) fn alive(&self, account: u32, now: i64) -> TokensAlive {
        let mut alive = TokensAlive::default();
        for token in self.access.values().filter(|token| token.account == account && token.is_alive(now)) {
            alive.scopes = alive.scopes.union(token.scopes);
            *if token.personal.is_some() { &mut alive.personal } else { &mut alive.access } += 1;
        }
        let refresh = self.refresh.values().filter(|token| token.account == account);
        alive.refresh = refresh.filter(|token| !token.revoked && token.expires > now).count();
        alive.api_keys = self.api_keys.values().filter(|owner| **owner == account).count();
        alive
    }

    fn forget_the_dead(&mut self, now: i64) {
        self.codes.retain(|_, code| code.expires + 3_600_000 > now);
        if self.access.len() > 2 * DEAD_KEPT {
            self.access.retain(|_, token| token.is_alive(now));
            self.refresh.retain(|_, token| !token.revoked && token.expires > now);
        }
    }
}

/// Scope sets as their text.
mod scopes_text {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::domain::scope::ScopeSet;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's own signature")]
    pub(super) fn serialize<S: Serializer>(scopes: &ScopeSet, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(scopes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ScopeSet, D::Error> {
        let text = String::deserialize(deserializer)?;
        ScopeSet::parse_list(&text).map_err(|name| serde::de::Error::custom(format!("unknown scope {name}")))
    }
}
