//! Personal access tokens and legacy API keys: pasted, checked against the provider at once, sealed like the rest.

use super::Broker;
use super::begin::label_or_default;
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::grant::{AccountMatch, Binding, Grant, GrantKind, GrantStatus, ScopesSource};
use crate::domain::id::{GrantId, UserId};
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::secret::{AccessToken, Secret};
use crate::domain::user::BadLabel;
use crate::oauth::{Claims, PastedCheck, TokenAnswer};
use crate::store::{Change, NewGrant, StoreError, Swap};

/// What was pasted.
#[derive(Debug)]
pub struct PastedWish {
    /// Whose it will be.
    pub user: UserId,
    /// What it is; never `oauth`.
    pub kind: GrantKind,
    /// The scopes that it was made with.
    pub scopes: ScopeSet,
    /// What to call it; empty for a name made of its scopes.
    pub label: String,
    /// The token or key itself.
    pub secret: Secret<AccessToken>,
}

/// Why a pasted token was not kept.
#[derive(Debug, thiserror::Error)]
pub enum PastedError {
    /// Nothing was ticked.
    #[error("Tick the scopes that the token was made with.")]
    NoScope,
    /// Nothing was pasted.
    #[error("Paste the token.")]
    Empty,
    /// An OAuth grant is never pasted.
    #[error("Choose a personal access token or a legacy API key.")]
    BadKind,
    /// A legacy key cannot hold this.
    #[error("A legacy API key can hold vehicles and controls at most.")]
    TooMuchForApiKey,
    /// The label can't be one.
    #[error("The label {0}.")]
    BadLabel(#[from] BadLabel),
    /// The provider does not know it.
    #[error(
        "Teslascope does not accept this token. Check that it was copied whole, and that it is the kind you chose."
    )]
    Refused,
    /// The provider takes it, but not for this.
    #[error("Teslascope accepts this token, but not for {0}. Untick that scope, or make a token that holds it.")]
    MissingScope(Scope),
    /// There is none of this user's that a pasted token could renew.
    #[error("There is no such grant that a pasted token could renew, or it was changed in this moment.")]
    NoSuchGrant,
    /// The token belongs to another account at the provider.
    #[error("This token belongs to another Teslascope account than this grant. Save it as a grant of its own.")]
    OtherAccount,
    /// The token does not say whose it is, while the grant's account is known.
    #[error(
        "This token does not say whose account it belongs to, so it did not replace the one of this grant. Try again in a moment, or save it as a grant of its own."
    )]
    UntoldAccount,
    /// It could not be kept.
    #[error("Keyfob could not save this. Try again in a moment.")]
    Storage(#[from] StoreError),
}

impl Broker {
    /// Keeps a pasted token as a grant, and says whether the provider confirmed it.
    ///
    /// # Errors
    /// [`PastedError`]
    pub async fn add_pasted_token(&self, wish: PastedWish) -> Result<(Grant, PastedCheck), PastedError> {
        if wish.kind == GrantKind::OAuth {
            return Err(PastedError::BadKind);
        }
        let secret = trimmed(&wish.secret)?;
        if wish.scopes.is_empty() {
            return Err(PastedError::NoScope);
        }
        if wish.kind == GrantKind::ApiKey && !wish.scopes.is_subset_of(ScopeSet::API_KEY) {
            return Err(PastedError::TooMuchForApiKey);
        }
        let label = label_or_default(&wish.label, wish.scopes)?;
        let now = self.clock.now();
        let grant = Grant {
            id: self.new_id(),
            user: wish.user,
            label,
            kind: wish.kind,
            status: GrantStatus::Active,
            reason: None,
            scopes_requested: wish.scopes,
            scopes_granted: wish.scopes,
            scopes_source: ScopesSource::Assumed,
            scopes_used: ScopeSet::EMPTY,
            created_at: now,
            refreshed_at: None,
            last_used_at: None,
            expires_at: None,
            token_version: 1,
            binding: Binding::clone(&self.directory.binding()),
            provider_account: None,
        };
        let (new, check) = self.check_and_seal(grant, &secret).await?;
        self.store.keep_grant(&new).await?;
        Ok((self.pasted(new.grant, kind::GRANT_MADE).await, check))
    }

    /// Puts a newly pasted token in the place of a pasted grant's old one: the grant keeps its id, its apps and their keys.
    ///
    /// # Errors
    /// [`PastedError`]; the old token then stays.
    pub async fn renew_pasted_token(
        &self,
        id: GrantId,
        user: UserId,
        secret: &Secret<AccessToken>,
    ) -> Result<(Grant, PastedCheck), PastedError> {
        let secret = trimmed(secret)?;
        let found = self.store.find_grant(id, Some(user)).await?.map(|record| record.grant);
        let renewable = |grant: &Grant| grant.kind != GrantKind::OAuth && grant.status != GrantStatus::Disconnected;
        let old = found.filter(renewable).ok_or(PastedError::NoSuchGrant)?;
        let before = old.clone();
        let grant = Grant {
            status: GrantStatus::Active,
            reason: None,
            expires_at: None,
            token_version: old.token_version + 1,
            binding: Binding::clone(&self.directory.binding()),
            ..old
        };
        let (new, check) = self.check_and_seal(grant, &secret).await?;
        match before.account_match(new.grant.provider_account.as_deref()) {
            AccountMatch::Same => {}
            AccountMatch::Other => return Err(PastedError::OtherAccount),
            AccountMatch::Untold => return Err(PastedError::UntoldAccount),
        }
        match self.store.replace_tokens_by_consent(&new, self.clock.now()).await? {
            Swap::Done => Ok((self.pasted(new.grant, kind::GRANT_RENEWED).await, check)),
            Swap::Outrun | Swap::Gone => Err(PastedError::NoSuchGrant),
        }
    }

    /// Asks the provider whether it takes the token, and seals it with what it says of itself.
    async fn check_and_seal(
        &self,
        grant: Grant,
        secret: &Secret<AccessToken>,
    ) -> Result<(NewGrant, PastedCheck), PastedError> {
        let check = self.oauth.check_pasted(grant.kind, grant.scopes_requested, secret).await;
        match check {
            PastedCheck::Refused => return Err(PastedError::Refused),
            PastedCheck::MissingScope(scope) => return Err(PastedError::MissingScope(scope)),
            PastedCheck::Accepted | PastedCheck::NotChecked => {}
        }
        let claims = if grant.kind == GrantKind::ApiKey { None } else { Claims::of(secret) };
        let answer = TokenAnswer { claims, ..TokenAnswer::default() };
        let (scopes_granted, scopes_source) = super::complete::granted(&answer, grant.scopes_requested);
        let provider_account = match grant.kind {
            GrantKind::ApiKey => None,
            GrantKind::OAuth | GrantKind::PersonalAccessToken => {
                self.oauth.account_subject(scopes_granted, secret).await
            }
        };
        let claims = answer.claims.clone().unwrap_or_default();
        let grant = Grant { scopes_granted, scopes_source, expires_at: claims.expires_at, provider_account, ..grant };
        Ok((self.seal_grant(grant, &answer, secret, self.clock.now()), check))
    }

    /// A pasted token is kept: everybody may see it.
    async fn pasted(&self, grant: Grant, what: &'static str) -> Grant {
        self.see(Change::Grant(grant.id)).await;
        let words = format!("{}; granted {}", grant.kind, grant.scopes_granted);
        let event = AuditEvent::change(self.clock.now(), what, Some(grant.user));
        self.trail.record(event.of_grant(grant.id).about(&words));
        grant
    }
}

fn trimmed(secret: &Secret<AccessToken>) -> Result<Secret<AccessToken>, PastedError> {
    let secret = Secret::<AccessToken>::new(secret.expose().trim_ascii());
    if secret.is_empty() { Err(PastedError::Empty) } else { Ok(secret) }
}
