//! What is shown: grants, users, events.

use super::Broker;
use crate::domain::grant::{ConsentReason, Grant, GrantStatus};
use crate::domain::id::{GrantId, UserId};
use crate::domain::user::User;
use crate::store::{AuditFilter, AuditPage, GrantFilter, ListedGrant, StoreError};

impl Broker {
    /// A page of grants, each with the status to show: under other settings than it was made with, it needs its user.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn list_grants(&self, filter: &GrantFilter) -> Result<Vec<ListedGrant>, StoreError> {
        let mut page = self.store.list_grants(filter).await?;
        for listed in &mut page {
            self.show(&mut listed.grant);
        }
        Ok(page)
    }

    /// How many grants a filter lets through.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn count_grants(&self, filter: &GrantFilter) -> Result<i64, StoreError> {
        self.store.count_grants(filter).await
    }

    /// Finds a grant, of this user if one is named.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn find_grant(&self, id: GrantId, of: Option<UserId>) -> Result<Option<Grant>, StoreError> {
        Ok(self.store.find_grant(id, of).await?.map(|record| {
            let mut grant = record.grant;
            self.show(&mut grant);
            grant
        }))
    }

    /// Memory may be ahead of the database, and knows whether the settings still fit.
    fn show(&self, grant: &mut Grant) {
        if grant.status == GrantStatus::Disconnected {
            return;
        }
        let now = self.clock.now();
        if let Some(cell) = self.directory.find_grant(grant.id) {
            let state = cell.state();
            (grant.status, grant.reason) = state.shown(now);
            grant.expires_at = state.grant.expires_at;
        } else if !grant.binding.allows(&self.directory.binding(), grant.kind) {
            (grant.status, grant.reason) = (GrantStatus::NeedsConsent, Some(ConsentReason::ProviderChanged));
        }
    }

    /// A page of users, in the order of their making.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn list_users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        self.store.list_users(after, limit).await
    }

    /// A page of events, newest first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn list_audit(&self, filter: &AuditFilter) -> Result<AuditPage, StoreError> {
        self.store.list_audit(filter).await
    }
}
