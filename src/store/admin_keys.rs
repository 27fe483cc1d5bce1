//! Keys for the management API, as digests.

use sqlx::sqlite::SqliteRow;

use super::columns::{Columns, key};
use super::{Result, Store};
use crate::domain::app::{AdminKey, KeyHash};
use crate::domain::id::AdminKeyId;
use crate::domain::time::Timestamp;

/// An admin key that was shown and is live.
pub type AdminKeyFound = AdminKey;

fn admin_key(row: &SqliteRow) -> Result<AdminKey> {
    let row = Columns(row);
    Ok(AdminKey {
        id: row.id("id")?,
        name: row.parsed("name")?,
        created_at: row.time("created_at")?,
        last_used_at: row.time_or_none("last_used_at")?,
        revoked_at: row.time_or_none("revoked_at")?,
    })
}

impl Store {
    /// Keeps a new admin key.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn keep_admin_key(&self, new: &AdminKey, hash: KeyHash) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("INSERT INTO admin_keys (id, name, hash, created_at) VALUES ($1, $2, $3, $4)")
            .bind(key(&new.id))
            .bind(new.name.as_str())
            .bind(hash.as_bytes().as_slice())
            .bind(new.created_at.millis())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Finds a live admin key by its digest.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn find_admin_key(&self, hash: KeyHash) -> Result<Option<AdminKeyFound>> {
        let row = sqlx::query("SELECT * FROM admin_keys WHERE hash = $1 AND revoked_at IS NULL")
            .bind(hash.as_bytes().as_slice())
            .fetch_optional(&self.read)
            .await?;
        row.as_ref().map(admin_key).transpose()
    }

    /// Remembers when an admin key was last shown, to the minute.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn touch_admin_key(&self, id: AdminKeyId, now: Timestamp) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE admin_keys SET last_used_at = $2 WHERE id = $1 AND coalesce(last_used_at, 0) < $2 - 60000")
            .bind(key(&id))
            .bind(now.millis())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// All admin keys, newest first.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn list_admin_keys(&self) -> Result<Vec<AdminKey>> {
        let rows = sqlx::query("SELECT * FROM admin_keys ORDER BY id DESC").fetch_all(&self.read).await?;
        rows.iter().map(admin_key).collect()
    }

    /// Kills an admin key. False when it is gone or dead already.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn revoke_admin_key(&self, id: AdminKeyId, now: Timestamp) -> Result<bool> {
        let mut tx = self.begin().await?;
        let done = sqlx::query("UPDATE admin_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
            .bind(key(&id))
            .bind(now.millis())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }
}
