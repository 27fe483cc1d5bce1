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
