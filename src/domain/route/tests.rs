use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

fn judge(method: &str, path: &str) -> Result<String, RouteRefusal> {
    let route = RouteTable::built_in().judge(method, path.as_bytes())?;
    Ok(format!("{} {}{}", route.need, route.template, if route.command { " command" } else { "" }))
}

#[test]
fn every_row_of_the_table_gives_its_scope() {
    for (path, expected) in [
        ("/api/account", "account /api/account"),
        ("/api/account/", "account /api/account"),
        ("/api/account/security/x", "account /api/account/{rest...}"),
        ("/api/account/tesla", "account /api/account/{rest...}"),
        ("/api/account/Tesla-accounts", "account /api/account/{rest...}"),
        ("/api/account/tesla-accounts", "tesla-accounts /api/account/tesla-{name}"),
        ("/api/account/tesla-accounts/7/vehicles", "tesla-accounts /api/account/tesla-{name}/{rest...}"),
        ("/api/vehicles", "vehicles /api/vehicles"),
        ("/api/vehicle/corsair", "vehicles /api/vehicle/{id}"),
        ("/api/vehicle/corsair/", "vehicles /api/vehicle/{id}"),
        ("/api/vehicle/corsair/detailed", "vehicles /api/vehicle/{id}/detailed"),
        ("/api/vehicle/corsair/drive/7", "vehicles /api/vehicle/{id}/drive/{n}"),
        ("/api/vehicle/corsair/location/7/", "vehicles /api/vehicle/{id}/location/{n}"),
        ("/api/vehicle/corsair/drive", "controls /api/vehicle/{id}/{rest...} command"),
        ("/api/vehicle/corsair/drive/7/x", "controls /api/vehicle/{id}/{rest...} command"),
        ("/api/vehicle/corsair/State", "controls /api/vehicle/{id}/{rest...} command"),
        ("/api/vehicle/corsair/command/honkHorn", "controls /api/vehicle/{id}/command/{name} command"),
        ("/api/vehicle/corsair/wakeup", "controls /api/vehicle/{id}/wakeup command"),
        ("/api/vehicle/corsair/update/", "controls /api/vehicle/{id}/update command"),
        ("/api/software", "public /api/software"),
        ("/api/software/2026.6.9", "public /api/software/{version}"),
        ("/mcp", "mcp:use /mcp"),
        ("/mcp/", "mcp:use /mcp"),
        ("/mcp/a/b", "mcp:use /mcp/{rest...}"),
    ] {
        assert_eq!(judge("GET", path), Ok(expected.to_owned()), "{path}");
    }
}

#[test]
fn what_is_in_no_row_is_unknown_whatever_the_method() {
    for path in [
        "/",
        "/api",
        "/api/",
        "/api/vehicle",
        "/api/vehicle/",
        "/api/vehicles/x",
        "/API/vehicles",
        "/oauth/token",
        "/api/software/a/b",
        "/healthz",
        "/metrics",
        "/mcpx",
        "/api/mcp",
        "/api/v1/vehicles",
    ] {
        for method in ["GET", "POST", "TRACE", "get"] {
            assert_eq!(judge(method, path), Err(RouteRefusal::Unknown), "{method} {path}");
        }
    }
}

#[test]
fn a_method_that_is_not_listed_is_refused_with_those_that_are() {
    for (method, path, allow) in [
        ("POST", "/api/vehicles", "GET, HEAD"),
        ("HEAD", "/api/vehicle/c/command/honkHorn", "GET, POST"),
        ("DELETE", "/api/vehicle/c/wakeup", "GET, POST"),
        ("HEAD", "/mcp", "GET, POST, DELETE"),
        ("get", "/api/vehicles", "GET, HEAD"),
        ("TRACE", "/api/account", "GET, HEAD, POST, PUT, PATCH, DELETE"),
        ("OPTIONS", "/api/software", "GET, HEAD"),
    ] {
        match judge(method, path) {
            Err(RouteRefusal::Method { allow: listed }) => assert_eq!(listed.to_string(), allow, "{method} {path}"),
            other => panic!("{method} {path}: {other:?}"),
        }
    }
    assert!(judge("PATCH", "/api/vehicle/c/fleet/x").is_ok());
}

#[test]
fn a_path_that_could_be_read_in_two_ways_is_refused_before_its_method() {
    for path in [
        "/api/./vehicles",
        "/api/../vehicles",
        "/api/vehicle/c/..",
        "/api/vehicle/c/.",
        "/api/vehicle/%2e%2e/x",
        "/api/%76ehicles",
        "/api/vehicle/c%2fcommand",
        "/api/vehicle/c%2Fcommand",
        "/api/vehicle/c%5cx",
        "/api/vehicle/c%00",
        "/api/vehicle/c\\x",
        "//api/vehicles",
        "/api//vehicles",
        "/api/vehicles//",
        "/api/vehicle/c;x/state",
        "/api/vehicle/c%3bx",
        "/api/vehicle/c\x01",
        "/api/vehicle/c%0a",
        "/api/vehicle/c%7f",
        "/api/vehicle/%252e",
        "/api/vehicle/%2525",
        "/api/vehicle/%25%32%65",
        "/api/vehicle/%252%65",
        "/api/vehicle/%",
        "/api/vehicle/%2",
        "/api/vehicle/%zz",
        "/api/vehicle/é",
        "/api/vehicles#x",
        "/api/vehicle/%c0%ae",
        "/api/vehicle/%c0%af",
        "/api/vehicle/%ff",
        "/api/vehicle/{id}",
        "/api/vehicle/a b",
        "api/vehicles",
        "",
        "*",
        "http://host/api/vehicles",
        "/api/vehicle/%u002e",
        "/api/vehicle/c%7E",
    ] {
        for method in ["GET", "TRACE"] {
            assert!(matches!(judge(method, path), Err(RouteRefusal::Ambiguous(_))), "{method} {path}");
        }
    }
}

#[test]
fn encodings_that_all_readers_understand_alike_pass() {
    for path in [
        "/api/vehicle/a%20b/state",
        "/api/vehicle/%C3%A9",
        "/api/software/100%25",
        "/api/vehicle/a:b@c",
        "/api/vehicle/...",
        "/api/vehicle/%3fx",
    ] {
        assert!(judge("GET", path).is_ok(), "{path}");
    }
}

fn extra(methods: &[&str], path: &str, scope: &str) -> ExtraRow {
    let methods = methods.iter().map(|&name| name.to_owned()).collect();
    ExtraRow { methods, path: path.to_owned(), scope: Some(scope.to_owned()), public: false }
}

#[test]
fn rows_of_the_routes_file_join_the_table() {
    let rows = [
        extra(&["GET", "HEAD"], "/api/vehicle/{id}/charging-history", "vehicles"),
        extra(&["GET"], "/api/vehicle/{id}/history/{n}", "vehicles"),
        extra(&["GET"], "/api/status", "public"),
        extra(&["POST"], "/api/vehicle/{id}/trips", "vehicles"),
        extra(&["GET"], "/api/account/tesla-x", "tesla-accounts"),
        extra(&["GET"], "/api/account/tesla-x/{n}", "tesla-accounts"),
        extra(&["GET"], "/api/account/sessions", "account"),
        extra(&["POST"], "/api/vehicle/{id}/command/honk", "controls"),
    ];
    let table = RouteTable::with_extra(&rows).unwrap();
    let need = |method: &str, path: &str| table.judge(method, path.as_bytes()).map(|route| route.need);
    assert_eq!(need("GET", "/api/vehicle/c/charging-history"), Ok(Need::Scope(Scope::Vehicles)));
    assert_eq!(need("GET", "/api/vehicle/c/history/3"), Ok(Need::Scope(Scope::Vehicles)));
    assert_eq!(need("GET", "/api/vehicle/c/history"), Ok(Need::Scope(Scope::Controls)));
    assert_eq!(need("GET", "/api/vehicle/c/history/3/x"), Ok(Need::Scope(Scope::Controls)));
    assert_eq!(need("GET", "/api/status"), Ok(Need::Public));
    assert_eq!(need("POST", "/api/vehicle/c/trips"), Ok(Need::Scope(Scope::Vehicles)));
    assert_eq!(need("HEAD", "/api/vehicle/c/trips"), Ok(Need::Scope(Scope::Vehicles)));
    assert!(need("POST", "/api/vehicle/c/charging-history").is_err());
}

#[test]
fn a_row_that_contradicts_another_or_cannot_be_read_is_refused_with_advice() {
    for (row, says) in [
        (extra(&["GET"], "/api/vehicle/{id}/trips", "controls"), "contradicts the row /api/vehicle/{id}/trips"),
        (extra(&["DELETE"], "/api/vehicle/{id}/trips", "controls"), "contradicts"),
        (extra(&["GET"], "/api/vehicle/{id}/{x}", "vehicles"), "contradicts the row /api/vehicle/{id}/wakeup"),
        (extra(&["GET"], "/api/{x}", "vehicles"), "contradicts the row /api/account"),
        (extra(&["GET"], "/api/vehicle/{id}/command/honkHorn", "public"), "contradicts"),
        (extra(&["GET"], "/api/account/tesla-x", "account"), "contradicts the row /api/account/tesla-{name}"),
        (extra(&["GET"], "/api/account/tesla-x", "vehicles"), "contradicts the row /api/account/tesla-{name}"),
        (
            extra(&["GET"], "/api/account/tesla-x/{n}", "account"),
            "contradicts the row /api/account/tesla-{name}/{rest...}",
        ),
        (extra(&["HEAD"], "/api/vehicle/{id}/wakeup", "controls"), "takes no HEAD"),
        (extra(&["GET", "HEAD"], "/api/vehicle/{id}/command/honk", "controls"), "takes no HEAD"),
        (extra(&["GET"], "/api/vehicle/{id}/unlock/now", "public"), "contradicts the row /api/vehicle/{id}/{rest...}"),
        (
            extra(&["POST"], "/api/vehicle/{id}/{kind}/{a}/{b}", "vehicles"),
            "contradicts the row /api/vehicle/{id}/{rest...}",
        ),
        (extra(&["GET"], "/api/vehicle/{id}/command", "vehicles"), "contradicts the row /api/vehicle/{id}/{rest...}"),
        (extra(&["GET"], "/api/vehicle/{id}/wakeup/x", "vehicles"), "contradicts the row /api/vehicle/{id}/{rest...}"),
        (extra(&["GET"], "/api/account/{x}", "account"), "contradicts the row /api/account/tesla-{name}"),
        (extra(&["GET"], "/mcp/x", "mcp:use"), "must begin with /api/"),
        (extra(&["GET"], "/api/x//y", "vehicles"), "empty segment"),
        (extra(&["GET"], "/api/x/../y", "vehicles"), "dot segment"),
        (extra(&["GET"], "/api/x/{rest...}", "vehicles"), "one segment only"),
        (extra(&["GET"], "/api/x%20y", "vehicles"), "letters, digits"),
        (extra(&[], "/api/x", "vehicles"), "at least one"),
        (extra(&["get"], "/api/x", "vehicles"), "\"get\" is not one of GET"),
        (extra(&["GET"], "/api/x", "car"), "\"car\" is not a scope"),
    ] {
        let fault = RouteTable::with_extra(std::slice::from_ref(&row)).unwrap_err().to_string();
        assert!(fault.starts_with("route 1: ") && fault.contains(says), "{fault}");
    }
    let two = [extra(&["GET"], "/api/x/{y}", "vehicles"), extra(&["POST"], "/api/x/z", "controls")];
    assert!(RouteTable::with_extra(&two).unwrap_err().to_string().starts_with("route 2: "));
}

static TABLE: LazyLock<RouteTable> = LazyLock::new(RouteTable::built_in);

fn agree(raw: &[u8]) -> Result<(), TestCaseError> {
    let judged = match TABLE.judge("GET", raw) {
        Ok(route) => Some(route.need),
        Err(RouteRefusal::Unknown) => None,
        Err(RouteRefusal::Ambiguous(_)) => return Ok(()),
        Err(RouteRefusal::Method { .. }) => panic!("every row takes GET"),
    };
    let readings = oracle::readings(raw);
    prop_assert_eq!(readings.len(), 4);
    for (reader, reading) in readings {
        prop_assert_eq!(judged, oracle::need(&reading), "{} reads {:?}", reader, String::from_utf8_lossy(raw));
    }
    Ok(())
}

/// Paths made of what attacks are made of.
fn hostile_path() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(vec![
        "/",
        "/",
        "/",
        "api",
        "account",
        "tesla-",
        "tesla-accounts",
        "vehicle",
        "vehicles",
        "corsair",
        "command",
        "honkHorn",
        "state",
        "drive",
        "software",
        "mcp",
        ".",
        "..",
        "%2e",
        "%2E%2e",
        "%2f",
        "%5c",
        "\\",
        "%25",
        "%252f",
        "%00",
        ";",
        "%3b",
        "#",
        "%23",
        "?",
        "%3f",
        "%",
        "%6",
        "%76ehicles",
        "%c3%a9",
        "%c0%af",
        " ",
        "%20",
        "~",
        "@",
        ":",
        "{id}",
        "|",
        "\t",
        "A",
        "1",
        "é",
    ]);
    let start = prop::sample::select(vec!["", "/", "/api/", "/api/vehicle/corsair", "/api/account", "/mcp"]);
    (start, prop::collection::vec(token, 0..10))
        .prop_map(|(start, tokens)| (start.to_owned() + &tokens.concat()).into_bytes())
}

proptest! {
    // Seconds as it stands; PROPTEST_CASES=100000000 runs for many minutes.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(20_000),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn the_judge_decides_as_every_reader_would(raw in hostile_path()) {
        agree(&raw)?;
    }

    #[test]
    fn no_bytes_make_the_judge_panic_or_disagree(raw in prop::collection::vec(any::<u8>(), 0..64)) {
        agree(&raw)?;
        let with_slash = [b"/api/vehicle/", raw.as_slice()].concat();
        agree(&with_slash)?;
    }
}
