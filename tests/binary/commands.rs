use serde_json::Value;

use crate::program::{Ended, Place};

fn json(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"))
}

/// Whether a JSON object has these members and no others.
fn has_members(value: &Value, names: &str) -> bool {
    let mut names: Vec<_> = names.split(' ').collect();
    names.sort_unstable();
    value.as_object().unwrap().keys().eq(&names)
}

const USER: &str = "id name role created_at";
const APP: &str = "id name user scopes grant query_key created_at last_used_at expires_at revoked_at";
const EVENT: &str = "id at kind user app grant method path scope decision status duration_ms";

/// A place with an admin `ada`.
fn with_ada() -> Place {
    let place = Place::new();
    let ended = place.run_with_input(&["user", "add", "ada", "--admin", "--password-stdin"], "correct horse battery\n");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    place
}

#[test]
fn accounts_are_made_listed_and_removed() {
    let place = with_ada();
    let made = json(&place.run(&["user", "add", "ben", "--json"]));
    assert!(has_members(&made, &format!("{USER} password")), "{made}");
    assert_eq!((made["name"].as_str(), made["role"].as_str()), (Some("ben"), Some("member")));
    let password = made["password"].as_str().unwrap();
    assert_eq!(password.len(), 20);

    let listed = place.run(&["user", "list", "--json"]);
    assert!(!listed.out.contains(password), "a password is shown once");
    let listed = json(&listed);
    assert!(has_members(&listed[0], USER), "{listed}");
    assert_eq!(listed.as_array().unwrap().len(), 2);

    let reset = json(&place.run(&["user", "reset-password", "ben", "--json"]));
    assert_ne!(reset["password"], made["password"]);
    assert_eq!(place.run(&["user", "remove", "ben"]).code, Some(0));
    assert_eq!(place.run(&["user", "remove", "ben"]).code, Some(1), "not found");
    let last = place.run(&["user", "remove", "ada"]);
    assert!(last.code == Some(1) && last.err.contains("last admin"), "{last:?}");
    let table = place.run(&["user", "list"]).out;
    assert!(table.starts_with("NAME  ROLE   MADE") && table.lines().count() == 2, "{table}");
}

#[test]
fn a_bad_name_or_password_is_refused_in_words() {
    let place = with_ada();
    for (name, password, word) in [
        ("ADA", "correct horse battery", "taken"),
        ("a b", "correct horse battery", "letters"),
        ("ben", "short", "at least"),
        ("ben", "", "no password"),
    ] {
        let ended = place.run_with_input(&["user", "add", name, "--password-stdin"], &format!("{password}\n"));
        assert!(ended.code == Some(1) && ended.err.contains(word) && ended.out.is_empty(), "{ended:?}");
    }
}

#[test]
fn an_app_is_made_rolled_and_revoked_and_its_key_shown_once() {
    let place = with_ada();
    let add = [
        "app",
        "add",
        "dash",
        "--user",
        "ada",
        "--scope",
        "vehicles,account",
        "--scope",
        "mcp:use",
        "--expires",
        "90d",
        "--json",
    ];
    let made = json(&place.run(&add));
    assert!(has_members(&made, &format!("{APP} key")), "{made}");
    assert_eq!(made["user"], "ada");
    assert_eq!(made["scopes"], serde_json::json!(["account", "vehicles", "mcp:use"]));
    assert!(made["grant"].is_null() && made["expires_at"].as_str().unwrap().ends_with('Z'));
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with("kf_") && key.len() == 46);

    let listed = place.run(&["app", "list", "--user", "ada", "--json"]);
    assert!(!listed.out.contains(key));
    assert!(has_members(&json(&listed)[0], APP));

    let rolled = json(&place.run(&["app", "roll", "dash", "--overlap", "1h", "--json"]));
    assert!(rolled["id"] == made["id"] && rolled["key"] != made["key"]);
    assert_eq!(place.run(&["app", "revoke", made["id"].as_str().unwrap()]).code, Some(0));
    assert_eq!(place.run(&["app", "revoke", "dash"]).code, Some(1));
    assert!(!json(&place.run(&["app", "list", "--json"]))[0]["revoked_at"].is_null());
}

#[test]
fn what_cannot_be_is_an_argument_fault_or_a_refusal() {
    let place = with_ada();
    for arguments in [
        ["app", "add", "x", "--user", "ada", "--scope", "everything"].as_slice(),
        &["app", "add", "x", "--user", "ada"],
        &["app", "add", "x", "--user", "ada", "--scope", "vehicles", "--expires", "soon"],
        &["app", "add", "x", "--user", "ada", "--scope", "vehicles", "--grant", "1"],
        &["grant", "list", "--status", "broken"],
        &["grant", "list", "--json", "--csv"],
        &["audit", "--since", "yesterday"],
        &["user"],
    ] {
        let ended = place.run(arguments);
        assert!(ended.code == Some(2) && ended.out.is_empty(), "{arguments:?}: {ended:?}");
    }
    for arguments in [
        ["app", "add", "x", "--user", "nobody", "--scope", "vehicles"].as_slice(),
        &["app", "roll", "nothing"],
        &["grant", "list", "--user", "nobody"],
        &["grant", "disconnect", "01890000-0000-7000-8000-000000000000"],
        &["admin-key", "revoke", "nothing"],
    ] {
        let ended = place.run(arguments);
        assert!(ended.code == Some(1) && ended.err.starts_with("keyfob: "), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn admin_keys_are_made_and_revoked() {
    let place = with_ada();
    let made = json(&place.run(&["admin-key", "add", "ci", "--json"]));
    assert!(made["key"].as_str().unwrap().starts_with("kfa_"));
    assert_eq!(json(&place.run(&["admin-key", "list", "--json"]))[0]["name"], "ci");
    assert_eq!(place.run(&["admin-key", "revoke", "ci"]).code, Some(0));
    assert_eq!(place.run(&["admin-key", "revoke", "ci"]).code, Some(1));
}

#[test]
fn changes_are_in_the_audit_with_the_members_of_the_contract() {
    let place = with_ada();
    json(&place.run(&["app", "add", "dash", "--user", "ada", "--scope", "vehicles", "--json"]));
    let events = json(&place.run(&["audit", "--since", "1h", "--json"]));
    let kinds: Vec<_> = events.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["app.made", "user.made"]);
    assert!(has_members(&events[0], EVENT), "{events}");
    assert_eq!(events[0]["user"], "ada");
    assert_eq!(json(&place.run(&["audit", "--app", "dash", "--json"])).as_array().unwrap().len(), 1);
    assert_eq!(
        json(&place.run(&["audit", "--kind", "user.made", "--limit", "1", "--json"])).as_array().unwrap().len(),
        1
    );
}

#[test]
fn grants_are_listed_as_json_csv_and_table() {
    let place = with_ada();
    assert_eq!(json(&place.run(&["grant", "list", "--json"])), serde_json::json!([]));
    assert!(place.run(&["grant", "list", "--csv"]).out.starts_with("id,user,label,kind,status,reason,"));
    assert!(place.run(&["grant", "list", "--user", "ada", "--scope", "vehicles"]).out.starts_with("USER  LABEL"));
}

#[test]
fn commands_work_beside_a_running_service() {
    let place = Place::new();
    let running = place.serve(&[]);
    assert_eq!(place.run(&["user", "add", "ada", "--admin"]).code, Some(0));
    assert_eq!(json(&place.run(&["user", "list", "--json"])).as_array().unwrap().len(), 1);
    running.signal("TERM");
    assert_eq!(running.wait().0, Some(0));
}
