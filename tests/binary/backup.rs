use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::kept::Kept;
use crate::program::{Place, snapshot, used};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Whether any file below the directory, or the file itself, holds these bytes.
fn holds(path: &Path, bytes: &[u8]) -> bool {
    if path.is_dir() {
        return fs::read_dir(path).unwrap().any(|entry| holds(&entry.unwrap().path(), bytes));
    }
    fs::read(path).unwrap().windows(bytes.len()).any(|window| window == bytes)
}

#[test]
fn a_backup_of_a_running_service_is_restored_with_all_that_was_kept() {
    let place = used();
    let ids = Kept::open(&place).put_grants(3);
    let running = place.serve(&[]);
    let ended = place.run(&["backup", "copy.db"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let file = place.path().join("copy.db");
    assert_eq!(mode(&file), 0o600);
    assert!(!holds(&file, b"CANARY"), "no token in plain");
    let key = fs::read_to_string(place.data().join("master.keys")).unwrap();
    let key = key.lines().last().unwrap().split(' ').nth(1).unwrap();
    assert!(!holds(&file, key.as_bytes()), "no key");

    let before = fs::read(&file).unwrap();
    assert_eq!(place.run(&["backup", "copy.db"]).code, Some(1), "a file that exists is not replaced");
    assert_eq!(fs::read(&file).unwrap(), before);
    let parts = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!parts.into_iter().any(|name| name.to_string_lossy().contains(".part-")));

    let before = snapshot(&place);
    let ended = place.run(&["restore", "copy.db"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("in use"), "{ended:?}");
    assert_eq!(snapshot(&place), before);
    running.signal("KILL");
    running.wait();

    // What comes after the backup is undone by the restore, and kept in the dated copy: also what is only in the log.
    Kept::open(&place).put_grants(2);
    let ended = place.run(&["restore", "copy.db"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let kept = Kept::open(&place);
    let live = kept.wait(kept.store.list_live_grants()).unwrap();
    assert_eq!(live.iter().map(|record| record.grant.id).collect::<Vec<_>>(), ids);
    drop(kept);
    assert_eq!(place.run(&["keys", "verify"]).code, Some(0));
    let replaced = fs::read_dir(place.data()).unwrap().map(|entry| entry.unwrap().path());
    let replaced: Vec<_> = replaced.filter(|path| path.to_string_lossy().contains("replaced-")).collect();
    assert_eq!(replaced.len(), 1, "{replaced:?}");
    assert_eq!(mode(&replaced[0]), 0o600);
    fs::rename(&replaced[0], place.data().join("keyfob.db")).unwrap();
    let kept = Kept::open(&place);
    assert_eq!(kept.wait(kept.store.list_live_grants()).unwrap().len(), 5);
}

#[test]
fn a_restore_with_the_wrong_key_is_4_and_writes_nothing() {
    let (place, other) = (used(), used());
    assert_eq!(other.run(&["backup", "copy.db"]).code, Some(0));
    let copy = other.path().join("copy.db");
    let before = snapshot(&place);
    let ended = place.run(&["restore", copy.to_str().unwrap()]);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert_eq!(snapshot(&place), before);

    // Nor on a machine that has nothing yet.
    let fresh = Place::new();
    let ended = fresh.run(&["restore", copy.to_str().unwrap()]);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(!fresh.data().exists());
}

#[test]
fn a_restore_on_a_new_machine_needs_the_key_file_and_the_backup_only() {
    let place = used();
    Kept::open(&place).put_grants(2);
    assert_eq!(place.run(&["backup", "copy.db"]).code, Some(0));
    let fresh = Place::new();
    fs::copy(place.data().join("master.keys"), fresh.path().join("keys")).unwrap();
    fs::copy(place.path().join("copy.db"), fresh.path().join("copy.db")).unwrap();
    let fresh = fresh.with("KEYFOB_MASTER_KEYS_FILE", "keys");
    let ended = fresh.run(&["restore", "copy.db"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let ended = fresh.run(&["keys", "verify", "--json"]);
    assert!(ended.code == Some(0) && ended.out.contains("\"refresh_tokens\": 2"), "{ended:?}");
}

#[test]
fn a_damaged_or_newer_or_foreign_backup_is_3_and_one_that_is_not_there_is_1() {
    let place = used();
    Kept::open(&place).put_grants(50);
    assert_eq!(place.run(&["backup", "copy.db"]).code, Some(0));
    let good = fs::read(place.path().join("copy.db")).unwrap();
    let before = snapshot(&place);
    let mut newer = good.clone();
    newer[60..64].copy_from_slice(&1_000_u32.to_be_bytes());
    let mut garbled = good.clone();
    let middle = good.len() / 2 / 4096 * 4096;
    garbled[middle..middle + 512].fill(0xa5);
    for (bad, words) in [
        (good[..good.len() / 2].to_vec(), "cut off"),
        (garbled, "damaged"),
        (newer, "newer"),
        (Vec::new(), "empty"),
        (b"no database, but long enough to be looked at".repeat(9), "not a SQLite"),
    ] {
        fs::write(place.path().join("bad.db"), bad).unwrap();
        let ended = place.run(&["restore", "bad.db"]);
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(ended.err.contains(words) && ended.err.lines().count() == 1, "{words}: {ended:?}");
        assert_eq!(snapshot(&place), before, "{words}");
    }
    assert_eq!(place.run(&["restore", "none.db"]).code, Some(1));
}

#[test]
fn a_backup_where_it_cannot_be_written_says_so_and_leaves_nothing() {
    let place = used();
    let ended = place.run(&["backup", "no/such/directory/copy.db"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("can't be written"), "{ended:?}");
}
