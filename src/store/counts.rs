//! How many calls apps made, by span of time.

use sqlx::{QueryBuilder, Sqlite};

use super::columns::{Columns, key};
use super::{Result, Store};
use crate::domain::audit::kind;
use crate::domain::id::{AppId, UserId};
use crate::domain::time::Timestamp;

/// So few rows are read one by one.
const FEW: i64 = 5_000;

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
    /// So many rows were looked at for that.
    pub rows: i64,
}

/// The calls of one decision in one span of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionCount {
    /// Which span, counted from the first moment.
    pub span: i64,
    /// `allowed`, or the refusal's code.
    pub decision: String,
    /// How many calls.
    pub calls: i64,
    /// So many rows were looked at for that.
    pub rows: i64,
}

/// Whose calls are counted: everybody's where none is named.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallsOf {
    /// Of the apps of this user.
    pub user: Option<UserId>,
    /// Of this app.
    pub app: Option<AppId>,
}

impl Store {
    /// Counts calls from `since` on by decision and by spans of so many milliseconds; of all of them, or of each app where
    /// some are named, in the newest `most` rows, each of which may stand for many calls.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn count_decisions(
        &self,
        of: CallsOf,
        since: Timestamp,
        span_ms: i64,
        most: u32,
    ) -> Result<Vec<DecisionCount>> {
        let first = self.first_row_from(since).await?;
        let mut query = QueryBuilder::<Sqlite>::new("SELECT (at - ");
        query.push_bind(since.millis()).push(") / ").push_bind(span_ms.max(1));
        query
            .push(" AS span, decision, sum(count) AS calls, count(*) AS rows FROM audit WHERE kind = ")
            .push_bind(kind::CALL);
        query.push(" AND at >= ").push_bind(since.millis());
        let newest = |query: &mut QueryBuilder<Sqlite>| {
            query.push("id >= ").push_bind(first).push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(most));
        };
        if let Some(app) = &of.app {
            query
                .push(" AND id IN (SELECT id FROM audit WHERE app = ")
                .push_bind(app.as_bytes().to_vec())
                .push(" AND ");
            newest(&mut query);
            query.push(")");
            if let Some(user) = &of.user {
                query.push(" AND user = ").push_bind(user.as_bytes().to_vec());
            }
        } else if let Some(user) = &of.user {
            query.push(" AND id IN (SELECT a.id FROM apps p JOIN audit a ON a.id IN (SELECT id FROM audit WHERE app = p.id AND ");
            newest(&mut query);
            query.push(") WHERE p.user = ").push_bind(user.as_bytes().to_vec()).push(")");
        } else {
            // From the oldest row that is looked at, found without reading those before it.
            query.push(" AND id >= (SELECT min(id) FROM (SELECT id FROM audit WHERE ");
            newest(&mut query);
            query.push("))");
        }
        query.push(" GROUP BY 1, 2 ORDER BY 1, 3 DESC");
        let rows = query.build().fetch_all(&self.read).await?;
        rows.iter()
            .map(|row| {
                let row = Columns(row);
                Ok(DecisionCount {
                    span: row.int("span")?,
                    decision: row.text("decision")?,
                    calls: row.int("calls")?,
                    rows: row.int("rows")?,
                })
            })
            .collect()
    }

    /// Counts the calls of a user's apps from `since` on, by spans of so many milliseconds; of each app those in the
    /// newest `most` rows, each of which may stand for many calls.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn count_calls(&self, user: UserId, since: Timestamp, span_ms: i64, most: u32) -> Result<Vec<CallCount>> {
        let first = self.first_row_from(since).await?;
        let newest: i64 = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM audit").fetch_one(&self.read).await?;
        // Where little happened, all of it is looked at, instead of a look at each app.
        let statement = if newest - first < FEW {
            "SELECT app, (at - $2) / $3 AS span, sum(count) AS calls, sum(iif(decision <> 'allowed', count, 0)) AS refused, count(*) AS rows \
             FROM audit NOT INDEXED WHERE user = $1 AND app IS NOT NULL AND id >= $4 AND kind = $6 AND at >= $2 \
             GROUP BY 1, 2 ORDER BY 2"
        } else {
            "SELECT a.app AS app, (a.at - $2) / $3 AS span, sum(a.count) AS calls, sum(iif(a.decision <> 'allowed', a.count, 0)) AS refused, count(*) AS rows \
             FROM apps p JOIN audit a ON a.id IN \
             (SELECT id FROM audit WHERE app = p.id AND id >= $4 ORDER BY id DESC LIMIT $5) \
             WHERE p.user = $1 AND a.kind = $6 AND a.at >= $2 GROUP BY 1, 2 ORDER BY 2"
        };
        let rows = sqlx::query(statement)
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
                    rows: row.int("rows")?,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::AuditEvent;
    use crate::domain::id::Id;
    use crate::store::audit::tests::{call, filled, record, rows};

    #[tokio::test]
    async fn calls_are_counted_by_span_and_decision_and_only_the_newest() {
        let (_directory, store) = filled(0..0).await;
        let (one, other) = (Id::from_bytes([1; 16]), Id::from_bytes([2; 16]));
        let call = |secs: i64, app, decision| {
            AuditEvent::change(Timestamp::from_secs(secs), kind::CALL, None).of_app(app).decided(decision)
        };
        let change = AuditEvent::change(Timestamp::from_secs(20), kind::APP_MADE, None).of_app(one);
        let events = [
            call(1, one, "allowed"),
            call(10, one, "allowed"),
            call(11, other, "allowed"),
            change,
            // Refusals that were counted, not told one by one.
            AuditEvent { count: 7, ..call(25, one, "no_grant") },
        ];
        record(&store, &events).await;
        let count = async |of, most| {
            let found = store.count_decisions(of, Timestamp::from_secs(5), 10_000, most).await.unwrap();
            found.into_iter().map(|one| (one.span, one.decision, one.calls)).collect::<Vec<_>>()
        };
        let allowed = |calls| (0, "allowed".to_owned(), calls);
        let refused = (2, "no_grant".to_owned(), 7);
        assert_eq!(count(CallsOf::default(), 100).await, [allowed(2), refused.clone()]);
        let of_one = CallsOf { app: Some(one), user: None };
        assert_eq!(count(of_one, 100).await, [allowed(1), refused.clone()]);
        assert_eq!(count(CallsOf::default(), 3).await, [allowed(1), refused.clone()]);
        assert_eq!(count(of_one, 1).await, [refused]);
    }

    #[tokio::test]
    async fn calls_that_share_a_row_count_as_many_as_they_are() {
        let (_directory, store) = filled(0..0).await;
        let of_app = |n: i64| {
            let user = Some(Id::from_bytes([7; 16]));
            AuditEvent { at: Timestamp::from_millis(5_000 + n), user, ..call(n, u8::try_from(n % 3).unwrap() + 3) }
        };
        let events: Vec<_> = (0..256).map(of_app).collect();
        record(&store, &events).await;
        assert!(rows(&store).await.0 < 60);
        let now = |app: Option<u8>, decision: &str| {
            let of_app = |event: &&AuditEvent| app.is_none_or(|app| event.app == Some(Id::from_bytes([app; 16])));
            let found = events.iter().filter(of_app).filter(|event| event.decision == decision).count();
            i64::try_from(found).unwrap()
        };
        let since = Timestamp::from_millis(4_000);
        for app in [None, Some(3), Some(4)] {
            let of = CallsOf { app: app.map(|app| Id::from_bytes([app; 16])), user: None };
            let found = store.count_decisions(of, since, 10_000, 1_000).await.unwrap();
            let found: Vec<_> = found.iter().map(|one| (one.span, &*one.decision, one.calls)).collect();
            assert_eq!(found, [(0, "allowed", now(app, "allowed")), (0, "no_grant", now(app, "no_grant"))]);
        }
        let found = store.count_calls(Id::from_bytes([7; 16]), since, 10_000, 1_000).await.unwrap();
        let mut found: Vec<_> = found.iter().map(|one| (one.app.as_bytes()[0], one.calls, one.refused)).collect();
        found.sort_unstable();
        let expected = [3, 4, 5]
            .map(|app| (app, now(Some(app), "allowed") + now(Some(app), "no_grant"), now(Some(app), "no_grant")));
        assert_eq!(found, expected);
        // The newest row alone: it says that it was one, whatever it stands for.
        let newest = store.count_decisions(CallsOf::default(), since, 10_000, 1).await.unwrap();
        assert_eq!(newest.iter().map(|one| one.rows).sum::<i64>(), 1);
    }
}
