//! Grants and their sealed tokens.

use sqlx::sqlite::SqliteRow;

use super::columns::{Columns, bits, key};
use super::{Result, Store, Tx};
use crate::domain::grant::{Binding, ConsentReason, Grant, ScopesSource};
use crate::domain::id::{GrantId, UserId};
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{AccessToken, DataKey, RefreshToken, Sealed};
use crate::domain::time::Timestamp;
use crate::domain::user::Label;

/// A grant with its sealed secrets; a disconnected one has none.
#[derive(Clone, Debug)]
pub struct GrantRecord {
    /// What may be shown.
    pub grant: Grant,
    /// Its own key, sealed under a master key.
    pub data_key: Option<Sealed<DataKey>>,
    /// The access token, sealed under the data key.
    pub access_token: Option<Sealed<AccessToken>>,
    /// The refresh token, sealed under the data key; pasted tokens have none.
    pub refresh_token: Option<Sealed<RefreshToken>>,
    /// When the scheduler should look at it.
    pub due_at: Option<Timestamp>,
}

/// A token pair on its way to being kept, and what came with it.
#[derive(Clone, Debug)]
pub struct KeptTokens {
    /// The access token, sealed for the new version.
    pub access_token: Sealed<AccessToken>,
    /// The refresh token, sealed for the new version.
    pub refresh_token: Option<Sealed<RefreshToken>>,
    /// What the provider gave, as far as it is known.
    pub scopes_granted: ScopeSet,
    /// How that is known.
    pub scopes_source: ScopesSource,
    /// When the access token expires, when that is known.
    pub expires_at: Option<Timestamp>,
    /// When the scheduler should look at it again.
    pub due_at: Option<Timestamp>,
    /// The provider's name for the account, when the token told.
    pub provider_account: Option<String>,
}

/// A new grant on its way to being kept.
#[derive(Clone, Debug)]
pub struct NewGrant {
    /// What may be shown; its `token_version` is the version that the tokens are sealed for.
    pub grant: Grant,
    /// Its own key, sealed.
    pub data_key: Sealed<DataKey>,
    /// The id of the master key that sealed it.
    pub master_key_id: String,
    /// Its tokens.
    pub tokens: KeptTokens,
}

/// What became of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// It was written.
    Done,
    /// Somebody else wrote a newer version first: read again.
    Outrun,
    /// The grant was ended meanwhile: never bring it back.
    Gone,
}

/// Reads a grant's columns.
pub(super) fn grant(row: &SqliteRow) -> Result<Grant> {
    let row = Columns(row);
    Ok(Grant {
        id: row.id("id")?,
        user: row.id("user")?,
        label: row.parsed("label")?,
        kind: row.parsed("kind")?,
        status: row.parsed("status")?,
        reason: row.parsed_or_none("reason")?,
        scopes_requested: row.scopes("scopes_requested")?,
        scopes_granted: row.scopes("scopes_granted")?,
        scopes_source: row.parsed("scopes_source")?,
        scopes_used: row.scopes("scopes_used")?,
        created_at: row.time("created_at")?,
        refreshed_at: row.time_or_none("refreshed_at")?,
        last_used_at: row.time_or_none("last_used_at")?,
        expires_at: row.time_or_none("expires_at")?,
        token_version: row.int("token_version")?,
        binding: Binding {
            api_origin: row.text("api_origin")?,
            mcp_origin: row.text("mcp_origin")?,
            token_origin: row.text("token_origin")?,
            client_id: row.text("client_id")?,
        },
        provider_account: row.text_or_none("provider_account")?,
    })
}

pub(super) fn record(row: &SqliteRow) -> Result<GrantRecord> {
    let grant = grant(row)?;
    let row = Columns(row);
    Ok(GrantRecord {
        grant,
        data_key: row.sealed("data_key")?,
        access_token: row.sealed("access_token")?,
        refresh_token: row.sealed("refresh_token")?,
        due_at: row.time_or_none("due_at")?,
    })
}

impl Store {
    /// Keeps a new grant with its tokens.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn keep_grant(&self, new: &NewGrant) -> Result<()> {
        let mut tx = self.begin().await?;
        let (grant, tokens) = (&new.grant, &new.tokens);
        sqlx::query(
            "INSERT INTO grants (id, user, label, kind, status, scopes_requested, scopes_granted, scopes_source, created_at, refreshed_at, \
             expires_at, due_at, token_version, data_key, master_key_id, access_token, refresh_token, api_origin, mcp_origin, token_origin, \
             client_id, provider_account) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)",
        )
        .bind(key(&grant.id))
        .bind(key(&grant.user))
        .bind(grant.label.as_str())
        .bind(grant.kind.as_str())
        .bind(grant.status.as_str())
        .bind(bits(grant.scopes_requested))
        .bind(bits(tokens.scopes_granted))
        .bind(tokens.scopes_source.as_str())
        .bind(grant.created_at.millis())
        .bind(tokens.expires_at.map(Timestamp::millis))
        .bind(tokens.due_at.map(Timestamp::millis))
        .bind(grant.token_version)
        .bind(new.data_key.envelope())
        .bind(&new.master_key_id)
        .bind(tokens.access_token.envelope())
        .bind(tokens.refresh_token.as_ref().map(Sealed::envelope))
        .bind(&grant.binding.api_origin)
        .bind(&grant.binding.mcp_origin)
        .bind(&grant.binding.token_origin)
        .bind(&grant.binding.client_id)
        .bind(&tokens.provider_account)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Puts a renewal's tokens in place of whatever version stands, and makes the grant active: its user has just consented
    /// anew. `renewal.grant` names what was requested and the binding; its `token_version` is the version that the tokens
    /// are sealed for. `Outrun` when a newer version stands, `Gone` when the grant was disconnected or removed.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn replace_tokens_by_consent(&self, renewal: &NewGrant, now: Timestamp) -> Result<Swap> {
        let (grant, tokens) = (&renewal.grant, &renewal.tokens);
        let mut tx = self.begin().await?;
        let done = sqlx::query(
            "UPDATE grants SET status = 'active', reason = NULL, scopes_requested = $2, scopes_granted = $3, scopes_source = $4, \
             refreshed_at = $5, expires_at = $6, due_at = $7, token_version = $8, data_key = $9, master_key_id = $10, \
             access_token = $11, refresh_token = $12, api_origin = $13, mcp_origin = $14, token_origin = $15, client_id = $16, \
             provider_account = coalesce($17, provider_account), lease_owner = NULL, refresh_failures = 0 \
             WHERE id = $1 AND token_version < $8 AND status <> 'disconnected'",
        )
        .bind(key(&grant.id))
        .bind(bits(grant.scopes_requested))
        .bind(bits(tokens.scopes_granted))
        .bind(tokens.scopes_source.as_str())
        .bind(now.millis())
        .bind(tokens.expires_at.map(Timestamp::millis))
        .bind(tokens.due_at.map(Timestamp::millis))
        .bind(grant.token_version)
        .bind(renewal.data_key.envelope())
        .bind(&renewal.master_key_id)
        .bind(tokens.access_token.envelope())
        .bind(tokens.refresh_token.as_ref().map(Sealed::envelope))
        .bind(&grant.binding.api_origin)
        .bind(&grant.binding.mcp_origin)
        .bind(&grant.binding.token_origin)
        .bind(&grant.binding.client_id)
        .bind(&tokens.provider_account)
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return missed(&mut tx, grant.id).await;
        }
        sqlx::query("DELETE FROM refresh_journal WHERE grant_id = $1").bind(key(&grant.id)).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(Swap::Done)
    }

    /// Marks a grant as needing its user, if it still holds the version that was judged. `Outrun` when it moved on.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn replace_with_needs_consent(&self, id: GrantId, version: i64, reason: ConsentReason) -> Result<Swap> {
        let mut tx = self.begin().await?;
        let done = sqlx::query(
            "UPDATE grants SET status = 'needs_consent', reason = $3, due_at = NULL, lease_owner = NULL \
             WHERE id = $1 AND token_version = $2 AND status <> 'disconnected'",
        )
        .bind(key(&id))
        .bind(version)
        .bind(reason.as_str())
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return missed(&mut tx, id).await;
        }
        sqlx::query("DELETE FROM refresh_journal WHERE grant_id = $1 AND spent_version = $2")
            .bind(key(&id))
            .bind(version)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Swap::Done)
    }

    /// Ends a grant here and forgets its secrets. Gives what it was, so that it can be revoked at the provider too.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn take_grant_secrets(&self, id: GrantId) -> Result<Option<GrantRecord>> {
        let mut tx = self.begin().await?;
        let row = sqlx::query("SELECT * FROM grants WHERE id = $1 AND status <> 'disconnected'")
            .bind(key(&id))
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let record = record(&row)?;
        sqlx::query(
            "UPDATE grants SET status = 'disconnected', reason = NULL, due_at = NULL, data_key = NULL, master_key_id = NULL, \
             access_token = NULL, refresh_token = NULL, lease_owner = NULL WHERE id = $1",
        )
        .bind(key(&id))
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM refresh_journal WHERE grant_id = $1").bind(key(&id)).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(Some(record))
    }

    /// Gives a grant another label. False when it is gone.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn replace_label(&self, id: GrantId, label: &Label) -> Result<bool> {
        let mut tx = self.begin().await?;
        let done = sqlx::query("UPDATE grants SET label = $2 WHERE id = $1")
            .bind(key(&id))
            .bind(label.as_str())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// Finds a grant with its sealed secrets, of this user if one is named.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn find_grant(&self, id: GrantId, of: Option<UserId>) -> Result<Option<GrantRecord>> {
        let row = sqlx::query("SELECT * FROM grants WHERE id = $1 AND ($2 IS NULL OR user = $2)")
            .bind(key(&id))
            .bind(of.as_ref().map(key))
            .fetch_optional(&self.read)
            .await?;
        row.as_ref().map(record).transpose()
    }

    /// Every grant that still has secrets, as it is sealed.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn list_live_grants(&self) -> Result<Vec<GrantRecord>> {
        let rows = sqlx::query("SELECT * FROM grants WHERE status <> 'disconnected'").fetch_all(&self.read).await?;
        rows.iter().map(record).collect()
    }
}

/// Why a conditional write found nothing to write to.
pub(super) async fn missed(tx: &mut Tx, id: GrantId) -> Result<Swap> {
    let status: Option<String> =
        sqlx::query_scalar("SELECT status FROM grants WHERE id = $1").bind(key(&id)).fetch_optional(&mut **tx).await?;
    Ok(match status.as_deref() {
        None | Some("disconnected") => Swap::Gone,
        Some(_) => Swap::Outrun,
    })
}
