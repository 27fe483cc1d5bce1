//! That users were told that a grant needs them: once an event, whichever process tells.

use super::columns::{Columns, key};
use super::{Result, Store};
use crate::domain::grant::ConsentReason;
use crate::domain::id::GrantId;
use crate::domain::time::Timestamp;

/// A grant that needs its user, at this token version and for this reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Notice {
    /// The grant.
    pub grant: GrantId,
    /// Its token version.
    pub version: i64,
    /// Why it needs its user.
    pub reason: ConsentReason,
}

/// A notice that is ours to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// How often it has been tried, with this time.
    pub attempts: i64,
    /// The ways by which it was told already, as bits that the teller gave.
    pub told: i64,
}

/// The answer to wanting to tell of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeAnswer {
    /// It is ours to tell.
    Ours(Claim),
    /// Somebody else tells, or it failed a moment ago: to be asked again then.
    Later(Timestamp),
    /// It was told, or given up.
    Settled,
    /// The grant has moved on.
    Outrun,
}

impl Store {
    /// Takes it upon the caller to tell of this until `until`, unless somebody has. Of any number of callers at
    /// once, one gets it.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn claim_notice(&self, notice: Notice, now: Timestamp, until: Timestamp) -> Result<NoticeAnswer> {
        let known = sqlx::query("SELECT retry_at FROM notices WHERE grant_id = $1 AND version = $2 AND reason = $3")
            .bind(key(&notice.grant))
            .bind(notice.version)
            .bind(notice.reason.as_str())
            .fetch_optional(&self.read)
            .await?;
        match known.map(|row| Columns(&row).time_or_none("retry_at")).transpose()? {
            Some(None) => return Ok(NoticeAnswer::Settled),
            Some(Some(at)) if at > now => return Ok(NoticeAnswer::Later(at)),
            _ => {}
        }
        let mut tx = self.begin().await?;
        let row = sqlx::query(
            "INSERT INTO notices (grant_id, version, reason, attempts, told, retry_at) \
             SELECT id, token_version, $3, 1, 0, $5 FROM grants WHERE id = $1 AND token_version = $2 AND status <> 'disconnected' \
             ON CONFLICT (grant_id) DO UPDATE SET \
             attempts = CASE WHEN version = excluded.version AND reason = excluded.reason THEN attempts + 1 ELSE 1 END, \
             told = CASE WHEN version = excluded.version AND reason = excluded.reason THEN told ELSE 0 END, \
             version = excluded.version, reason = excluded.reason, retry_at = excluded.retry_at \
             WHERE version <> excluded.version OR reason <> excluded.reason OR retry_at <= $4 \
             RETURNING attempts, told",
        )
        .bind(key(&notice.grant))
        .bind(notice.version)
        .bind(notice.reason.as_str())
        .bind(now.millis())
        .bind(until.millis())
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        let Some(row) = row else { return Ok(NoticeAnswer::Outrun) };
        let row = Columns(&row);
        Ok(NoticeAnswer::Ours(Claim { attempts: row.int("attempts")?, told: row.int("told")? }))
    }

    /// Notes by which ways a notice was told, and when it is to be tried again: never, when nothing is named.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn record_notice(&self, notice: Notice, told: i64, retry_at: Option<Timestamp>) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE notices SET told = $4, retry_at = $5 WHERE grant_id = $1 AND version = $2 AND reason = $3")
            .bind(key(&notice.grant))
            .bind(notice.version)
            .bind(notice.reason.as_str())
            .bind(told)
            .bind(retry_at.map(Timestamp::millis))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}
