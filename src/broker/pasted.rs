//! Personal access tokens and legacy API keys: pasted, checked against the provider at once, sealed like the rest.

use super::Broker;
use super::begin::label_or_default;
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::grant::{Binding, Grant, GrantKind, GrantStatus};
use crate::domain::id::UserId;
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::secret::{AccessToken, Secret};
use crate::domain::user::BadLabel;
use crate::oauth::{Claims, PastedCheck, TokenAnswer};
use crate::store::{Change, StoreError};

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
        let secret = Secret::<AccessToken>::new(wish.secret.expose().trim_ascii());
        if secret.is_empty() {
            return Err(PastedError::Empty);
        }
        if wish.scopes.is_empty() {
            return Err(PastedError::NoScope);
        }
        if wish.kind == GrantKind::ApiKey && !wish.scopes.is_subset_of(ScopeSet::API_KEY) {
            return Err(PastedError::TooMuchForApiKey);
        }
        let label = label_or_default(&wish.label, wish.scopes)?;
        let check = self.oauth.check_pasted(wish.kind, wish.scopes, &secret).await;
        match check {
            PastedCheck::Refused => return Err(PastedError::Refused),
            PastedCheck::MissingScope(scope) => return Err(PastedError::MissingScope(scope)),
            PastedCheck::Accepted | PastedCheck::NotChecked => {}
        }
        let claims = if wish.kind == GrantKind::ApiKey { None } else { Claims::of(&secret) };
        let answer = TokenAnswer { claims, ..TokenAnswer::default() };
        let (scopes_granted, scopes_source) = super::complete::granted(&answer, wish.scopes);
        let now = self.clock.now();
        let claims = answer.claims.as_ref();
        let grant = Grant {
            id: self.new_id(),
            user: wish.user,
            label,
            kind: wish.kind,
            status: GrantStatus::Active,
            reason: None,
            scopes_requested: wish.scopes,
            scopes_granted,
            scopes_source,
            scopes_used: ScopeSet::EMPTY,
            created_at: now,
            refreshed_at: None,
            last_used_at: None,
            expires_at: claims.and_then(|claims| claims.expires_at),
            token_version: 1,
            binding: Binding::clone(&self.directory.binding()),
            provider_account: claims.and_then(|claims| claims.subject.clone()),
        };
        let new = self.seal_grant(grant, &answer, &secret, now);
        self.store.keep_grant(&new).await?;
        self.see(Change::Grant(new.grant.id)).await;
        let words = format!("{}; granted {scopes_granted}", wish.kind);
        self.trail
            .record(AuditEvent::change(now, kind::GRANT_MADE, Some(wish.user)).of_grant(new.grant.id).about(&words));
        Ok((new.grant, check))
    }
}
