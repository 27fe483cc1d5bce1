//! How many calls the apps of a user made, by span of time.

use super::columns::{Columns, key};
use super::{Result, Store};
use crate::domain::audit::kind;
use crate::domain::id::{AppId, UserId};
use crate::domain::time::Timestamp;

/// The calls of one app in one span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallCount {
    /// Which app.
    pub app: AppId,
    /// Which span, counted from the first moment.
    pub span: i64,
    /// How many calls.
    pub calls: i64,
    /// How many of them were refused.
    pub refused: i64,
}

impl Store {
    /// Counts the calls of a user's apps from `since` on, by spans of so many milliseconds; of each app the newest `most`.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn count_calls(&self, user: UserId, since: Timestamp, span_ms: i64, most: u32) -> Result<Vec<CallCount>> {
        let first = self.first_row_from(since).await?;
        let rows = sqlx::query(
            "SELECT a.app AS app, (a.at - $2) / $3 AS span, count(*) AS calls, sum(a.decision <> 'allowed') AS refused \
             FROM apps p JOIN audit a ON a.id IN \
             (SELECT id FROM audit WHERE app = p.id AND id >= $4 ORDER BY id DESC LIMIT $5) \
             WHERE p.user = $1 AND a.kind = $6 AND a.at >= $2 GROUP BY 1, 2 ORDER BY 2",
        )
        .bind(key(&user))
        .bind(since.millis())
        .bind(span_ms.max(1))
        .bind(first)
        .bind(i64::from(most))
        .bind(kind::CALL)
        .fetch_all(&self.read)
        .await?;
        rows.iter()
            .map(|row| {
                let row = Columns(row);
                Ok(CallCount {
                    app: row.id("app")?,
                    span: row.int("span")?,
                    calls: row.int("calls")?,
                    refused: row.int("refused")?,
                })
            })
            .collect()
    }
}
