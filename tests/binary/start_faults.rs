//! Databases and key files that can't be used: refused with advice, and left byte for byte as they are.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::kept::Kept;
use crate::program::{Place, snapshot, used};

/// A start is refused with this code and these words, and nothing in the data directory is another than before.
fn refused(place: &Place, code: i32, words: &str) {
    let before = snapshot(place);
    for command in [["serve"].as_slice(), &["keys", "list"]] {
        let ended = place.run(command);
        assert_eq!(ended.code, Some(code), "{words}: {ended:?}");
        assert!(ended.err.contains(words) && ended.err.lines().count() == 1, "{words}: {ended:?}");
        assert_eq!(snapshot(place), before, "{words}");
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn sqlite(path: &Path, statement: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        use sqlx::Connection as _;
        let url = format!("sqlite://{}?mode=rwc", path.display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}

#[test]
fn a_truncated_database_is_refused_and_kept() {
    let place = used();
    Kept::open(&place).put_grants(30);
    let database = place.data().join("keyfob.db");
    let whole = fs::read(&database).unwrap();
    for (length, words) in [
        (0, "empty"),
        (57, "cut off at 57 bytes"),
        (whole.len() / 2, "cut off"),
        (whole.len() / 2 / 4096 * 4096, "cut off"),
        (whole.len() - 100, "cut off"),
    ] {
        fs::write(&database, &whole[..length]).unwrap();
        refused(&place, 3, words);
    }
    fs::write(&database, &whole).unwrap();
    assert_eq!(place.run(&["keys", "verify"]).code, Some(0), "and with its end back it opens");
}

#[test]
fn a_garbled_database_is_refused_and_kept() {
    let place = used();
    Kept::open(&place).put_grants(60);
    let database = place.data().join("keyfob.db");
    let whole = fs::read(&database).unwrap();
    // The heads of pages that hold rows; what is garbled in free space harms nobody and is not looked for.
    let pages: Vec<_> =
        (1..whole.len() / 4096).map(|n| n * 4096).filter(|at| [2, 5, 10, 13].contains(&whole[*at])).collect();
    for at in [0, 16, 100, pages[0], pages[pages.len() / 3], pages[pages.len() / 2], pages[pages.len() - 1]] {
        let mut garbled = whole.clone();
        let end = (at + 300).min(garbled.len());
        garbled[at..end].iter_mut().for_each(|byte| *byte ^= 0x5a);
        fs::write(&database, &garbled).unwrap();
        refused(&place, 3, "keyfob.db");
    }
}

#[test]
fn a_newer_database_is_refused_by_either_sign_of_it() {
    for statement in [
        "PRAGMA user_version = 7",
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (7, 'later', 1, x'00', 0)",
    ] {
        let place = used();
        sqlite(&place.data().join("keyfob.db"), statement);
        refused(&place, 3, "newer version of Keyfob");
    }
}

#[test]
fn what_is_no_database_of_keyfobs_is_refused_and_kept() {
    let place = used();
    let database = place.data().join("keyfob.db");
    fs::remove_file(&database).unwrap();
    sqlite(&database, "CREATE TABLE bookmarks (url TEXT); PRAGMA user_version = 80");
    refused(&place, 3, "not one of Keyfob's");

    fs::remove_file(&database).unwrap();
    fs::create_dir(&database).unwrap();
    refused(&place, 3, "directory");

    fs::remove_dir(&database).unwrap();
    assert!(Command::new("mkfifo").arg(&database).status().unwrap().success());
    refused(&place, 3, "not a plain file");
}

#[test]
fn a_database_that_this_user_cannot_read_is_refused() {
    let place = used();
    let database = place.data().join("keyfob.db");
    if fs::metadata("/proc/self").map(|meta| std::os::unix::fs::MetadataExt::uid(&meta)).unwrap() == 0 {
        // The superuser reads everything: the file becomes another user's, and the program runs as a third.
        let handed_over = Command::new("chown").args(["-R", "65534:65534"]).arg(place.path()).status().unwrap();
        assert!(handed_over.success());
        assert!(Command::new("chown").arg("0:0").arg(&database).status().unwrap().success());
        let ended = place.run_as(65_534, &["serve"]);
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(ended.err.contains("ermission denied") && ended.err.contains("mode"), "{ended:?}");
    } else {
        chmod(&database, 0);
        let ended = place.run(&["serve"]);
        assert_eq!(ended.code, Some(3), "{ended:?}");
    }
}

#[test]
fn a_log_without_its_database_is_not_given_to_a_new_one() {
    let place = used();
    let kept = Kept::open(&place);
    kept.put_grants(1);
    let database = place.data().join("keyfob.db");
    fs::copy(place.data().join("keyfob.db-wal"), place.path().join("wal")).unwrap();
    drop(kept);
    fs::remove_file(&database).unwrap();
    fs::copy(place.path().join("wal"), place.data().join("keyfob.db-wal")).unwrap();
    refused(&place, 3, "its log is there");
}

#[test]
fn the_wrong_key_changes_nothing_also_where_a_killed_service_left_its_log() {
    let (place, other) = (used(), used());
    let left = (0..10).any(|turn| {
        let running = place.serve(&[]);
        // What is written while the service runs stands in the log, unless housekeeping writes it back in this very moment.
        sqlite(
            &place.data().join("keyfob.db"),
            &format!("INSERT INTO meta (name, value) VALUES ('late{turn}', x'00')"),
        );
        running.signal("KILL");
        running.wait();
        fs::metadata(place.data().join("keyfob.db-wal")).unwrap().len() > 0
    });
    assert!(left);
    fs::copy(other.data().join("master.keys"), place.data().join("master.keys")).unwrap();
    let _ = fs::remove_file(place.data().join("keyfob.db.lock"));
    refused(&place, 4, "do not open the database");
}

#[test]
fn a_key_file_that_is_missing_or_no_key_file_is_refused_with_the_reason() {
    let place = used();
    let keys = place.data().join("master.keys");
    let good = fs::read(&keys).unwrap();
    fs::remove_file(&keys).unwrap();
    refused(&place, 4, "does not exist");
    assert!(!keys.exists(), "no new key is written for a database that is there");

    fs::write(&keys, &good).unwrap();
    for mode in [0o640, 0o604, 0o660] {
        chmod(&keys, mode);
        refused(&place, 4, "chmod 600");
    }
    fs::write(&keys, "").unwrap();
    chmod(&keys, 0o600);
    refused(&place, 4, "holds no key");
    fs::write(&keys, "# only a remark\n").unwrap();
    refused(&place, 4, "holds no key");
    fs::write(&keys, [0xff_u8, 0xfe, 0, 1]).unwrap();
    refused(&place, 4, "no text");
    fs::write(&keys, "0011aabb CANARY-no-key\n").unwrap();
    refused(&place, 4, "line 1");
    assert!(!place.run(&["serve"]).err.contains("CANARY"), "nothing of its content is shown");

    fs::remove_file(&keys).unwrap();
    fs::write(place.path().join("elsewhere"), &good).unwrap();
    chmod(&place.path().join("elsewhere"), 0o600);
    symlink(place.path().join("elsewhere"), &keys).unwrap();
    refused(&place, 4, "symbolic link");
    fs::remove_file(&keys).unwrap();
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&keys).status().unwrap().success());
    refused(&place, 4, "not a plain file");
}

#[test]
fn a_key_file_of_the_system_may_be_readable_by_others() {
    let place = used();
    let secrets = place.path().join("credentials");
    fs::create_dir(&secrets).unwrap();
    fs::rename(place.data().join("master.keys"), secrets.join("keys")).unwrap();
    let keys = secrets.join("keys");
    chmod(&keys, 0o444);
    let place = place.with("KEYFOB_MASTER_KEYS_FILE", keys.to_str().unwrap());
    refused(&place, 4, "chmod 600");
    let place = place.with("CREDENTIALS_DIRECTORY", secrets.to_str().unwrap());
    assert_eq!(place.run(&["keys", "verify"]).code, Some(0));
    chmod(&keys, 0o446);
    refused(&place, 4, "chmod 600");
}
