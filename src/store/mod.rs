//! What is kept: one SQLite file. sqlx stays in here.
//!
//! [`Store`] is a struct over SQLite and as narrow as a trait would be: every method is one atomic promise in our own types,
//! so that no transaction crosses this boundary and none is held across a call to the network.

mod admin_keys;
mod apps;
mod audit;
mod authorizations;
mod changes;
mod columns;
mod copy;
mod counts;
mod grants;
mod inspect;
mod listing;
mod live;
mod meta;
mod notices;
mod packed;
mod refresh;
mod retention;
mod reviews;
mod sealed;
mod sessions;
mod trail;
mod users;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Sqlite, Transaction};

pub use admin_keys::AdminKeyFound;
pub use apps::{AppFilter, AppRecord, KeptKey, NewApp};
pub use audit::{AuditRow, Usage};
pub use changes::{Change, Changes};
pub use copy::{copy_back, settle};
pub use counts::{CallCount, CallsOf, DecisionCount};
pub use grants::{GrantRecord, KeptTokens, NewGrant, Swap};
pub use inspect::{Inspection, inspect, inspect_wholly};
pub use listing::{GrantFilter, GrantSort, GrantsAfter, ListedGrant};
pub use live::Live;
pub use notices::{Claim, Notice, NoticeAnswer};
pub use refresh::{DueGrant, LeaseAnswer, LeaseMark, OpenSpending, ProcessId, RefreshRow, SpendAnswer, Unfinished};
pub use reviews::{Review, ReviewCounts, ToReview};
pub use sealed::{MasterKeyId, Resealed, SealedUnder};
pub use sessions::KeptSession;
pub use trail::{AuditFilter, AuditPage};
pub use users::{Made, PasswordRecord, Removal};

/// How long a writer waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(5);
/// The schema's version: the number of the last migration.
pub const SCHEMA_VERSION: i64 = 4;

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// The database could not do what was asked; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Disk full, read-only, locked, or an I/O error: worth trying again.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// What was read is not what was written.
    #[error("the database is damaged: {0}")]
    Damaged(String),
}

/// The database could not be opened; it was not changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It was written by a later version of Keyfob.
    #[error(
        "the database was written by a newer version of Keyfob (schema {found}, this binary knows {SCHEMA_VERSION})"
    )]
    Newer {
        /// Its schema's version.
        found: i64,
    },
    /// It is no database, or damaged.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// It can't be read or written.
    #[error("the database can't be opened: {0}")]
    Unavailable(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let text = error.to_string();
        match error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() {
            // SQLITE_CORRUPT and SQLITE_NOTADB with their extended codes.
            Some("11" | "26" | "267" | "523" | "779") => Self::Damaged(text),
            _ if matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => Self::Damaged(text),
            _ => Self::Unavailable(text),
        }
    }
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(cause) => Self::Unavailable(cause),
            StoreError::Damaged(cause) => Self::Damaged(cause),
        }
    }
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        StoreError::from(error).into()
    }
}

type Result<T> = std::result::Result<T, StoreError>;
type Tx = Transaction<'static, Sqlite>;

/// The one handle to what is kept. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    write: SqlitePool,
    /// For rows of calls: a commit is in the system's hands, and on disk when the next one by `write` is, or within moments.
    trail: SqlitePool,
    read: SqlitePool,
    path: PathBuf,
}

impl Store {
    /// Opens the database file, making it (owner-only) when there is none, and brings its schema up to date.
    ///
    /// The caller has looked at an existing file with [`inspect`] and has checked the master key against its canary.
    ///
    /// # Errors
    /// [`OpenError`]; the file is then as it was.
    pub async fn open(path: &Path) -> std::result::Result<Self, OpenError> {
        if !path.exists() {
            make_owner_only(path).map_err(|e| OpenError::Unavailable(format!("{}: {e}", path.display())))?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .pragma("trusted_schema", "OFF")
            .pragma("secure_delete", "ON")
            .pragma("journal_size_limit", "16777216");
        let write = pool(1, 1).connect_with(options.clone()).await?;
        migrate(&write).await?;
        // Half a megabyte each: they live as long as the process, and the system keeps the file's pages besides.
        let options = options.pragma("cache_size", "-512");
        let trail = pool(1, 1).connect_with(options.clone().synchronous(SqliteSynchronous::Normal)).await?;
        let read = pool(1, 3).connect_with(options.pragma("query_only", "ON")).await?;
        Ok(Self { write, trail, read, path: path.to_owned() })
    }

    /// Where the database file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A transaction that holds the write lock from its start, so that what it reads is what it changes.
    async fn begin(&self) -> Result<Tx> {
        begin_on(&self.write).await
    }

    /// The same, where nobody waits for the disk.
    async fn begin_soon(&self) -> Result<Tx> {
        begin_on(&self.trail).await
    }

    /// Whether a write would go through now.
    ///
    /// # Errors
    /// Why it would not.
    pub async fn check_writable(&self) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("INSERT INTO meta (name, value) VALUES ('write_check', x'00') ON CONFLICT DO UPDATE SET value = excluded.value")
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Writes the log back into the database file and empties it, so that what was deleted is in neither any more: deleted
    /// rows are overwritten in the file, but stand in the log as they were. False when a reader holds on to the log; it
    /// keeps nobody waiting for that.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn wipe_log(&self) -> Result<bool> {
        if std::fs::metadata(beside(&self.path, "-wal")).is_ok_and(|meta| meta.len() == 0) {
            return Ok(true);
        }
        let options = SqliteConnectOptions::new().filename(&self.path).busy_timeout(Duration::from_millis(50));
        let mut connection = options.pragma("secure_delete", "ON").connect().await?;
        let busy: std::result::Result<i64, _> =
            sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await;
        let _ = connection.close().await;
        Ok(busy? == 0)
    }

    /// Writes the log back into the database file and closes it.
    pub async fn close(&self) {
        self.read.close().await;
        self.trail.close().await;
        if let Err(cause) = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.write).await {
            tracing::debug!(error = %cause, "the write-ahead log was not written back at the end");
        }
        self.write.close().await;
    }
}

async fn begin_on(pool: &SqlitePool) -> Result<Tx> {
    match pool.begin_with("BEGIN IMMEDIATE").await {
        Err(cause) if is_worn_out(&cause) => {
            pool.acquire().await?.close().await?;
            Ok(pool.begin_with("BEGIN IMMEDIATE").await?)
        }
        begun => Ok(begun?),
    }
}

/// Whether a connection can write no more, while another one can. On a full disk SQLite ends the transaction by itself, and
/// the driver goes on believing in it: it can neither roll back nor begin any more. And where a connection was opened while
/// the file could not be written, SQLite has opened it for reading, and that is what it stays.
fn is_worn_out(cause: &sqlx::Error) -> bool {
    const READ_ONLY: u32 = 8;
    match cause {
        sqlx::Error::InvalidSavePointStatement => true,
        sqlx::Error::Database(told) => {
            let code = told.code().and_then(|code| code.parse::<u32>().ok());
            code.is_some_and(|code| code & 0xff == READ_ONLY)
        }
        _ => false,
    }
}

/// The path of a file that SQLite keeps beside the database.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn pool(min: u32, max: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .min_connections(min)
        .max_connections(max)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .acquire_timeout(Duration::from_secs(30))
}

fn make_owner_only(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .or_else(|error| if error.kind() == std::io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
}

/// Brings the schema up to date in one transaction, which holds the write lock from its start: processes that start at once
/// must not all run the same migration, and one that is killed leaves the schema as it was.
async fn migrate(pool: &SqlitePool) -> std::result::Result<(), OpenError> {
    let current: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(pool).await?;
    if current == SCHEMA_VERSION {
        // Only looks whether what ran is what this binary knows, and needs no write lock.
        return MIGRATOR.run_direct(None, &mut *pool.acquire().await?, false).await.map_err(unmigrated);
    }
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    MIGRATOR.run_direct(None, &mut *tx, false).await.map_err(unmigrated)?;
    let version = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {SCHEMA_VERSION}"));
    sqlx::query(version).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

fn unmigrated(error: sqlx::migrate::MigrateError) -> OpenError {
    use sqlx::migrate::MigrateError;
    match error {
        MigrateError::VersionMissing(found) => OpenError::Newer { found },
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => cause.into(),
        other => OpenError::Damaged(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_connection_has_the_settings_that_promises_rest_on() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("keyfob.db")).await.unwrap();
        // FULL: what is committed is on disk, also after a power cut. NORMAL, for rows of calls: it is so a little later.
        for (pool, query_only, synchronous) in [(&store.write, 0, 2), (&store.trail, 0, 1), (&store.read, 1, 2)] {
            let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(pool).await.unwrap();
            assert_eq!(journal, "wal");
            for (pragma, expected) in [
                ("PRAGMA synchronous", synchronous),
                ("PRAGMA foreign_keys", 1),
                ("PRAGMA busy_timeout", 5_000),
                ("PRAGMA secure_delete", 1),
                ("PRAGMA trusted_schema", 0),
                ("PRAGMA query_only", query_only),
            ] {
                let found: i64 = sqlx::query_scalar(pragma).fetch_one(pool).await.unwrap();
                assert_eq!(found, expected, "{pragma}");
            }
        }
    }
}
