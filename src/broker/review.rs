//! The access review: what there is to look at, and that an administrator has looked.

use std::time::Duration;

use super::Broker;
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::time::Timestamp;
use crate::domain::user::{User, is_unprintable};
use crate::store::{Review, StoreError, ToReview};

/// An app that has not called for so long is stale.
const STALE: Duration = Duration::from_secs(90 * 86_400);
/// The longest remark, in characters.
const LONGEST_REMARK: usize = 1_000;

/// Why a review was not signed off.
#[derive(Debug, thiserror::Error)]
pub enum ReviewRefusal {
    /// What there is to review is not what the reviewer saw.
    #[error("The list has changed since you opened it. Look at it again, then sign it off.")]
    Changed,
    /// The remark is too long, or holds what cannot be printed.
    #[error("must be at most 1,000 characters that can be printed")]
    BadRemark,
    /// The database is not available.
    #[error(transparent)]
    Storage(#[from] StoreError),
}

impl Broker {
    /// Since when an app must have called not to be stale.
    #[must_use]
    pub fn stale_before(&self) -> Timestamp {
        self.clock.now().minus(STALE)
    }

    /// What there is to review.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn to_review(&self) -> Result<ToReview, StoreError> {
        self.store.to_review(self.stale_before()).await
    }

    /// Keeps that somebody has reviewed what they `saw`.
    ///
    /// # Errors
    /// [`ReviewRefusal`]
    pub async fn sign_off_review(&self, by: &User, saw: &ToReview, remark: &str) -> Result<(), ReviewRefusal> {
        let remark = remark.trim().replace("\r\n", "\n");
        if remark.chars().count() > LONGEST_REMARK || remark.chars().any(|c| is_unprintable(c) && c != '\n') {
            return Err(ReviewRefusal::BadRemark);
        }
        if self.to_review().await? != *saw {
            return Err(ReviewRefusal::Changed);
        }
        let saw = saw.counts;
        let now = self.clock.now();
        self.store.keep_review(by.id, now, saw, &remark).await?;
        let words = format!("{} grants, {} with unused scopes, {} stale apps", saw.grants, saw.unused, saw.stale);
        self.trail.record(AuditEvent::change(now, kind::REVIEW_SIGNED_OFF, Some(by.id)).about(&words));
        Ok(())
    }

    /// The newest reviews.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn list_reviews(&self, limit: u32) -> Result<Vec<Review>, StoreError> {
        self.store.list_reviews(limit).await
    }
}
