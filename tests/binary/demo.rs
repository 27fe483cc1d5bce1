use serde_json::Value;

use crate::program::{Place, ask, get};

const DATA: [&str; 2] = ["--data-dir", "keyfob-demo"];

fn json(place: &Place, arguments: &[&str]) -> Value {
    let ended = place.run(&[&DATA, arguments].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.out).unwrap()
}

#[test]
fn a_demo_says_by_one_line_of_json_what_it_is_reached_by() {
    let place = Place::new();
    let (running, shown) = place.demo();
    let names: Vec<_> = shown.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["app_key", "curl", "password", "proxy", "sandbox", "username", "web"]);
    let text = |name: &str| shown[name].as_str().unwrap();
    assert!(text("curl").contains(text("app_key")) && text("curl").contains(text("proxy")));
    for (name, path) in [("web", "/sign-in"), ("sandbox", "/")] {
        let address = text(name).strip_prefix("http://").unwrap().replace("localhost", "127.0.0.1").parse().unwrap();
        assert!(get(address, path).0 < 500, "{name}");
    }
    let proxy = text("proxy").strip_prefix("http://").unwrap().parse().unwrap();
    let call = |path: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {proxy}\r\nAuthorization: Bearer {}", text("app_key"));
        ask(proxy, &head)
    };
    let (status, vehicles) = call("/api/vehicles");
    assert!(status == 200 && vehicles.ends_with(']'), "the printed call works: {vehicles}");
    assert_eq!(call("/api/vehicle/1/command/honk").0, 403, "nothing that moves a car");
    let grants = json(&place, &["grant", "list", "--json"]);
    assert_eq!((grants[0]["kind"].as_str(), grants[0]["status"].as_str()), (Some("oauth"), Some("active")), "{grants}");
    assert_eq!(json(&place, &["user", "list", "--json"])[0]["role"], "admin");
    running.signal("TERM");
    assert_eq!(running.wait().0, Some(0));
}

#[test]
fn a_second_demo_takes_the_first_up_again() {
    let place = Place::new();
    let (first, one) = place.demo();
    first.signal("TERM");
    first.wait();
    let (_second, two) = place.demo();
    assert!(one["password"] != two["password"] && one["app_key"] != two["app_key"]);
    for (list, expected) in [("user", 1), ("grant", 1), ("app", 1)] {
        let listed = json(&place, &[list, "list", "--json"]);
        assert_eq!(listed.as_array().unwrap().len(), expected, "{list}");
    }
    let kinds = json(&place, &["audit", "--kind", "app.rolled", "--json"]);
    assert_eq!(kinds.as_array().unwrap().len(), 1);
}

#[test]
fn a_real_data_directory_gets_no_demo_user() {
    let place = Place::new();
    assert_eq!(place.run(&["user", "add", "ada", "--admin"]).code, Some(0));
    let ended = place.run(&["demo", "--data-dir", "keyfob-data"]);
    assert!(ended.code == Some(1) && ended.err.contains("no demo"), "{ended:?}");
    assert_eq!(place.run(&["user", "list"]).out.lines().count(), 2);
}

#[test]
fn a_call_can_be_made_from_the_command_line_as_an_app_and_as_a_user() {
    let place = Place::new();
    let (_running, shown) = place.demo();
    let key = shown["app_key"].as_str().unwrap();
    let call = |arguments: &[&str]| place.run(&[&DATA, ["call"].as_slice(), arguments].concat());
    for caller in [["--app", key], ["--user", "demo"]] {
        let ended = call(&[&caller, ["GET", "/api/vehicles"].as_slice()].concat());
        assert!(ended.code == Some(0) && ended.err == "HTTP 200 OK\n", "{ended:?}");
        assert!(serde_json::from_str::<Value>(&ended.out).unwrap().is_array(), "{ended:?}");
    }
    let from_stdin = place.run_with_input(
        &[&DATA, ["call", "--app", "-", "get", "/api/software"].as_slice()].concat(),
        &format!("{key}\n"),
    );
    assert_eq!(from_stdin.code, Some(0), "{from_stdin:?}");
    for (arguments, code) in [
        (["--app", "kf_wrong", "GET", "/api/vehicles"], "invalid_app_key"),
        (["--app", key, "POST", "/api/vehicle/1/command/honk"], "insufficient_scope"),
        (["--user", "demo", "POST", "/api/vehicle/1/command/honk"], "no_grant"),
        (["--user", "demo", "GET", "/api/nothing"], "unknown_endpoint"),
    ] {
        let ended = call(&[&arguments, ["--json"].as_slice()].concat());
        let answer: Value = serde_json::from_str(&ended.out).unwrap();
        assert!(ended.code == Some(1) && answer["body"]["code"] == code, "{ended:?}");
    }
    for arguments in [
        ["--app", key, "FETCH", "/api/vehicles"].as_slice(),
        &["GET", "/api/vehicles"],
        &["--user", "demo", "GET", "http://evil.example/"],
    ] {
        assert_eq!(call(arguments).code, Some(2), "{arguments:?}");
    }
    let rows = json(&place, &["audit", "--kind", "call", "--json"]);
    assert!(rows.as_array().unwrap().iter().filter(|row| row["decision"] == "allowed").count() >= 3, "{rows}");
    let apps = json(&place, &["app", "list", "--json"]);
    assert_eq!(apps.as_array().unwrap().len(), 1, "the lent key is kept nowhere");
}

#[test]
fn a_grant_is_refreshed_and_disconnected_from_the_command_line() {
    let place = Place::new();
    let (_running, _) = place.demo();
    let grant = json(&place, &["grant", "list", "--json"])[0].clone();
    let id = grant["id"].as_str().unwrap();
    let run = |arguments: &[&str]| place.run(&[&DATA, arguments].concat());
    let refreshed = run(&["grant", "refresh", id]);
    assert_eq!(refreshed.code, Some(0), "{refreshed:?}");
    assert!(!json(&place, &["grant", "list", "--json"])[0]["refreshed_at"].is_null());
    let token = place.run_with_input(
        &[
            &DATA,
            ["grant", "add-token", "--user", "demo", "--kind", "personal_access_token", "--scope", "vehicles"]
                .as_slice(),
        ]
        .concat(),
        "not-a-token\n",
    );
    assert!(token.code == Some(1) && token.err.contains("does not accept"), "{token:?}");
    assert_eq!(run(&["grant", "disconnect", id]).code, Some(0));
    assert_eq!(run(&["grant", "disconnect", id]).code, Some(1));
    assert_eq!(run(&["grant", "refresh", id]).code, Some(1));
}

#[test]
fn a_call_is_one_line_of_the_log_and_one_that_went_through_only_at_debug_level() {
    for (level, lines) in [("info", 2), ("debug", 3)] {
        let place = Place::new().with("KEYFOB_LOG", level);
        let (running, shown) = place.demo();
        let proxy: std::net::SocketAddr = shown["proxy"].as_str().unwrap()["http://".len()..].parse().unwrap();
        let key = shown["app_key"].as_str().unwrap();
        for (path, status) in
            [("/api/vehicles", 200), ("/api/vehicle/1/command/honk?token=x", 403), ("/api/no-such", 403)]
        {
            let head = format!("GET {path} HTTP/1.1\r\nHost: {proxy}\r\nAuthorization: Bearer {key}");
            assert_eq!(ask(proxy, &head).0, status, "{path}");
        }
        running.signal("TERM");
        let log = running.whole_log();
        let told: Vec<_> = log.lines().filter(|line| line.contains("A call has ended")).collect();
        assert_eq!(told.len(), lines, "{level}: {told:#?}");
        assert!(told.iter().any(|line| line.contains("insufficient_scope")), "{told:#?}");
        assert!(!log.contains(key) && !log.contains("token=x"), "{log}");
    }
}

#[test]
fn an_app_that_is_revoked_by_a_command_is_cut_off_when_the_command_says_so_and_its_trail_is_found_by_name() {
    let place = Place::new();
    let (_running, shown) = place.demo();
    let proxy: std::net::SocketAddr = shown["proxy"].as_str().unwrap()["http://".len()..].parse().unwrap();
    let user = shown["username"].as_str().unwrap();
    for turn in 0..4 {
        let name = format!("app{turn}");
        let made = json(&place, &["app", "add", &name, "--user", user, "--scope", "vehicles", "--json"]);
        let head = format!(
            "GET /api/vehicles HTTP/1.1\r\nHost: {proxy}\r\nAuthorization: Bearer {}",
            made["key"].as_str().unwrap()
        );
        assert_eq!(ask(proxy, &head).0, 200);
        assert_eq!(place.run(&[&DATA[..], &["app", "revoke", &name]].concat()).code, Some(0));
        assert_eq!(ask(proxy, &head).0, 401, "{turn}");
        let trail = json(&place, &["audit", "--app", &name, "--json"]);
        assert!(trail.as_array().unwrap().iter().any(|event| event["kind"] == "app.revoked"), "{trail}");
    }
}
