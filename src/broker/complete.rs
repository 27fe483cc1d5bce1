//! Completes an authorization: the answer is checked, the code exchanged, the tokens sealed and kept.

use super::Broker;
use super::begin::verifier_place;
use super::cell::{access_token_place, refresh_token_place, token_row};
use super::schedule::due_at;
use crate::domain::app::KeyHash;
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::authorization::{AcceptedRequest, AuthorizationRequest, Unaccepted};
use crate::domain::grant::{AccountMatch, Grant, GrantKind, GrantStatus, ScopesSource};
use crate::domain::id::{GrantId, UserId};
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{AccessToken, AuthorizationCode, Secret};
use crate::domain::time::Timestamp;
use crate::oauth::{AuthorizationError, BadCallback, Callback, Reply, TokenAnswer, TokenError};
use crate::store::{Change, KeptTokens, NewGrant, StoreError, Swap};

/// What a completed authorization gave.
#[derive(Clone, Debug)]
pub struct Completed {
    /// The grant, new or renewed.
    pub grant: Grant,
    /// What was asked for and not given.
    pub withheld: ScopeSet,
    /// Whether it renewed a grant.
    pub renewed: bool,
    /// Where in Keyfob to go now.
    pub return_to: Option<String>,
}

/// Why an authorization was not completed. Whatever stood before, stands.
#[derive(Debug, thiserror::Error)]
pub enum CompleteError {
    /// The address is no answer of the provider's.
    #[error("This address is not a complete answer from Teslascope. Start again from the connect page.")]
    BadCallback(#[from] BadCallback),
    /// The state is none that waits: used already, or never given.
    #[error("This answer was used already, or belongs to no request of yours. Start again from the connect page.")]
    UnknownState,
    /// The check of the answer failed.
    #[error("{}", .0.advice())]
    Unaccepted(Unaccepted),
    /// The provider refused.
    #[error("{}", .0.advice())]
    Refused(AuthorizationError),
    /// The code could not be exchanged.
    #[error("{}", exchange_advice(.0))]
    Exchange(TokenError),
    /// The provider gave no token that can be used, or none with a scope.
    #[error(
        "Teslascope answered without a usable token. Start again; if it stays so, tell the person who runs this Keyfob."
    )]
    NoToken,
    /// The renewal was made with another account at the provider.
    #[error(
        "You signed in to another Teslascope account than the one this grant belongs to. Sign out there and renew again, or connect that account as a new grant."
    )]
    OtherAccount,
    /// The renewal's tokens don't say whose they are, while the grant's account is known.
    #[error(
        "Teslascope did not say whose account these tokens belong to, so they did not replace those of this grant. Renew it with the account scope ticked too, or connect a new grant."
    )]
    UntoldAccount,
    /// The grant was disconnected meanwhile.
    #[error("This grant was disconnected in the meantime. Connect anew instead.")]
    GrantGone,
    /// It could not be kept.
    #[error("Keyfob could not save the new tokens. Try again in a moment.")]
    Storage(#[from] StoreError),
}

impl Unaccepted {
    /// What happened and what to do.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Late => {
                "This answer came more than ten minutes after it was asked for. Start again from the connect page."
            }
            Self::Elsewhere => {
                "This answer belongs to another browser or another user. Start again from the connect page, in this browser."
            }
            Self::OtherIssuer => {
                "This answer names another provider than the one that was asked. It was not used. Start again from the connect page."
            }
        }
    }
}

const fn exchange_advice(error: &TokenError) -> &'static str {
    match error {
        TokenError::Rejected(_) => {
            "Teslascope did not accept the code that it gave: it was used already or is too old. Start again from the connect page."
        }
        TokenError::Configuration(_) => {
            "Teslascope does not accept this Keyfob's OAuth application. Tell the person who runs this Keyfob: the client id or secret is wrong."
        }
        TokenError::Transient { .. } => {
            "Teslascope can't serve at the moment. Nothing was changed; start again in a minute."
        }
        TokenError::Uncertain(_) => {
            "Teslascope's answer was lost on the way. Nothing was changed; start again from the connect page."
        }
    }
}

/// An authorization that waits for its answer, as far as it matters to whoever goes on without one.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The grant that it is to renew or widen.
    pub grant: Option<GrantId>,
    /// What was asked for.
    pub scopes: ScopeSet,
    /// Where in Keyfob to go afterwards.
    pub return_to: Option<String>,
}

impl Broker {
    /// What the query of a callback would answer, of this user in this browser. It is only looked at.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn find_waiting(
        &self,
        query: &str,
        user: UserId,
        browser: KeyHash,
    ) -> Result<Option<Waiting>, StoreError> {
        let Ok(callback) = Callback::parse(query) else { return Ok(None) };
        let found = self.store.find_authorization(KeyHash::of(callback.state.expose())).await?;
        Ok(found.filter(|request| request.was_begun_by(browser, user)).map(|request| Waiting {
            grant: request.grant,
            scopes: request.scopes,
            return_to: request.return_to,
        }))
    }

    /// Completes an authorization from the query of the callback. Taken out before it is used: an answer counts once.
    /// One that comes elsewhere than it was asked for takes nothing out, so that nobody can end another's request.
    ///
    /// # Errors
    /// [`CompleteError`]
    pub async fn complete_authorization(
        &self,
        query: &str,
        user: UserId,
        browser: KeyHash,
    ) -> Result<Completed, CompleteError> {
        let callback = Callback::parse(query)?;
        let state_hash = KeyHash::of(callback.state.expose());
        let waiting = self.store.find_authorization(state_hash).await?.ok_or(CompleteError::UnknownState)?;
        if !waiting.was_begun_by(browser, user) {
            return Err(CompleteError::Unaccepted(Unaccepted::Elsewhere));
        }
        let request = self.store.take_authorization(state_hash).await?.ok_or(CompleteError::UnknownState)?;
        let endpoints = self.oauth.endpoints();
        let issuer_is_asked = endpoints.is_none_or(|endpoints| endpoints.is_issuer(callback.issuer.as_deref()));
        let accepted =
            request.accept(browser, user, issuer_is_asked, self.clock.now()).map_err(CompleteError::Unaccepted)?;
        let code = callback.outcome.map_err(CompleteError::Refused)?;
        // In a task of its own: a browser that hangs up now must not cost the tokens.
        let broker = self.clone();
        let exchange = tokio::spawn(async move { broker.exchange(accepted, code).await });
        exchange.await.unwrap_or_else(|cause| {
            tracing::error!(error = %cause, "an exchange of a code ended in a panic");
            Err(CompleteError::NoToken)
        })
    }

    async fn exchange(
        &self,
        accepted: AcceptedRequest,
        code: Secret<AuthorizationCode>,
    ) -> Result<Completed, CompleteError> {
        let request = accepted.request();
        let verifier = self.vault.open(&verifier_place(&request.state_hash), &request.verifier).map_err(|cause| {
            tracing::error!(error = %cause, "the code verifier of a request does not open");
            CompleteError::UnknownState
        })?;
        let reply = self.oauth.exchange(&code, &verifier, &request.redirect_uri).await.map_err(|cause| {
            tracing::error!(error = %cause, "a code could not be sent to be exchanged");
            CompleteError::UnknownState
        })?;
        let sent_at = self.learn_time(&reply);
        let Reply { outcome, .. } = reply;
        let answer = outcome.map_err(|cause| {
            tracing::warn!(error = %cause, "a code was not exchanged");
            CompleteError::Exchange(cause)
        })?;
        let kept = self.keep_answer(request, &answer, sent_at).await;
        if kept.is_err() {
            // Nobody will ever use them.
            self.forget_at_provider(&answer).await;
        }
        kept
    }

    async fn keep_answer(
        &self,
        request: &AuthorizationRequest,
        answer: &TokenAnswer,
        sent_at: Timestamp,
    ) -> Result<Completed, CompleteError> {
        let Some(token) = &answer.access_token else { return Err(CompleteError::NoToken) };
        let (granted, source) = granted(answer, request.scopes);
        if granted.is_empty() {
            return Err(CompleteError::NoToken);
        }
        let account = self.oauth.account_subject(granted, token).await;
        let old = match request.grant {
            Some(id) => Some(self.store.find_grant(id, Some(request.user)).await?.ok_or(CompleteError::GrantGone)?),
            None => None,
        };
        if let Some(old) = &old {
            match old.grant.account_match(account.as_deref()) {
                AccountMatch::Same => {}
                AccountMatch::Other => return Err(CompleteError::OtherAccount),
                AccountMatch::Untold => return Err(CompleteError::UntoldAccount),
            }
        }
        let (id, version) =
            old.as_ref().map_or_else(|| (self.new_id(), 1), |old| (old.grant.id, old.grant.token_version + 1));
        let grant = Grant {
            id,
            user: request.user,
            label: request.label.clone(),
            kind: GrantKind::OAuth,
            status: GrantStatus::Active,
            reason: None,
            scopes_requested: request.scopes,
            scopes_granted: granted,
            scopes_source: source,
            scopes_used: ScopeSet::EMPTY,
            created_at: self.clock.now(),
            refreshed_at: None,
            last_used_at: None,
            expires_at: answer.lifetime.map(|lifetime| sent_at.plus(lifetime)),
            token_version: version,
            binding: crate::domain::grant::Binding::clone(&self.directory.binding()),
            provider_account: account,
        };
        let new = self.seal_grant(grant, answer, token, sent_at);
        let renewed = old.is_some();
        if renewed {
            match self.store.replace_tokens_by_consent(&new, self.clock.now()).await? {
                Swap::Done => {}
                // A refresh was quicker; the consent is the newer word all the same.
                Swap::Outrun => self.keep_over_newer(new.grant.clone(), answer, token, sent_at).await?,
                Swap::Gone => return Err(CompleteError::GrantGone),
            }
        } else {
            self.store.keep_grant(&new).await?;
        }
        self.see(Change::Grant(id)).await;
        let what = if renewed { kind::GRANT_RENEWED } else { kind::GRANT_MADE };
        let words = format!("requested {}; granted {granted}", request.scopes);
        self.trail.record(AuditEvent::change(self.clock.now(), what, Some(request.user)).of_grant(id).about(&words));
        let withheld = request.scopes.minus(granted);
        Ok(Completed { grant: new.grant, withheld, renewed, return_to: request.return_to.clone() })
    }

    /// Seals a grant's new tokens under a new data key.
    pub(super) fn seal_grant(
        &self,
        grant: Grant,
        answer: &TokenAnswer,
        token: &Secret<AccessToken>,
        sent_at: Timestamp,
    ) -> NewGrant {
        let row = token_row(grant.id, grant.user);
        let (key, data_key) = self.vault.new_data_key(grant.id);
        let version = grant.token_version;
        let refresh_token =
            answer.refresh_token.as_ref().map(|token| key.seal(&refresh_token_place(&row, version), token));
        let due = grant.expires_at.filter(|_| refresh_token.is_some()).map(|at| due_at(grant.id, sent_at, at));
        let tokens = KeptTokens {
            access_token: key.seal(&access_token_place(&row, version), token),
            refresh_token,
            scopes_granted: grant.scopes_granted,
            scopes_source: grant.scopes_source,
            expires_at: grant.expires_at,
            due_at: due,
            provider_account: grant.provider_account.clone(),
        };
        let master_key_id = crate::vault::KeyId::of(&data_key).map(|id| id.to_string()).unwrap_or_default();
        NewGrant { grant, data_key, master_key_id, tokens }
    }

    async fn keep_over_newer(
        &self,
        grant: Grant,
        answer: &TokenAnswer,
        token: &Secret<AccessToken>,
        sent_at: Timestamp,
    ) -> Result<(), CompleteError> {
        for _ in 0..5 {
            let found = self.store.find_grant(grant.id, Some(grant.user)).await?.ok_or(CompleteError::GrantGone)?;
            let version = found.grant.token_version + 1;
            let new = self.seal_grant(Grant { token_version: version, ..grant.clone() }, answer, token, sent_at);
            match self.store.replace_tokens_by_consent(&new, self.clock.now()).await? {
                Swap::Done => return Ok(()),
                Swap::Outrun => {}
                Swap::Gone => break,
            }
        }
        Err(CompleteError::GrantGone)
    }

    /// Revokes tokens that will not be kept, where the provider allows it.
    async fn forget_at_provider(&self, answer: &TokenAnswer) {
        if let Some(token) = &answer.refresh_token {
            self.oauth.revoke_refresh_token(token).await;
        }
        if let Some(token) = &answer.access_token {
            self.oauth.revoke_access_token(token).await;
        }
    }
}

/// The scopes that a token holds: the answer's, else those of its own claim, else those that were requested.
pub(super) fn granted(answer: &TokenAnswer, requested: ScopeSet) -> (ScopeSet, ScopesSource) {
    if let Some(scopes) = answer.scopes {
        return (scopes, ScopesSource::Answer);
    }
    match answer.claims.as_ref().and_then(|claims| claims.scopes) {
        Some(scopes) => (scopes, ScopesSource::Claim),
        None => (requested, ScopesSource::Assumed),
    }
}
