//! A look at an existing database file that changes nothing, before anything is opened for writing.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use super::{OpenError, SCHEMA_VERSION};
use crate::domain::secret::{Canary, Sealed};

/// What stands in an existing database.
#[derive(Debug)]
pub struct Inspection {
    /// Proves whether a master key opens it; none when it holds no data yet.
    pub canary: Option<Sealed<Canary>>,
}

/// Looks at the database file without changing it or anything beside it. `None` when there is no file.
///
/// # Errors
/// [`OpenError`] when it is damaged, truncated, no database, or newer than this binary.
pub async fn inspect(path: &Path) -> Result<Option<Inspection>, OpenError> {
    if !path.exists() {
        return Ok(None);
    }
    let wal = beside(path, "-wal");
    let live = std::fs::metadata(&wal).is_ok_and(|meta| meta.len() > 0);
    check_header(path, live)?;
    // Without a log beside it the file is all there is, and `immutable` keeps SQLite from making one.
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .immutable(!live)
        .busy_timeout(super::BUSY)
        .connect()
        .await?;
    let found = look(&mut connection).await;
    let _ = connection.close().await;
    found.map(Some)
}

async fn look(connection: &mut SqliteConnection) -> Result<Inspection, OpenError> {
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await?;
    let migrated: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'")
        .fetch_one(&mut *connection)
        .await?;
    let latest: Option<i64> = if migrated > 0 {
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(&mut *connection).await?
    } else {
        None
    };
    let found = version.max(latest.unwrap_or(0));
    if found > SCHEMA_VERSION {
        return Err(OpenError::Newer { found });
    }
    let tables: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_schema WHERE name IN ('meta', 'users', 'grants', 'apps', 'app_keys')",
    )
    .fetch_one(&mut *connection)
    .await?;
    if tables == 0 && found == 0 {
        let others: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
            .fetch_one(&mut *connection)
            .await?;
        if others > 0 {
            return Err(OpenError::Damaged("it is a SQLite database, but not one of Keyfob's".to_owned()));
        }
        return Ok(Inspection { canary: None });
    }
    if tables != 5 {
        return Err(OpenError::Damaged("tables are missing".to_owned()));
    }
    for check in [
        "PRAGMA quick_check('meta')",
        "PRAGMA quick_check('users')",
        "PRAGMA quick_check('grants')",
        "PRAGMA quick_check('apps')",
        "PRAGMA quick_check('app_keys')",
    ] {
        let verdict: String = sqlx::query_scalar(check).fetch_one(&mut *connection).await?;
        if verdict != "ok" {
            return Err(OpenError::Damaged(verdict));
        }
    }
    let canary = sqlx::query("SELECT value FROM meta WHERE name = 'canary'").fetch_optional(&mut *connection).await?;
    let canary = canary.map(|row| row.try_get::<Vec<u8>, _>(0)).transpose()?.map(Sealed::from_envelope);
    Ok(Inspection { canary })
}

/// The first hundred bytes say what the file is and how long it must be.
fn check_header(path: &Path, live: bool) -> Result<(), OpenError> {
    let unreadable = |e: std::io::Error| OpenError::Unavailable(format!("{}: {e}", path.display()));
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let mut header = [0_u8; 100];
    if length == 0 {
        return Err(OpenError::Damaged("the file is empty".to_owned()));
    }
    if length < 100 {
        return Err(OpenError::Damaged(format!("the file is cut off at {length} bytes")));
    }
    file.read_exact(&mut header).map_err(unreadable)?;
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(OpenError::Damaged("the file is not a SQLite database".to_owned()));
    }
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        other => u64::from(other),
    };
    let pages = u64::from(number(28));
    let count_is_valid = number(24) == number(92);
    if !live && count_is_valid && pages * page > length {
        return Err(OpenError::Damaged(format!("the file is cut off: {length} bytes of {}", pages * page)));
    }
    Ok(())
}

/// The path of a file that SQLite keeps beside the database.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
