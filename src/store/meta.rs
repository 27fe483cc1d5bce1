//! Single facts: the canary, the pinned endpoints, the first setup's token.

use sqlx::Row as _;

use super::{Result, Store};
use crate::domain::app::KeyHash;
use crate::domain::secret::{Canary, Sealed};
use crate::domain::time::Timestamp;

impl Store {
    /// Keeps the canary if there is none, and gives the one that stands.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn keep_canary(&self, canary: &Sealed<Canary>) -> Result<Sealed<Canary>> {
        let mut tx = self.begin().await?;
        sqlx::query("INSERT INTO meta (name, value) VALUES ('canary', $1) ON CONFLICT DO NOTHING")
            .bind(canary.envelope())
            .execute(&mut *tx)
            .await?;
        let kept: Vec<u8> =
            sqlx::query_scalar("SELECT value FROM meta WHERE name = 'canary'").fetch_one(&mut *tx).await?;
        tx.commit().await?;
        Ok(Sealed::from_envelope(kept))
    }

    /// Finds a single fact by its name.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn find_fact(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let row = sqlx::query("SELECT value FROM meta WHERE name = $1").bind(name).fetch_optional(&self.read).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Keeps a single fact under its name, over what stood there.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn keep_fact(&self, name: &str, value: &[u8]) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT DO UPDATE SET value = excluded.value")
            .bind(name)
            .bind(value)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Forgets a single fact.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn drop_fact(&self, name: &str) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM meta WHERE name = $1").bind(name).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Makes this the only setup token while there is no admin. False when there is one already.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn keep_setup_token(&self, hash: KeyHash, now: Timestamp) -> Result<bool> {
        let mut tx = self.begin().await?;
        let kept = sqlx::query(
            "INSERT INTO setup_tokens (hash, created_at) SELECT $1, $2 WHERE NOT EXISTS (SELECT 1 FROM users WHERE role = 'admin')",
        )
        .bind(hash.as_bytes().as_slice())
        .bind(now.millis())
        .execute(&mut *tx)
        .await?
        .rows_affected();
        sqlx::query("DELETE FROM setup_tokens WHERE hash <> $1")
            .bind(hash.as_bytes().as_slice())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(kept > 0)
    }

    /// Whether this is a setup token that can still be used.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn find_setup_token(&self, hash: KeyHash) -> Result<bool> {
        let found = sqlx::query("SELECT 1 FROM setup_tokens WHERE hash = $1")
            .bind(hash.as_bytes().as_slice())
            .fetch_optional(&self.read)
            .await?;
        Ok(found.is_some())
    }
}
