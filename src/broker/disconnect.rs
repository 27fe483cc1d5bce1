//! Ends a grant: here at once, at the provider where it allows that, and says which.

use super::Broker;
use super::cell::{access_token_place, refresh_token_place, token_row};
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::grant::{Grant, GrantKind};
use crate::domain::id::{GrantId, UserId};
use crate::domain::time::Timestamp;
use crate::oauth::Revocation;
use crate::store::{Change, GrantRecord, StoreError};

/// What ending a grant came to.
#[derive(Clone, Debug)]
pub struct Disconnected {
    /// The grant as it was.
    pub grant: Grant,
    /// What became of its tokens at the provider.
    pub at_provider: AtProvider,
}

/// What became of a grant's tokens at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtProvider {
    /// It confirmed that they are revoked.
    Revoked,
    /// It offers no revocation: they live until they expire, or the person revokes them there.
    LivesOn {
        /// When the access token expires, if that is known.
        until: Option<Timestamp>,
    },
    /// It was asked and did not confirm: they may live on.
    Unconfirmed,
    /// Personal access tokens and API keys are revoked by hand there.
    ByHand,
}

impl AtProvider {
    /// What the person should know.
    #[must_use]
    pub fn advice(self) -> String {
        match self {
            Self::Revoked => "Teslascope confirmed that its tokens are revoked.".to_owned(),
            Self::LivesOn { until } => {
                let until = until.map_or_else(String::new, |at| format!(" (the access token until {at})"));
                format!(
                    "Keyfob has forgotten the tokens, but Teslascope offers no way to revoke them from here: they stay valid there until they expire{until}. To end them now, revoke the application at Teslascope under Developers, Applications."
                )
            }
            Self::Unconfirmed => {
                "Keyfob has forgotten the tokens, but Teslascope did not confirm that it revoked them. To be sure, revoke the application at Teslascope under Developers, Applications.".to_owned()
            }
            Self::ByHand => {
                "Keyfob has forgotten the token. It stays valid at Teslascope until you revoke it there.".to_owned()
            }
        }
    }
}

impl Broker {
    /// Ends a grant. Of this user, if one is named. Nothing when there is none to end.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn disconnect(&self, id: GrantId, of: Option<UserId>) -> Result<Option<Disconnected>, StoreError> {
        // Whoever hangs up now must not keep the tokens alive at the provider, nor the row out of the trail.
        let broker = self.clone();
        super::to_its_end(async move { broker.end(id, of).await }).await
    }

    async fn end(&self, id: GrantId, of: Option<UserId>) -> Result<Option<Disconnected>, StoreError> {
        if self.store.find_grant(id, of).await?.is_none() {
            return Ok(None);
        }
        let Some(record) = self.store.take_grant_secrets(id).await? else { return Ok(None) };
        self.see(Change::Grant(id)).await;
        self.count_disconnected().await;
        let at_provider = self.revoke_at_provider(&record).await;
        let words = match at_provider {
            AtProvider::Revoked => "revoked at the provider",
            AtProvider::LivesOn { .. } => "the provider offers no revocation",
            AtProvider::Unconfirmed => "the provider did not confirm the revocation",
            AtProvider::ByHand => "to be revoked at the provider by hand",
        };
        let event = AuditEvent::change(self.clock.now(), kind::GRANT_DISCONNECTED, Some(record.grant.user));
        self.trail.record(event.of_grant(id).about(words));
        Ok(Some(Disconnected { grant: record.grant, at_provider }))
    }

    pub(super) async fn revoke_at_provider(&self, record: &GrantRecord) -> AtProvider {
        let grant = &record.grant;
        if grant.kind != GrantKind::OAuth {
            return AtProvider::ByHand;
        }
        let lives_on = AtProvider::LivesOn { until: grant.expires_at };
        if !grant.binding.allows(&self.directory.binding(), grant.kind) {
            return AtProvider::Unconfirmed;
        }
        let Some(data_key) = &record.data_key else { return lives_on };
        let row = token_row(grant.id, grant.user);
        let Ok(key) = self.vault.open_data_key(grant.id, data_key) else { return AtProvider::Unconfirmed };
        let mut worst = AtProvider::Revoked;
        let mut note = |revocation: Revocation| match revocation {
            Revocation::Revoked => {}
            Revocation::NotOffered => worst = lives_on,
            Revocation::Failed => worst = AtProvider::Unconfirmed,
        };
        if let Some(token) = record
            .refresh_token
            .as_ref()
            .and_then(|sealed| key.open(&refresh_token_place(&row, grant.token_version), sealed).ok())
        {
            note(self.oauth.revoke_refresh_token(&token).await);
        }
        if let Some(token) = record
            .access_token
            .as_ref()
            .and_then(|sealed| key.open(&access_token_place(&row, grant.token_version), sealed).ok())
        {
            note(self.oauth.revoke_access_token(&token).await);
        }
        worst
    }
}
