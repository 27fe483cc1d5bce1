//! What is shown: grants, users, events.

use std::time::Duration;

use super::Broker;
use crate::domain::grant::{ConsentReason, Grant, GrantStatus};
use crate::domain::id::{GrantId, UserId};
use crate::domain::time::Timestamp;
use crate::domain::user::User;
use crate::store::{
    AuditFilter, AuditPage, CallCount, CallsOf, DecisionCount, GrantFilter, GrantSort, GrantsAfter, ListedGrant,
    StoreError,
};

/// How long a reader of the audit trail waits for what is not written yet.
const PATIENCE: Duration = Duration::from_secs(1);

impl Broker {
    /// A page of grants, each with the status to show: under other settings than it was made with, it needs its user. The
    /// filter and the order go by that status too.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn list_grants(&self, filter: &GrantFilter) -> Result<Vec<ListedGrant>, StoreError> {
        let by_status = filter.status.is_some() || filter.sort == GrantSort::Attention;
        let needing = by_status.then(|| self.needing(filter.user));
        let mut page = self.store.list_grants(&GrantFilter { needing, ..filter.clone() }).await?;
        for listed in &mut page {
            self.show(&mut listed.grant);
        }
        Ok(page)
    }

    /// Grants and their users' names in the order of their making, each with the status to show; the filter goes by that
    /// status too.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn list_grants_after(&self, page: &GrantsAfter) -> Result<Vec<(Grant, String)>, StoreError> {
        let mut found = match page.status {
            None | Some(GrantStatus::Disconnected) => self.store.list_grants_after(page).await?,
            Some(status) => self.store.list_grants_of(&self.shown_with(status, page)).await?,
        };
        for (grant, _) in &mut found {
            self.show(grant);
        }
        Ok(found)
    }

    /// The grants that need their user, by memory, of this user if one is named.
    fn needing(&self, of: Option<UserId>) -> Vec<GrantId> {
        let now = self.clock.now();
        let mut cells = self.directory.grants();
        cells.retain(|cell| {
            of.is_none_or(|user| cell.user == user) && cell.state().shown(now).0 == GrantStatus::NeedsConsent
        });
        cells.iter().map(|cell| cell.id).collect()
    }

    /// The page's ids, by memory: only there it is known which status a grant shows at this moment.
    fn shown_with(&self, status: GrantStatus, page: &GrantsAfter) -> Vec<GrantId> {
        let now = self.clock.now();
        let mut ids: Vec<_> = self.directory.grants();
        ids.retain(|cell| {
            let state = cell.state();
            page.after.is_none_or(|after| if page.newest_first { cell.id < after } else { cell.id > after })
                && page.user.is_none_or(|user| cell.user == user)
                && page.scope.is_none_or(|scope| state.grant.scopes_granted.contains(scope))
                && state.shown(now).0 == status
        });
        let mut ids: Vec<_> = ids.iter().map(|cell| cell.id).collect();
        ids.sort_unstable();
        if page.newest_first {
            ids.reverse();
        }
        ids.truncate(page.limit as usize);
        ids
    }

    /// A user's name as memory has it.
    #[must_use]
    pub fn known_user_name(&self, id: UserId) -> Option<String> {
        self.directory.find_user(id).map(|cell| cell.user.load().name.to_string())
    }

    /// A user's name; the id of one that is gone.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn user_name(&self, id: UserId) -> Result<String, StoreError> {
        if let Some(name) = self.known_user_name(id) {
            return Ok(name);
        }
        Ok(self.store.find_user(id).await?.map_or_else(|| id.to_string(), |user| user.name.to_string()))
    }

    /// How many grants a filter lets through, by the status that they show.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn count_grants(&self, filter: &GrantFilter) -> Result<i64, StoreError> {
        let needing = filter.status.map(|_| self.needing(filter.user));
        self.store.count_grants(&GrantFilter { needing, ..filter.clone() }).await
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

    /// These grants, each with the status to show; those that are gone are left out.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn find_grants(&self, ids: &[GrantId]) -> Result<Vec<Grant>, StoreError> {
        let found = self.store.list_grants_of(ids).await?;
        let shown = found.into_iter().map(|(mut grant, _)| {
            self.show(&mut grant);
            grant
        });
        Ok(shown.collect())
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

    /// Counts the calls of a user's apps from `since` on, by spans of so many milliseconds; of each app the newest `most`.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn count_calls(
        &self,
        user: UserId,
        since: Timestamp,
        span_ms: i64,
        most: u32,
    ) -> Result<Vec<CallCount>, StoreError> {
        self.trail.catch_up(PATIENCE).await;
        self.store.count_calls(user, since, span_ms, most).await
    }

    /// Counts calls from `since` on by decision and by spans of so many milliseconds, the newest `most` of them.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn count_decisions(
        &self,
        of: CallsOf,
        since: Timestamp,
        span_ms: i64,
        most: u32,
    ) -> Result<Vec<DecisionCount>, StoreError> {
        self.store.count_decisions(of, since, span_ms, most).await
    }

    /// A page of events, newest first. Whoever has just changed something finds it there; a trail that can't be written is
    /// read as it stands.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn list_audit(&self, filter: &AuditFilter) -> Result<AuditPage, StoreError> {
        self.trail.catch_up(PATIENCE).await;
        self.store.list_audit(filter).await
    }
}
