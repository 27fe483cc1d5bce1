use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::Value;

use crate::program::{Place, taken};

/// The demo's data directory and a doctor's report on it.
fn examine(place: &Place, code: i32) -> Vec<(String, bool, String)> {
    let ended = place.run(&["doctor", "--json", "--data-dir", "keyfob-demo"]);
    assert_eq!(ended.code, Some(code), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(report["ok"], code == 0);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let checks = report["checks"].as_array().unwrap();
    checks.iter().map(|c| (text(&c["name"]), c["ok"].as_bool().unwrap(), text(&c["detail"]))).collect()
}

fn faults(place: &Place) -> Vec<(String, String)> {
    examine(place, 1).into_iter().filter(|(_, ok, _)| !ok).map(|(name, _, detail)| (name, detail)).collect()
}

/// Asserts that exactly one thing here is at fault, and that its detail says this. Where the database can't be opened, the
/// demo's provider is not known.
fn only_fault(place: &Place, name: &str, says: &str) {
    let mut found = faults(place);
    found.retain(|(name, _)| !matches!(name.as_str(), "provider" | "mcp_server"));
    assert!(found.len() == 1 && found[0].0 == name && found[0].1.contains(says), "{found:?}");
}

#[test]
fn the_doctor_finds_nothing_on_a_healthy_demo_and_looks_at_everything() {
    let place = Place::new();
    let (_running, _) = place.demo();
    let names: Vec<_> = examine(&place, 0).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(
        names,
        [
            "settings",
            "data_directory",
            "file_system",
            "file_limit",
            "master_keys",
            "file_modes",
            "database",
            "web_listener",
            "proxy_listener",
            "ops_listener",
            "provider",
            "mcp_server",
            "clock",
            "discovery",
            "registration"
        ]
    );
}

#[test]
fn the_doctor_names_each_fault_and_its_mend() {
    let place = Place::new();
    let (_running, _) = place.demo();
    let data: PathBuf = place.path().join("keyfob-demo");
    let mode = |name: &str, mode: u32| fs::set_permissions(data.join(name), Permissions::from_mode(mode)).unwrap();

    mode("", 0o755);
    only_fault(&place, "data_directory", "chmod 700");
    mode("", 0o700);
    mode("master.keys", 0o644);
    only_fault(&place, "master_keys", "chmod 600");
    mode("master.keys", 0o600);
    mode("keyfob.db", 0o640);
    only_fault(&place, "file_modes", "chmod 600");
    // SQLite gives what it makes beside the database the database's own mode.
    for name in ["keyfob.db", "keyfob.db-wal", "keyfob.db-shm"].into_iter().filter(|name| data.join(name).exists()) {
        mode(name, 0o600);
    }

    let key = fs::read(data.join("master.keys")).unwrap();
    let other = Place::new();
    drop(other.serve(&[]));
    fs::copy(other.data().join("master.keys"), data.join("master.keys")).unwrap();
    only_fault(&place, "database", "do not open the database");
    fs::write(data.join("master.keys"), key).unwrap();

    let (_held, address) = taken();
    let place = place.with("KEYFOB_WEB_LISTEN", &address);
    only_fault(&place, "web_listener", "another program listens there");
}

#[test]
fn the_doctor_makes_nothing_and_says_what_cannot_be_reached() {
    let place = Place::new()
        .with("KEYFOB_TESLASCOPE_URL", "http://127.0.0.1:1")
        .with("KEYFOB_TESLASCOPE_MCP_URL", "http://127.0.0.1:1/mcp");
    let found = faults(&place);
    let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["provider", "mcp_server"], "{found:?}");
    assert!(found[0].1.contains("no connection can be made"), "{found:?}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}
