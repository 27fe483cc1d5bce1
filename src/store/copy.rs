//! Whole copies of a database file: one made while it is in use, one put back.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::inspect::connect_to_look;
use super::{OpenError, Result, Store, StoreError};

/// What was true only while it was new: nobody is still signed in, or half way through something, after a restore.
const MOMENTARY: [&str; 6] = [
    "DELETE FROM sessions",
    "DELETE FROM setup_tokens",
    "DELETE FROM invitations",
    "DELETE FROM authorization_requests",
    "DELETE FROM notices",
    "UPDATE grants SET lease_owner = NULL",
];

impl Store {
    /// Writes what is kept at one moment into another file, while this one is in use. The other file must be empty or
    /// missing; it has no log beside it.
    ///
    /// # Errors
    /// [`StoreError`]; a part of the other file may be left.
    pub async fn copy_into(&self, to: &Path) -> Result<()> {
        // A connection of its own: `query_only` forbids this, and it may take long.
        let mut connection = SqliteConnectOptions::new()
            .filename(&self.path)
            .read_only(true)
            .busy_timeout(super::BUSY)
            .connect()
            .await?;
        let copied = sqlx::query("VACUUM INTO $1").bind(text(to)?).execute(&mut connection).await;
        let _ = connection.close().await;
        copied?;
        Ok(())
    }
}

/// Writes a database file that nobody uses into another, ready to be put in place: without what was true only while it
/// was new. The other file must be empty or missing.
///
/// # Errors
/// [`OpenError`]; a part of the other file may be left.
pub async fn copy_back(from: &Path, to: &Path) -> std::result::Result<(), OpenError> {
    let mut source = connect_to_look(from).await?;
    let copied = sqlx::query("VACUUM INTO $1").bind(text(to)?).execute(&mut source).await;
    let _ = source.close().await;
    copied?;
    let mut copy = SqliteConnectOptions::new().filename(to).pragma("secure_delete", "ON").connect().await?;
    let mut cleaned = Ok(());
    for statement in MOMENTARY {
        if cleaned.is_ok() {
            cleaned = sqlx::query(statement).execute(&mut copy).await.map(drop);
        }
    }
    let closed = copy.close().await;
    cleaned?;
    closed?;
    Ok(())
}

/// Writes the log of a database that nobody uses back into its file, so that the file is all there is. False when that
/// can't be done: then the log is still beside it.
pub async fn settle(path: &Path) -> bool {
    let Ok(mut connection) = SqliteConnectOptions::new().filename(path).connect().await else { return false };
    let busy: std::result::Result<i64, _> =
        sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await;
    let closed = connection.close().await;
    busy.is_ok_and(|busy| busy == 0) && closed.is_ok()
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| StoreError::Unavailable("its path is not text".to_owned()))
}
