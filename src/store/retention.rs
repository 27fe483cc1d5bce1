//! What leaves the audit trail, by age and by number.

use super::audit::last_number;
use super::columns::Columns;
use super::packed;
use super::trail::event;
use super::{Result, Store, Tx};
use crate::domain::time::Timestamp;

/// So many events go at a time, or those of a few rows more, so that writers never wait long.
const AT_A_TIME: i64 = 10_000;
/// So many rows go with one statement.
const ROWS: u8 = 128;

impl Store {
    /// Sweeps events older than `before`, and the oldest beyond `rows`; at most about ten thousand a time, and gives how
    /// many. Calls that share a row are as old as the newest of them; by number they go one by one.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn sweep_audit(&self, before: Timestamp, rows: i64) -> Result<u64> {
        let first_kept = self.first_row_from(before).await?;
        let mut tx = self.begin().await?;
        let newest = last_number(&mut tx).await?;
        let last = newest.saturating_sub(rows);
        let mut swept = 0;
        while swept < AT_A_TIME {
            let gone: Vec<i64> = sqlx::query_scalar(
                "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id < max($1, $2 + 1) AND (at < $3 OR id <= $2) ORDER BY id LIMIT $4) \
                 RETURNING iif(first_id IS NULL, 1, id - first_id + 1)",
            )
            .bind(first_kept)
            .bind(last)
            .bind(before.millis())
            .bind(i64::from(ROWS))
            .fetch_all(&mut *tx)
            .await?;
            swept += gone.iter().sum::<i64>();
            if gone.len() < usize::from(ROWS) {
                swept += cut(&mut tx, last).await?;
                break;
            }
        }
        // The numbers go on from there, whatever is left: where a clock was set back the newest may have gone.
        sqlx::query(
            "INSERT INTO meta (name, value) VALUES ('last_audit_id', CAST(CAST($1 AS TEXT) AS BLOB)) \
             ON CONFLICT DO UPDATE SET value = excluded.value",
        )
        .bind(newest)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(u64::try_from(swept).unwrap_or(0))
    }
}

/// Takes the calls up to number `last` out of the one row that may hold others as well. One that can't be read loses their
/// numbers only.
async fn cut(tx: &mut Tx, last: i64) -> Result<i64> {
    let found = sqlx::query(
        "SELECT a.*, c.calls FROM audit a LEFT JOIN audit_calls c ON c.id = a.id \
         WHERE a.id > $1 AND a.id < $1 + $2 AND a.first_id <= $1 LIMIT 1",
    )
    .bind(last)
    .bind(i64::from(packed::MOST))
    .fetch_optional(&mut **tx)
    .await?;
    let Some(found) = found else { return Ok(0) };
    let columns = Columns(&found);
    let id = columns.int("id")?;
    let first = columns.int("first_id")?;
    sqlx::query("UPDATE audit SET first_id = $2 + 1, count = id - $2 WHERE id = $1")
        .bind(id)
        .bind(last)
        .execute(&mut **tx)
        .await?;
    let calls = columns.text_or_none("calls")?.unwrap_or_default();
    if let Ok(row) = event(&found)
        && let Ok(mut calls) = packed::unpack(&row, first, &calls)
    {
        calls.retain(|call| call.id > last);
        let kept = packed::pack(&calls.iter().collect::<Vec<_>>());
        sqlx::query("UPDATE audit SET at = $2, bytes_up = $3, bytes_down = $4 WHERE id = $1")
            .bind(row.id)
            .bind(kept.at.millis())
            .bind(kept.bytes_up)
            .bind(kept.bytes_down)
            .execute(&mut **tx)
            .await?;
        sqlx::query("UPDATE audit_calls SET calls = $2 WHERE id = $1")
            .bind(row.id)
            .bind(kept.calls)
            .execute(&mut **tx)
            .await?;
    }
    Ok(last - first + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::AuditFilter;
    use crate::store::audit::tests::{all, call, filled, record, rows};

    #[tokio::test]
    async fn old_rows_and_rows_beyond_the_count_are_swept() {
        let (_directory, store) = filled(0..100).await;
        assert_eq!(store.sweep_audit(Timestamp::from_secs(40), 1_000).await.unwrap(), 40);
        assert_eq!(store.sweep_audit(Timestamp::from_secs(0), 25).await.unwrap(), 35);
        let left = store.list_audit(&AuditFilter { limit: 100, ..AuditFilter::default() }).await.unwrap();
        assert_eq!((left.len(), left[0].at, left[24].at), (25, Timestamp::from_secs(99), Timestamp::from_secs(75)));
    }

    #[tokio::test]
    async fn calls_that_share_a_row_go_by_number_one_by_one_and_leave_no_word_behind() {
        let (_directory, store) = filled(0..0).await;
        record(&store, &(0..384).map(|n| call(n, u8::try_from(n % 2).unwrap() + 3)).collect::<Vec<_>>()).await;
        let mut expected = all(&store).await;
        assert!(rows(&store).await.0 < 50);
        for kept in [383, 382, 300, 299, 255, 129, 128, 127, 126, 64, 1, 0] {
            let before = expected.len();
            expected.drain(..before - kept);
            let swept = store.sweep_audit(Timestamp::from_secs(0), i64::try_from(kept).unwrap()).await.unwrap();
            assert_eq!(swept, (before - kept) as u64);
            assert_eq!(format!("{:?}", all(&store).await), format!("{expected:?}"));
            for (text, bytes_up, bytes_down) in texts(&store).await {
                let calls: serde_json::Value = serde_json::from_str(&text).unwrap();
                let words = calls["words"].as_array().unwrap().len();
                let calls = calls["calls"].as_array().unwrap();
                let used = (0..words).filter(|word| {
                    calls.iter().any(|call| (1..5).any(|column| call[column].as_u64() == Some(*word as u64)))
                });
                assert_eq!(used.count(), words, "{text}");
                let sum = |column: usize| calls.iter().map(|call| call[column].as_i64().unwrap()).sum::<i64>();
                assert_eq!((sum(7), sum(8)), (bytes_up, bytes_down));
            }
        }
    }

    async fn texts(store: &Store) -> Vec<(String, i64, i64)> {
        sqlx::query_as("SELECT calls, bytes_up, bytes_down FROM audit_calls JOIN audit USING (id)")
            .fetch_all(&store.read)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn only_so_many_go_at_a_time() {
        let (_directory, store) = filled(0..0).await;
        let many = 60_000;
        record(&store, &(0..many).map(|n| call(n / 60, 3)).collect::<Vec<_>>()).await;
        let first = store.sweep_audit(Timestamp::from_secs(0), 100).await.unwrap();
        let mut all_swept = first;
        while all_swept < 59_900 {
            all_swept += store.sweep_audit(Timestamp::from_secs(0), 100).await.unwrap();
        }
        assert!((10_000..27_000).contains(&first), "{first}");
        assert_eq!((all_swept, all(&store).await.len()), (59_900, 100));
    }

    #[tokio::test]
    async fn no_number_is_given_twice_where_the_newest_rows_are_the_oldest_by_their_time() {
        // The clock was set back after the first five.
        let (_directory, store) = filled((0..10).map(|n| if n < 5 { 1_000 } else { 10 })).await;
        assert_eq!(store.sweep_audit(Timestamp::from_secs(500), 1_000).await.unwrap(), 5);
        record(&store, &[call(2_000, 3)]).await;
        assert_eq!(all(&store).await.iter().map(|event| event.id).max(), Some(11));
    }

    #[tokio::test]
    async fn a_row_with_a_damaged_column_goes_by_number_all_the_same() {
        let (_directory, store) = filled(0..0).await;
        record(&store, &(0..128).map(|n| call(4 * n % 3, 3)).collect::<Vec<_>>()).await;
        sqlx::query("UPDATE audit SET app = x'00'").execute(&store.write).await.unwrap();
        for (kept, swept) in [(100, 28), (1, 99), (0, 1)] {
            assert_eq!(store.sweep_audit(Timestamp::from_secs(0), kept).await.unwrap(), swept);
        }
    }

    #[tokio::test]
    async fn calls_that_cannot_be_read_go_by_number_all_the_same() {
        let (_directory, store) = filled(0..0).await;
        record(&store, &(0..128).map(|n| call(4 * n % 3, 3)).collect::<Vec<_>>()).await;
        sqlx::query("UPDATE audit_calls SET calls = '{'").execute(&store.write).await.unwrap();
        for (kept, swept) in [(100, 28), (100, 0), (1, 99), (0, 1)] {
            assert_eq!(store.sweep_audit(Timestamp::from_secs(0), kept).await.unwrap(), swept);
        }
        assert_eq!(rows(&store).await, (0, 0));
    }
}
