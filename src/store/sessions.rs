//! Sign-in sessions: the id is kept as a hash only, so that a copied database signs nobody in.

use super::columns::{Columns, key};
use super::{Result, Store};
use crate::domain::app::KeyHash;
use crate::domain::id::UserId;
use crate::domain::time::Timestamp;

/// A session as it is kept.
#[derive(Clone, Debug)]
pub struct KeptSession {
    /// The digest of its id.
    pub id_hash: KeyHash,
    /// Whose it is.
    pub user: UserId,
    /// What the pages keep in it, as JSON; never a secret.
    pub data: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends unless it is used.
    pub expires_at: Timestamp,
}

impl Store {
    /// Keeps a session, over what stood under its id. Nothing is kept for an account that is gone or shut out.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn keep_session(&self, session: &KeptSession) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO sessions (id_hash, user, data, created_at, expires_at) \
             SELECT $1, id, $3, $4, $5 FROM users WHERE id = $2 AND disabled_at IS NULL \
             ON CONFLICT (id_hash) DO UPDATE SET data = excluded.data, expires_at = excluded.expires_at",
        )
        .bind(session.id_hash.as_bytes().as_slice())
        .bind(key(&session.user))
        .bind(&session.data)
        .bind(session.created_at.millis())
        .bind(session.expires_at.millis())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Keeps what changed in a session that is there. False when it was ended meanwhile: it is not brought back.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn replace_session(&self, session: &KeptSession) -> Result<bool> {
        let mut tx = self.begin().await?;
        let done = sqlx::query("UPDATE sessions SET data = $3, expires_at = $4 WHERE id_hash = $1 AND user = $2")
            .bind(session.id_hash.as_bytes().as_slice())
            .bind(key(&session.user))
            .bind(&session.data)
            .bind(session.expires_at.millis())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// Finds a session that has not ended.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn find_session(&self, id_hash: KeyHash, now: Timestamp) -> Result<Option<KeptSession>> {
        let row = sqlx::query("SELECT * FROM sessions WHERE id_hash = $1 AND expires_at > $2")
            .bind(id_hash.as_bytes().as_slice())
            .bind(now.millis())
            .fetch_optional(&self.read)
            .await?;
        row.map(|row| {
            let row = Columns(&row);
            Ok(KeptSession {
                id_hash: row.hash("id_hash")?,
                user: row.id("user")?,
                data: row.text("data")?,
                created_at: row.time("created_at")?,
                expires_at: row.time("expires_at")?,
            })
        })
        .transpose()
    }

    /// The sessions of an account that have not ended, newest first.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn list_sessions(&self, user: UserId, now: Timestamp) -> Result<Vec<(KeyHash, Timestamp, Timestamp)>> {
        let rows = sqlx::query("SELECT id_hash, created_at, expires_at FROM sessions WHERE user = $1 AND expires_at > $2 ORDER BY created_at DESC")
            .bind(key(&user))
            .bind(now.millis())
            .fetch_all(&self.read)
            .await?;
        rows.iter()
            .map(|row| {
                let row = Columns(row);
                Ok((row.hash("id_hash")?, row.time("created_at")?, row.time("expires_at")?))
            })
            .collect()
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn drop_session(&self, id_hash: KeyHash) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM sessions WHERE id_hash = $1")
            .bind(id_hash.as_bytes().as_slice())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Ends every session of an account but the one that is kept.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn drop_sessions(&self, user: UserId, keep: Option<KeyHash>) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM sessions WHERE user = $1 AND id_hash IS NOT $2")
            .bind(key(&user))
            .bind(keep.map(|hash| hash.as_bytes().to_vec()))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Sweeps what is past its time: sessions, authorization requests, invitations, rolled keys.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn sweep(&self, now: Timestamp) -> Result<u64> {
        let mut tx = self.begin().await?;
        let mut swept = 0;
        for statement in [
            "DELETE FROM sessions WHERE expires_at <= $1",
            "DELETE FROM authorization_requests WHERE expires_at <= $1",
            "DELETE FROM invitations WHERE expires_at <= $1",
            "DELETE FROM app_keys WHERE valid_until <= $1",
        ] {
            swept += sqlx::query(statement).bind(now.millis()).execute(&mut *tx).await?.rows_affected();
        }
        // Readers of the log of changes are never a day behind.
        sqlx::query("DELETE FROM changes WHERE revision < (SELECT max(revision) FROM changes) - 100000")
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(swept)
    }
}
