//! Authorization requests that were begun and not yet answered (RFC 6749 4.1.1).

use sqlx::sqlite::SqliteRow;

use super::columns::{Columns, bits, key};
use super::{Result, Store};
use crate::domain::app::KeyHash;
use crate::domain::authorization::AuthorizationRequest;
use crate::domain::id::UserId;
use crate::domain::secret::Sealed;
use crate::domain::time::Timestamp;

impl Store {
    /// Keeps a request; of one user the 20 newest stay.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn keep_authorization(&self, request: &AuthorizationRequest) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO authorization_requests (state_hash, user, browser_hash, grant_id, label, scopes, verifier, redirect_uri, return_to, begun_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(request.state_hash.as_bytes().as_slice())
        .bind(key(&request.user))
        .bind(request.browser_hash.as_bytes().as_slice())
        .bind(request.grant.as_ref().map(key))
        .bind(request.label.as_str())
        .bind(bits(request.scopes))
        .bind(request.verifier.envelope())
        .bind(&request.redirect_uri)
        .bind(&request.return_to)
        .bind(request.begun_at.millis())
        .bind(request.expires_at.millis())
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "DELETE FROM authorization_requests WHERE user = $1 AND state_hash NOT IN \
             (SELECT state_hash FROM authorization_requests WHERE user = $1 ORDER BY begun_at DESC LIMIT 20)",
        )
        .bind(key(&request.user))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Takes a request out by its state: whoever comes second finds none. Expired ones are given too, to be told apart.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn take_authorization(&self, state_hash: KeyHash) -> Result<Option<AuthorizationRequest>> {
        let mut tx = self.begin().await?;
        let row = sqlx::query("DELETE FROM authorization_requests WHERE state_hash = $1 RETURNING *")
            .bind(state_hash.as_bytes().as_slice())
            .fetch_optional(&mut *tx)
            .await?;
        tx.commit().await?;
        row.as_ref().map(request_of).transpose()
    }

    /// A request by its state, which goes on waiting.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn find_authorization(&self, state_hash: KeyHash) -> Result<Option<AuthorizationRequest>> {
        let row = sqlx::query("SELECT * FROM authorization_requests WHERE state_hash = $1")
            .bind(state_hash.as_bytes().as_slice())
            .fetch_optional(&self.read)
            .await?;
        row.as_ref().map(request_of).transpose()
    }

    /// When this user last began a request that was never answered, if one is open.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn find_open_authorization(&self, user: UserId, now: Timestamp) -> Result<Option<Timestamp>> {
        let row = sqlx::query(
            "SELECT max(begun_at) AS begun_at FROM authorization_requests WHERE user = $1 AND expires_at > $2",
        )
        .bind(key(&user))
        .bind(now.millis())
        .fetch_one(&self.read)
        .await?;
        Columns(&row).time_or_none("begun_at")
    }
}

fn request_of(row: &SqliteRow) -> Result<AuthorizationRequest> {
    let row = Columns(row);
    Ok(AuthorizationRequest {
        state_hash: row.hash("state_hash")?,
        user: row.id("user")?,
        browser_hash: row.hash("browser_hash")?,
        grant: row.id_or_none("grant_id")?,
        label: row.parsed("label")?,
        scopes: row.scopes("scopes")?,
        verifier: Sealed::from_envelope(row.bytes("verifier")?),
        redirect_uri: row.text("redirect_uri")?,
        return_to: row.text_or_none("return_to")?,
        begun_at: row.time("begun_at")?,
        expires_at: row.time("expires_at")?,
    })
}
