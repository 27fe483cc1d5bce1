//! Everything that a process serves, read at once into memory.

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
pub struct Live {
    /// Every account.
    pub users: Vec<User>,
    /// Every grant that is not disconnected.
    pub grants: Vec<GrantRecord>,
    /// Every app that is not revoked.
    pub apps: Vec<App>,
    /// The keys of those apps.
    pub keys: Vec<(AppId, KeptKey)>,
}

impl Store {
    /// Reads everything that is live. A row that is damaged is logged and left out, so that it hides none of the others.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn read_live(&self) -> Result<Live> {
        let users = sqlx::query("SELECT * FROM users").fetch_all(&self.read).await?;
        let grants = sqlx::query("SELECT * FROM grants WHERE status <> 'disconnected'").fetch_all(&self.read).await?;
        let apps = sqlx::query("SELECT * FROM apps WHERE revoked_at IS NULL").fetch_all(&self.read).await?;
        let keys = sqlx::query(
            "SELECT k.app, k.hash, k.valid_until FROM app_keys k JOIN apps a ON a.id = k.app WHERE a.revoked_at IS NULL",
        )
        .fetch_all(&self.read)
        .await?;
        Ok(Live {
            users: intact(&users, "users", user),
            grants: intact(&grants, "grants", record),
            apps: intact(&apps, "apps", app),
            keys: intact(&keys, "app_keys", kept_key),
        })
    }
}

fn intact<T>(rows: &[SqliteRow], table: &'static str, read: impl Fn(&SqliteRow) -> Result<T>) -> Vec<T> {
    let told = |cause: &super::StoreError| {
        tracing::error!(table, error = %cause, "a row is damaged in the database; it is not served");
    };
    rows.iter().filter_map(|row| read(row).inspect_err(told).ok()).collect()
}
