//! The store's part of the refresh protocol: the lease, the journal, and the writes that only the spent version allows.

use sqlx::Row as _;

use super::columns::{Columns, bits, key};
use super::grants::{missed, record};
use super::{GrantRecord, KeptTokens, Result, Store, StoreError, Swap};
use crate::domain::grant::GrantStatus;
use crate::domain::id::GrantId;
use crate::domain::secret::Sealed;
use crate::domain::time::Timestamp;

/// Names a running process among those that share the database.
pub type ProcessId = [u8; 16];

/// A minute, in milliseconds.
const MINUTE: i64 = 60_000;

/// Who holds a lease, and how far its beat has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseMark {
    /// Whose it is; nobody's, when free.
    pub owner: Option<ProcessId>,
    /// Counts up while its owner works.
    pub beat: i64,
    /// The grant's token version.
    pub version: i64,
}

/// An open row of the journal: this version was about to be spent, or is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenSpending {
    /// The token version.
    pub version: i64,
    /// When the spending began.
    pub begun_at: Timestamp,
}

/// A grant as it is found inside the lease.
#[derive(Clone, Debug)]
pub struct RefreshRow {
    /// The grant with its sealed secrets.
    pub record: GrantRecord,
    /// Refreshes that failed since the last that did not.
    pub failures: u32,
    /// A spending that nobody has closed.
    pub open: Option<OpenSpending>,
}

/// The answer to asking for a lease.
#[derive(Clone, Debug)]
pub enum LeaseAnswer {
    /// It is ours.
    Taken(Box<RefreshRow>),
    /// Somebody else holds it.
    Held(LeaseMark),
    /// The grant was ended, or never was.
    Gone,
}

/// The answer to beginning to spend a token version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpendAnswer {
    /// It is in the journal, on disk: send.
    Begun,
    /// The lease is no longer ours, or the version no longer stands: send nothing.
    Outrun,
    /// All processes together have sent as many requests as a minute may hold.
    Limited {
        /// How many milliseconds to wait.
        wait: i64,
    },
}

/// How a refresh that gave no tokens leaves the grant.
#[derive(Clone, Copy, Debug)]
pub struct Unfinished {
    /// `active` when the provider has not rotated, `uncertain` when that is not known.
    pub status: GrantStatus,
    /// When to look again.
    pub due_at: Option<Timestamp>,
    /// Refreshes that failed in a row, with this one.
    pub failures: u32,
    /// Whether the lease is given back.
    pub release: bool,
}

/// A grant that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueGrant {
    /// Names it.
    pub id: GrantId,
    /// The token version that is due.
    pub version: i64,
}

impl Store {
    /// Who holds a grant's lease. Nothing when the grant is gone.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn find_lease(&self, id: GrantId) -> Result<Option<LeaseMark>> {
        let row = sqlx::query(
            "SELECT lease_owner, lease_beat, token_version FROM grants WHERE id = $1 AND status <> 'disconnected'",
        )
        .bind(key(&id))
        .fetch_optional(&self.read)
        .await?;
        row.as_ref().map(mark).transpose()
    }

    /// Takes a grant's lease if it is free, our own already, or still as `stale` saw it stand still; and reads the grant
    /// inside it. Of any number of callers at once, one gets it.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn take_lease(&self, id: GrantId, me: ProcessId, stale: Option<LeaseMark>) -> Result<LeaseAnswer> {
        let mut tx = self.begin().await?;
        let row = sqlx::query("SELECT * FROM grants WHERE id = $1 AND status <> 'disconnected'")
            .bind(key(&id))
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(LeaseAnswer::Gone) };
        let held = mark(&row)?;
        let free = held.owner.is_none_or(|owner| owner == me) || stale.is_some_and(|stale| stale == held);
        if !free {
            return Ok(LeaseAnswer::Held(held));
        }
        let open = sqlx::query("SELECT spent_version, begun_at FROM refresh_journal WHERE grant_id = $1")
            .bind(key(&id))
            .fetch_optional(&mut *tx)
            .await?;
        let open = open.as_ref().map(|row| {
            let row = Columns(row);
            Ok::<_, StoreError>(OpenSpending { version: row.int("spent_version")?, begun_at: row.time("begun_at")? })
        });
        let failures = u32::try_from(Columns(&row).int("refresh_failures")?).unwrap_or(0);
        let found = RefreshRow { record: record(&row)?, failures, open: open.transpose()? };
        sqlx::query("UPDATE grants SET lease_owner = $2, lease_beat = lease_beat + 1 WHERE id = $1")
            .bind(key(&id))
            .bind(me.as_slice())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(LeaseAnswer::Taken(Box::new(found)))
    }

    /// Counts a lease's beat up. False when it is no longer ours.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn beat(&self, id: GrantId, me: ProcessId) -> Result<bool> {
        let mut tx = self.begin().await?;
        let done = sqlx::query("UPDATE grants SET lease_beat = lease_beat + 1 WHERE id = $1 AND lease_owner = $2")
            .bind(key(&id))
            .bind(me.as_slice())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// Gives a lease back, if it is still ours.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn release_lease(&self, id: GrantId, me: ProcessId) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE grants SET lease_owner = NULL WHERE id = $1 AND lease_owner = $2")
            .bind(key(&id))
            .bind(me.as_slice())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Writes into the journal that a token version is about to be spent, if the lease is ours and the version stands,
    /// and if all processes together have sent fewer than `rate` requests in the last minute. Once it says `Begun`, it
    /// is on disk. `look_at` is when the scheduler should look at the grant if nobody closes the row.
    ///
    /// # Errors
    /// [`StoreError`]: then nothing may be sent.
    pub async fn begin_spending(
        &self,
        id: GrantId,
        me: ProcessId,
        version: i64,
        rate: u32,
        now: Timestamp,
        look_at: Timestamp,
    ) -> Result<SpendAnswer> {
        let mut tx = self.begin().await?;
        // Also rows that a clock put back left in the future.
        sqlx::query("DELETE FROM token_requests WHERE at <= $1 OR at > $2")
            .bind(now.millis() - MINUTE)
            .bind(now.millis())
            .execute(&mut *tx)
            .await?;
        let row = sqlx::query("SELECT count(*) AS sent, coalesce(min(at), 0) AS oldest FROM token_requests")
            .fetch_one(&mut *tx)
            .await?;
        if Columns(&row).int("sent")? >= i64::from(rate.max(1)) {
            let wait = Columns(&row).int("oldest")? + MINUTE - now.millis();
            return Ok(SpendAnswer::Limited { wait: wait.clamp(1, MINUTE) });
        }
        let begun = sqlx::query(
            "UPDATE grants SET status = 'refreshing', due_at = $4 WHERE id = $1 AND lease_owner = $2 AND token_version = $3 \
             AND status IN ('active', 'refreshing', 'uncertain')",
        )
        .bind(key(&id))
        .bind(me.as_slice())
        .bind(version)
        .bind(look_at.millis())
        .execute(&mut *tx)
        .await?;
        if begun.rows_affected() == 0 {
            return Ok(SpendAnswer::Outrun);
        }
        sqlx::query(
            "INSERT INTO refresh_journal (grant_id, spent_version, owner, begun_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (grant_id) DO UPDATE SET spent_version = excluded.spent_version, owner = excluded.owner, begun_at = excluded.begun_at",
        )
        .bind(key(&id))
        .bind(version)
        .bind(me.as_slice())
        .bind(now.millis())
        .execute(&mut *tx)
        .await?;
        sqlx::query("INSERT INTO token_requests (at) VALUES ($1)").bind(now.millis()).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(SpendAnswer::Begun)
    }

    /// Keeps the tokens that spending `spent` gave, and closes the journal, in one transaction. Taken out of every status
    /// but `disconnected`, and whoever holds the lease, as long as the spent version still stands.
    ///
    /// # Errors
    /// [`StoreError`]: then the tokens must be kept elsewhere.
    pub async fn replace_tokens_by_refresh(
        &self,
        id: GrantId,
        spent: i64,
        tokens: &KeptTokens,
        failures: u32,
        now: Timestamp,
    ) -> Result<Swap> {
        let mut tx = self.begin().await?;
        let done = sqlx::query(
            "UPDATE grants SET status = 'active', reason = NULL, scopes_granted = $3, scopes_source = $4, refreshed_at = $5, \
             expires_at = $6, due_at = $7, token_version = $2 + 1, access_token = $8, refresh_token = $9, \
             provider_account = coalesce($10, provider_account), lease_owner = NULL, refresh_failures = $11 \
             WHERE id = $1 AND token_version = $2 AND status <> 'disconnected'",
        )
        .bind(key(&id))
        .bind(spent)
        .bind(bits(tokens.scopes_granted))
        .bind(tokens.scopes_source.as_str())
        .bind(now.millis())
        .bind(tokens.expires_at.map(Timestamp::millis))
        .bind(tokens.due_at.map(Timestamp::millis))
        .bind(tokens.access_token.envelope())
        .bind(tokens.refresh_token.as_ref().map(Sealed::envelope))
        .bind(&tokens.provider_account)
        .bind(i64::from(failures))
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return missed(&mut tx, id).await;
        }
        sqlx::query("DELETE FROM refresh_journal WHERE grant_id = $1").bind(key(&id)).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(Swap::Done)
    }

    /// Keeps how a refresh that gave no tokens leaves the grant, if the lease is still ours and the version stands. The
    /// journal is closed unless the status is `uncertain`.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn keep_unfinished(&self, id: GrantId, me: ProcessId, version: i64, left: Unfinished) -> Result<Swap> {
        let mut tx = self.begin().await?;
        let done = sqlx::query(
            "UPDATE grants SET status = $4, due_at = $5, refresh_failures = $6, \
             lease_owner = CASE WHEN $7 THEN NULL ELSE lease_owner END \
             WHERE id = $1 AND lease_owner = $2 AND token_version = $3 AND status IN ('active', 'refreshing', 'uncertain')",
        )
        .bind(key(&id))
        .bind(me.as_slice())
        .bind(version)
        .bind(left.status.as_str())
        .bind(left.due_at.map(Timestamp::millis))
        .bind(i64::from(left.failures))
        .bind(left.release)
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return missed(&mut tx, id).await;
        }
        if left.status != GrantStatus::Uncertain {
            sqlx::query("DELETE FROM refresh_journal WHERE grant_id = $1").bind(key(&id)).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(Swap::Done)
    }

    /// The grants that are due, the longest due first; by the index, so that only these are read.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn list_due(&self, now: Timestamp, limit: u32) -> Result<Vec<DueGrant>> {
        let rows = sqlx::query("SELECT id, token_version FROM grants WHERE due_at <= $1 ORDER BY due_at LIMIT $2")
            .bind(now.millis())
            .bind(i64::from(limit))
            .fetch_all(&self.read)
            .await?;
        rows.iter()
            .map(|row| Ok(DueGrant { id: Columns(row).id("id")?, version: Columns(row).int("token_version")? }))
            .collect()
    }

    /// Puts off when the scheduler looks at a grant, if this version still stands.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn postpone(&self, id: GrantId, version: i64, due_at: Option<Timestamp>) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE grants SET due_at = $3 WHERE id = $1 AND token_version = $2")
            .bind(key(&id))
            .bind(version)
            .bind(due_at.map(Timestamp::millis))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

fn mark(row: &sqlx::sqlite::SqliteRow) -> Result<LeaseMark> {
    let owner: Option<&[u8]> = row.try_get("lease_owner")?;
    let owner = owner.map(ProcessId::try_from).transpose();
    Ok(LeaseMark {
        owner: owner
            .map_err(|_| StoreError::Damaged("a lease has an owner that was never written there".to_owned()))?,
        beat: Columns(row).int("lease_beat")?,
        version: Columns(row).int("token_version")?,
    })
}
