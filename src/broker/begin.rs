//! Begins an authorization: the person is sent to the provider with a state that only this browser can bring back.

use std::time::Duration;

use url::Url;

use super::Broker;
use crate::domain::app::KeyHash;
use crate::domain::authorization::AuthorizationRequest;
use crate::domain::grant::{GrantKind, GrantStatus};
use crate::domain::id::{GrantId, UserId};
use crate::domain::scope::ScopeSet;
use crate::domain::user::{BadLabel, Label};
use crate::oauth::{Client, NoRegistration, Prompt};
use crate::store::StoreError;
use crate::vault::Place;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is to be asked for.
#[derive(Clone, Debug)]
pub struct AuthorizationWish {
    /// Who asks.
    pub user: UserId,
    /// The digest of what tells this browser from others.
    pub browser: KeyHash,
    /// What to ask for.
    pub scopes: ScopeSet,
    /// What to call the grant; empty for a name made of its scopes. Ignored for a grant that exists.
    pub label: String,
    /// The grant to renew or widen; none for a new one.
    pub grant: Option<GrantId>,
    /// Where in Keyfob to go afterwards: a local path.
    pub return_to: Option<String>,
}

/// Why nobody is sent to the provider.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// Nothing was ticked.
    #[error("Tick at least one scope.")]
    NoScope,
    /// The label can't be one.
    #[error("The label {0}.")]
    BadLabel(#[from] BadLabel),
    /// The grant is none of this user's, or was disconnected, or was pasted.
    #[error("There is no such grant that could be renewed.")]
    NoSuchGrant,
    /// No OAuth application is configured.
    #[error(
        "No OAuth application is configured, so Keyfob can't send you to Teslascope. Set KEYFOB_OAUTH_CLIENT_ID, or paste a personal access token instead."
    )]
    NoClientId,
    /// The provider's endpoints are not known.
    #[error(
        "Keyfob has not found Teslascope's sign-in address yet. Try again in a minute; if it stays so, run keyfob doctor."
    )]
    NoEndpoints,
    /// It could not be kept.
    #[error("Keyfob could not save this. Try again in a moment.")]
    Storage(#[from] StoreError),
}

impl Broker {
    /// Where to send the browser.
    ///
    /// # Errors
    /// [`BeginError`]
    pub async fn begin_authorization(&self, wish: AuthorizationWish) -> Result<Url, BeginError> {
        if wish.scopes.is_empty() {
            return Err(BeginError::NoScope);
        }
        if self.oauth.client_id().is_none() {
            return Err(BeginError::NoClientId);
        }
        let label = match wish.grant {
            Some(id) => {
                let found = self.store.find_grant(id, Some(wish.user)).await?.map(|record| record.grant);
                let renewable = |kind, status| kind == GrantKind::OAuth && status != GrantStatus::Disconnected;
                found.filter(|grant| renewable(grant.kind, grant.status)).ok_or(BeginError::NoSuchGrant)?.label
            }
            None => label_or_default(&wish.label, wish.scopes)?,
        };
        self.require_endpoints().await.ok_or(BeginError::NoEndpoints)?;
        let state = Client::new_state(&self.entropy);
        let verifier = Client::new_verifier(&self.entropy);
        let redirect_uri = self.redirect_uri();
        let prompt = wish.grant.map(|_| Prompt::Consent);
        let address =
            self.oauth.authorization_url(&state, &verifier, wish.scopes, &redirect_uri, prompt).map_err(|refusal| {
                match refusal {
                    NoRegistration::NoClientId => BeginError::NoClientId,
                    NoRegistration::NoEndpoints | NoRegistration::Malformed(_) => BeginError::NoEndpoints,
                }
            })?;
        let state_hash = KeyHash::of(state.expose());
        let now = self.clock.now();
        self.store
            .keep_authorization(&AuthorizationRequest {
                state_hash,
                user: wish.user,
                browser_hash: wish.browser,
                grant: wish.grant,
                label,
                scopes: wish.scopes,
                verifier: self.vault.seal(&verifier_place(&state_hash), &verifier),
                redirect_uri,
                return_to: wish.return_to,
                begun_at: now,
                expires_at: now.plus(PATIENCE),
            })
            .await?;
        Ok(address)
    }

    /// The redirect URI to register at the provider.
    #[must_use]
    pub fn redirect_uri(&self) -> String {
        format!("{}/oauth/callback", self.settings.public_url)
    }

    /// Whether an OAuth application is configured.
    #[must_use]
    pub fn has_client(&self) -> bool {
        self.oauth.client_id().is_some()
    }

    /// The origin of the page that people are sent to, once it is known.
    pub async fn authorization_origin(&self) -> Option<String> {
        if !self.has_client() {
            return None;
        }
        self.require_endpoints().await.map(|endpoints| endpoints.authorize.origin().ascii_serialization())
    }

    /// When this user went to the provider and has not come back, if they did: the provider may have shown its own error
    /// instead of redirecting.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn unanswered_since(&self, user: UserId) -> Result<Option<crate::domain::time::Timestamp>, StoreError> {
        self.store.find_open_authorization(user, self.clock.now()).await
    }
}

/// The label that was typed, or one made of the scopes.
pub(super) fn label_or_default(typed: &str, scopes: ScopeSet) -> Result<Label, BadLabel> {
    if typed.trim().is_empty() {
        let names: Vec<&str> = scopes.iter().map(crate::domain::scope::Scope::as_str).collect();
        names.join(", ").parse()
    } else {
        typed.parse()
    }
}

pub(super) const fn verifier_place(state_hash: &KeyHash) -> Place<'_> {
    Place { table: "authorization_requests", row: state_hash.as_bytes(), column: "verifier", version: 0 }
}
