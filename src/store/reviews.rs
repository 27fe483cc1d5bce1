//! Reviews of who granted what: what there is to review, and the reviews that were signed off.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::columns::{Columns, key};
use super::{Result, Store};
use crate::domain::app::KeyHash;
use crate::domain::id::UserId;
use crate::domain::time::Timestamp;

/// What there is to review.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReviewCounts {
    /// Grants that are not disconnected.
    pub grants: i64,
    /// Those of them with scopes that were granted and never used.
    pub unused: i64,
    /// Live apps that have not called for long.
    pub stale: i64,
}

/// What a reviewer looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToReview {
    /// How much it is.
    pub counts: ReviewCounts,
    /// A digest of which grants are live and which apps are stale, with the scopes that each has.
    pub digest: String,
}

/// A review that was signed off.
#[derive(Clone, Debug)]
pub struct Review {
    /// When.
    pub at: Timestamp,
    /// By whom; none once the account is gone.
    pub user_name: Option<String>,
    /// What there was.
    pub counts: ReviewCounts,
    /// What the reviewer had to say.
    pub remark: String,
}

impl Store {
    /// What there is to review; apps are stale that have not called since `before`, or were made before it and
    /// never did.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn to_review(&self, before: Timestamp) -> Result<ToReview> {
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM grants WHERE status <> 'disconnected') AS grants, \
             (SELECT count(*) FROM grants WHERE status <> 'disconnected' AND (scopes_granted & ~scopes_used & 31 = 0) = 0) AS unused, \
             (SELECT count(*) FROM apps WHERE revoked_at IS NULL AND coalesce(last_used_at, created_at) < $1) AS stale, \
             (SELECT group_concat(hex(id) || scopes_granted ORDER BY id) FROM grants WHERE status <> 'disconnected') AS which_grants, \
             (SELECT group_concat(hex(id) || scopes ORDER BY id) FROM apps WHERE revoked_at IS NULL AND coalesce(last_used_at, created_at) < $1) AS which_apps",
        )
        .bind(before.millis())
        .fetch_one(&self.read)
        .await?;
        let row = Columns(&row);
        let which = |column| row.text_or_none(column).map(Option::unwrap_or_default);
        let all = format!("{} {}", which("which_grants")?, which("which_apps")?);
        let digest = URL_SAFE_NO_PAD.encode(KeyHash::of(all.as_bytes()).as_bytes());
        Ok(ToReview { counts: counts(&row)?, digest })
    }

    /// Keeps a review.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn keep_review(&self, by: UserId, at: Timestamp, counts: ReviewCounts, remark: &str) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("INSERT INTO reviews (at, user, grants, unused, stale, remark) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(at.millis())
            .bind(key(&by))
            .bind(counts.grants)
            .bind(counts.unused)
            .bind(counts.stale)
            .bind(remark)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// The newest reviews.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn list_reviews(&self, limit: u32) -> Result<Vec<Review>> {
        let rows = sqlx::query(
            "SELECT r.*, u.name AS user_name FROM reviews r LEFT JOIN users u ON u.id = r.user ORDER BY r.id DESC LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await?;
        rows.iter()
            .map(|row| {
                let row = Columns(row);
                Ok(Review {
                    at: row.time("at")?,
                    user_name: row.text_or_none("user_name")?,
                    counts: counts(&row)?,
                    remark: row.text("remark")?,
                })
            })
            .collect()
    }
}

fn counts(row: &Columns<'_>) -> Result<ReviewCounts> {
    Ok(ReviewCounts { grants: row.int("grants")?, unused: row.int("unused")?, stale: row.int("stale")? })
}
