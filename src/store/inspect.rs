//! A look at an existing database file that changes nothing, before anything is opened for writing.

use std::io::Read as _;
use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use super::{OpenError, SCHEMA_VERSION, beside};
use crate::domain::secret::{Canary, Sealed};

/// Up to this size the whole file is checked; above, the tables that a start reads.
const SMALL: u64 = 32 * 1024 * 1024;

/// What stands in an existing database.
#[derive(Debug)]
pub struct Inspection {
    /// Proves whether a master key opens it; none when it holds no data yet.
    pub canary: Option<Sealed<Canary>>,
    /// The ids of the master keys that something in it is sealed under.
    pub keys: Vec<super::MasterKeyId>,
}

/// Looks at the database file without changing it or anything beside it. `None` when there is no file.
///
/// Never for a file that this process has open in a [`super::Store`]: the look opens and closes the file, and with that
/// the system gives up all of this process's locks on it.
///
/// # Errors
/// [`OpenError`] when it is damaged, truncated, no database, or newer than this binary.
pub async fn inspect(path: &Path) -> Result<Option<Inspection>, OpenError> {
    look_at(path, Depth::Start).await
}

/// The same, and checks every page and every reference.
///
/// # Errors
/// [`OpenError`]
pub async fn inspect_wholly(path: &Path) -> Result<Option<Inspection>, OpenError> {
    look_at(path, Depth::Whole).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// The tables that a start reads.
    Start,
    /// Every page.
    Pages,
    /// Every page, every index and every reference.
    Whole,
}

async fn look_at(path: &Path, depth: Depth) -> Result<Option<Inspection>, OpenError> {
    if std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let length = check_header(path)?;
    let depth = if length <= SMALL && depth == Depth::Start { Depth::Pages } else { depth };
    let mut connection = connect_to_look(path).await?;
    let found = look(&mut connection, depth).await;
    let _ = connection.close().await;
    found.map(Some)
}

/// A connection that can't write the database, its log or, where there is one, the log's index.
pub(super) async fn connect_to_look(path: &Path) -> Result<SqliteConnection, OpenError> {
    let options = SqliteConnectOptions::new().read_only(true).busy_timeout(super::BUSY);
    if !has_log(path) {
        // Without a log the file is all there is, and `immutable` keeps SQLite from making one.
        return Ok(options.filename(path).immutable(true).connect().await?);
    }
    // A log that a killed process left: its index is not repaired in its file but in memory.
    let real = path.canonicalize().map_err(|error| OpenError::Unavailable(error.to_string()))?;
    if let Ok(mut url) = url::Url::from_file_path(&real) {
        url.set_query(Some("mode=ro&readonly_shm=1"));
        let quiet = options.clone().filename(url.as_str()).connect().await;
        if let Ok(mut connection) = quiet {
            if sqlx::query("SELECT count(*) FROM sqlite_schema").fetch_one(&mut connection).await.is_ok() {
                return Ok(connection);
            }
            let _ = connection.close().await;
        }
    }
    // The index is missing, or somebody is just making it.
    Ok(options.filename(path).connect().await?)
}

async fn look(connection: &mut SqliteConnection, depth: Depth) -> Result<Inspection, OpenError> {
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await?;
    let migrated: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'")
        .fetch_one(&mut *connection)
        .await?;
    let tables: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_schema WHERE name IN ('meta', 'users', 'grants', 'apps', 'app_keys')",
    )
    .fetch_one(&mut *connection)
    .await?;
    let others: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *connection).await?;
    if migrated == 0 && (others > 0 || version > 0) {
        return Err(OpenError::Damaged("it is a SQLite database, but not one of Keyfob's".to_owned()));
    }
    let latest: Option<i64> = if migrated > 0 {
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(&mut *connection).await?
    } else {
        None
    };
    let found = version.max(latest.unwrap_or(0));
    if found > SCHEMA_VERSION {
        return Err(OpenError::Newer { found });
    }
    if tables == 0 && found == 0 {
        return Ok(Inspection { canary: None, keys: Vec::new() });
    }
    if tables != 5 {
        return Err(OpenError::Damaged("tables are missing".to_owned()));
    }
    let checks: &[&str] = match depth {
        Depth::Pages => &["PRAGMA quick_check(1)"],
        Depth::Whole => &["PRAGMA integrity_check(1)"],
        Depth::Start => &[
            "PRAGMA quick_check('meta')",
            "PRAGMA quick_check('users')",
            "PRAGMA quick_check('grants')",
            "PRAGMA quick_check('apps')",
            "PRAGMA quick_check('app_keys')",
        ],
    };
    for check in checks {
        let verdict: String = sqlx::query_scalar(*check).fetch_one(&mut *connection).await?;
        if verdict != "ok" {
            return Err(OpenError::Damaged(verdict.lines().next().unwrap_or_default().to_owned()));
        }
    }
    let canary = sqlx::query("SELECT value FROM meta WHERE name = 'canary'").fetch_optional(&mut *connection).await?;
    let canary = canary.map(|row| row.try_get::<Vec<u8>, _>(0)).transpose()?.map(Sealed::from_envelope);
    let keys = super::sealed::keys_of(connection).await?;
    Ok(Inspection { canary, keys })
}

fn has_log(path: &Path) -> bool {
    std::fs::metadata(beside(path, "-wal")).is_ok_and(|meta| meta.len() > 0)
}

/// The first hundred bytes say what the file is and how long it must be. Gives how long it is.
fn check_header(path: &Path) -> Result<u64, OpenError> {
    let unreadable = |e: std::io::Error| OpenError::Unavailable(e.to_string());
    // A FIFO would keep whoever opens it waiting.
    let meta = std::fs::metadata(path).map_err(unreadable)?;
    if meta.is_dir() {
        return Err(OpenError::Damaged("it is a directory".to_owned()));
    }
    if !meta.is_file() {
        return Err(OpenError::Damaged("it is not a plain file".to_owned()));
    }
    let length = meta.len();
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
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
    if !has_log(path) && count_is_valid && pages * page > length {
        return Err(OpenError::Damaged(format!("the file is cut off: {length} bytes of {}", pages * page)));
    }
    Ok(length)
}
