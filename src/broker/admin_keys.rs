//! Keys for the management API.

use super::Broker;
use super::apps::AppError;
use crate::domain::app::{ADMIN_KEY_PREFIX, AdminKey, IssuedKey, KeyHash, has_key_form};
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::id::AdminKeyId;
use crate::store::StoreError;

impl Broker {
    /// Makes an admin key, shown once.
    ///
    /// # Errors
    /// [`AppError`]
    pub async fn make_admin_key(&self, name: &str) -> Result<(AdminKey, IssuedKey), AppError> {
        let now = self.clock.now();
        let made =
            AdminKey { id: self.new_id(), name: name.parse()?, created_at: now, last_used_at: None, revoked_at: None };
        let key = IssuedKey::new(ADMIN_KEY_PREFIX, &self.entropy.bytes());
        self.store.keep_admin_key(&made, key.hash()).await?;
        self.trail.record(AuditEvent::change(now, kind::ADMIN_KEY_MADE, None).about(made.name.as_str()));
        Ok((made, key))
    }

    /// Whether this is a live admin key.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn admin_caller(&self, presented: &[u8]) -> Result<Option<AdminKey>, StoreError> {
        if !has_key_form(presented, ADMIN_KEY_PREFIX) {
            return Ok(None);
        }
        let found = self.store.find_admin_key(KeyHash::of(presented)).await?;
        if let Some(key) = &found {
            let now = self.clock.now();
            if key.last_used_at.is_none_or(|at| now.since(at).as_secs() >= 60) {
                self.store.touch_admin_key(key.id, now).await?;
            }
        }
        Ok(found)
    }

    /// All admin keys, newest first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn list_admin_keys(&self) -> Result<Vec<AdminKey>, StoreError> {
        self.store.list_admin_keys().await
    }

    /// Kills an admin key.
    ///
    /// # Errors
    /// [`AppError`]
    pub async fn revoke_admin_key(&self, id: AdminKeyId) -> Result<(), AppError> {
        let now = self.clock.now();
        if !self.store.revoke_admin_key(id, now).await? {
            return Err(AppError::NotFound);
        }
        self.trail.record(AuditEvent::change(now, kind::ADMIN_KEY_REVOKED, None).about(&id.to_string()));
        Ok(())
    }
}
