//! Everything that a process serves, read at once into memory.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use sqlx::sqlite::SqliteRow;

use super::apps::{app, kept_key};
use super::grants::{GrantRecord, record};
use super::users::user;
use super::{KeptKey, Result, Store};
use crate::domain::app::App;
use crate::domain::id::AppId;
use crate::domain::user::User;

/// What is not disconnected and not revoked.
#[derive(Debug)]
pub struct Live<G> {
    /// Every account.
    pub users: Vec<User>,
    /// Every grant that is not disconnected, as it was taken over.
    pub grants: Vec<G>,
    /// Every app that is not revoked.
    pub apps: Vec<Arc<App>>,
    /// The keys of those apps.
    pub keys: Vec<(AppId, KeptKey)>,
}

impl Store {
    /// Reads everything that is live. `take` makes of each grant what is kept of it: sealed, ten thousand take more memory than
    /// all else. A row that is damaged is logged and left out, so that it hides none of the others.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn read_live<G>(&self, take: impl Fn(GrantRecord) -> G) -> Result<Live<G>> {
        let grant = |row: &SqliteRow| record(row).map(&take);
        let app = |row: &SqliteRow| app(row).map(Arc::new);
        // At once, since reading is most of what a start takes; each row is taken over as it comes, so that no table is in
        // memory twice.
        let keys = "SELECT k.app, k.hash, k.valid_until FROM app_keys k JOIN apps a ON a.id = k.app WHERE a.revoked_at IS NULL";
        let (users, grants, apps, keys) = tokio::try_join!(
            self.intact("users", "SELECT * FROM users", user),
            self.intact("grants", "SELECT * FROM grants WHERE status <> 'disconnected'", grant),
            self.intact("apps", "SELECT * FROM apps WHERE revoked_at IS NULL", app),
            self.intact("app_keys", keys, kept_key),
        )?;
        Ok(Live { users, grants, apps, keys })
    }

    async fn intact<T>(
        &self,
        table: &'static str,
        query: &'static str,
        read: impl Fn(&SqliteRow) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut rows = sqlx::query(query).fetch(&self.read);
        let mut things = Vec::new();
        while let Some(row) = rows.try_next().await? {
            things.extend(intact(table, read(&row)));
        }
        Ok(things)
    }
}

/// What was read of a row; one that is damaged is logged, and hides none of the others.
pub(super) fn intact<T>(table: &'static str, read: Result<T>) -> Option<T> {
    read.inspect_err(
        |cause| tracing::error!(table, error = %cause, "a row is damaged in the database; it is not served"),
    )
    .ok()
}
