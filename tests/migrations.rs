//! The schema: made in one piece, forward only, and never guessed at.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use keyfob::domain::audit::{AuditEvent, kind};
use keyfob::domain::scope::Scope;
use keyfob::domain::time::Timestamp;
use keyfob::store::{AuditFilter, AuditRow, OpenError, SCHEMA_VERSION, Store, inspect};
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

struct Home {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn home() -> Home {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keyfob.db");
    Home { _directory: directory, path }
}

async fn sqlite(path: &Path) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", path.display())).await.unwrap()
}

async fn run(path: &Path, statement: &str) {
    let mut connection = sqlite(path).await;
    sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn number(path: &Path, query: &str) -> i64 {
    let mut connection = sqlite(path).await;
    let found = sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    found
}

#[tokio::test]
async fn a_new_database_has_the_newest_schema_under_both_its_signs() {
    let home = home();
    Store::open(&home.path).await.unwrap().close().await;
    assert_eq!(number(&home.path, "PRAGMA user_version").await, SCHEMA_VERSION);
    assert_eq!(number(&home.path, "SELECT max(version) FROM _sqlx_migrations WHERE success").await, SCHEMA_VERSION);
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap();
    let newest = files.map(|file| file.unwrap().file_name().to_string_lossy()[..4].parse::<i64>().unwrap()).max();
    assert_eq!(newest, Some(SCHEMA_VERSION), "the constant is the number of the last file");
    assert_eq!(fs::read(&home.path).unwrap()[18..20], [2, 2], "with a write-ahead log");
}

#[tokio::test]
async fn fifty_starts_at_once_make_one_schema() {
    let home = home();
    let starts: Vec<_> = (0..50)
        .map(|_| {
            let path = home.path.clone();
            tokio::spawn(async move {
                let store = Store::open(&path).await.unwrap();
                store.check_writable().await.unwrap();
            })
        })
        .collect();
    for start in starts {
        start.await.unwrap();
    }
    assert_eq!(number(&home.path, "SELECT count(*) FROM _sqlx_migrations").await, SCHEMA_VERSION);
}

#[tokio::test]
async fn a_schema_is_made_whole_or_not_at_all() {
    let home = home();
    // The last table of the first migration stands in the way, so it fails near its end.
    run(&home.path, "CREATE TABLE changes (x)").await;
    assert!(Store::open(&home.path).await.is_err());
    let left = "SELECT count(*) FROM sqlite_schema WHERE name IN ('meta', 'users', 'grants', 'apps', 'audit')";
    assert_eq!(number(&home.path, left).await, 0);
    assert_eq!(number(&home.path, "PRAGMA user_version").await, 0);
}

#[tokio::test]
async fn a_newer_schema_is_seen_before_anything_is_opened_for_writing() {
    for statement in [
        format!("PRAGMA user_version = {}", SCHEMA_VERSION + 1),
        format!(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES ({}, 'later', 1, x'00', 0)",
            SCHEMA_VERSION + 1
        ),
    ] {
        let home = home();
        Store::open(&home.path).await.unwrap().close().await;
        run(&home.path, &statement).await;
        let before = fs::read(&home.path).unwrap();
        let found = inspect(&home.path).await;
        assert!(matches!(found, Err(OpenError::Newer { found }) if found == SCHEMA_VERSION + 1), "{found:?}");
        assert_eq!(fs::read(&home.path).unwrap(), before);
    }
}

#[tokio::test]
async fn a_migration_that_was_edited_after_it_ran_is_refused() {
    let home = home();
    Store::open(&home.path).await.unwrap().close().await;
    run(&home.path, "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1").await;
    let opened = Store::open(&home.path).await;
    assert!(matches!(opened, Err(OpenError::Damaged(_))), "{opened:?}");
}

#[tokio::test]
async fn every_table_is_strict_and_every_reference_holds() {
    let home = home();
    Store::open(&home.path).await.unwrap().close().await;
    let loose = "SELECT count(*) FROM pragma_table_list WHERE type = 'table' AND NOT strict AND name NOT LIKE 'sqlite%' \
                 AND name NOT LIKE '\\_sqlx%' ESCAPE '\\'";
    assert_eq!(number(&home.path, loose).await, 0);
    let orphan = "INSERT INTO sessions (id_hash, user, data, created_at, expires_at) VALUES (x'00', x'00', '', 0, 0)";
    let mut connection = sqlite(&home.path).await;
    assert!(sqlx::query(orphan).execute(&mut connection).await.is_err());
}

/// A database as the first so many migrations leave it.
async fn of_version(home: &Home, version: i64) {
    let older = home.path.with_file_name("older");
    fs::create_dir(&older).unwrap();
    for file in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_string_lossy()[..4].parse::<i64>().unwrap() <= version {
            fs::copy(file.path(), older.join(file.file_name())).unwrap();
        }
    }
    let mut connection = sqlite(&home.path).await;
    sqlx::migrate::Migrator::new(older.as_path())
        .await
        .unwrap()
        .run_direct(None, &mut connection, false)
        .await
        .unwrap();
    connection.close().await.unwrap();
    run(&home.path, &format!("PRAGMA user_version = {version}")).await;
}

#[tokio::test]
async fn a_database_of_the_first_version_is_brought_up_to_date_with_what_it_holds() {
    let home = home();
    of_version(&home, 1).await;
    run(
        &home.path,
        "INSERT INTO users (id, name, name_folded, role, created_at) VALUES (x'01', 'ada', 'ada', 'admin', 1)",
    )
    .await;
    let store = Store::open(&home.path).await.unwrap();
    assert!(store.has_admin().await.unwrap());
    assert!(store.list_reviews(1).await.unwrap().is_empty());
    store.close().await;
    assert_eq!(number(&home.path, "PRAGMA user_version").await, SCHEMA_VERSION);
}

#[tokio::test]
async fn an_audit_trail_from_before_calls_shared_rows_goes_on_with_its_rows_and_its_numbers() {
    let home = home();
    of_version(&home, 3).await;
    run(
        &home.path,
        "INSERT INTO audit (id, at, kind, method, path, scope, decision, status) VALUES \
         (40, 1, 'user.made', NULL, 'ada', NULL, 'done', NULL), (41, 2, 'call', 'GET', '/a', 'vehicles', 'allowed', 200)",
    )
    .await;
    let store = Store::open(&home.path).await.unwrap();
    let call = AuditEvent::change(Timestamp::from_millis(3), kind::CALL, None).about("/b").decided("allowed");
    store.record(&AuditRow::of(&vec![call; 100])).await.unwrap();
    let found = store.list_audit(&AuditFilter { limit: 500, ..AuditFilter::default() }).await.unwrap();
    assert!(found.iter().map(|event| event.id).eq((40..=141).rev()));
    let old = &found[100];
    assert_eq!((old.path.as_deref(), old.scope, old.status), (Some("/a"), Some(Scope::Vehicles), Some(200)));
    assert_eq!((found[101].kind, found[101].path.as_deref()), (kind::USER_MADE, Some("ada")));
    store.close().await;
    assert_eq!(number(&home.path, "SELECT count(*) FROM audit").await, 3, "the new ones share a row");
    assert_eq!(number(&home.path, "SELECT count(*) FROM audit_events").await, 102);
}
