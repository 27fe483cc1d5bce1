use crate::program::{Place, get};

#[test]
fn flags_beat_the_environment_beats_the_file_beats_the_default() {
    let place =
        Place::new().with("KEYFOB_DATA_DIR", "from-environment").file("keyfob.toml", "data_dir = \"from-file\"\n");
    let made = |name: &str| place.path().join(name).join("keyfob.db").exists();
    drop(place.serve(&["--data-dir", "from-flag"]));
    assert!(made("from-flag") && !made("from-environment") && !made("from-file"));
    drop(place.serve(&[]));
    assert!(made("from-environment") && !made("from-file"));
    let place = place.with("KEYFOB_DATA_DIR", "");
    drop(place.serve(&[]));
    assert!(place.path().join("from-file/keyfob.db").exists() && !place.data().exists());
}

#[test]
fn a_flag_may_stand_before_or_after_the_command() {
    let place = Place::new();
    drop(place.serve(&["--data-dir=before", "serve"]));
    drop(place.serve(&["serve", "--data-dir=after"]));
    assert!(place.path().join("before").exists() && place.path().join("after").exists());
}

#[test]
fn all_faults_come_at_once_one_line_each() {
    let place = Place::new()
        .with("KEYFOB_WEB_LISTEN", "0.0.0.0:8700")
        .with("KEYFOB_TESLASCOPE_URL", "http://teslascope.com")
        .with("KEYFOB_OAUTH_CLIENT_SECRET", "CANARY")
        .file("keyfob.toml", "web_lisen = \"x\"\napp_rate = \"many\"\noauth_token_url = \"https://evil.example/\"\n");
    let ended = place.run(&["serve", "--max-request-body", "lots"]);
    assert_eq!(ended.code, Some(2));
    let lines: Vec<_> = ended.err.lines().collect();
    for start in [
        "KEYFOB_WEB_LISTEN: ",
        "KEYFOB_TESLASCOPE_URL: ",
        "KEYFOB_OAUTH_CLIENT_ID: ",
        "web_lisen in ./keyfob.toml: ",
        "app_rate in ./keyfob.toml: ",
        "oauth_token_url in ./keyfob.toml: ",
        "--max-request-body: ",
    ] {
        let start = format!("keyfob: {start}");
        assert_eq!(lines.iter().filter(|line| line.starts_with(&start)).count(), 1, "{start}\n{}", ended.err);
    }
    assert_eq!(lines.len(), 7, "{}", ended.err);
    assert!(ended.err.contains("did you mean web_listen?") && !ended.err.contains("CANARY"));
    assert!(ended.out.is_empty() && !place.data().exists());
}

#[test]
fn a_bad_routes_file_is_named_by_its_row() {
    let place = Place::new().with("KEYFOB_ROUTES_FILE", "routes.toml").file(
        "routes.toml",
        "[[route]]\nmethods = [\"GET\"]\npath = \"/api/news\"\nscope = \"public\"\n[[route]]\nmethods = [\"FETCH\"]\npath = \"/api/x\"\nscope = \"vehicles\"\n",
    );
    let ended = place.run(&["serve"]);
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.err.starts_with("keyfob: KEYFOB_ROUTES_FILE: route 2: ") && ended.err.lines().count() == 1,
        "{ended:?}"
    );
}

#[test]
fn a_remote_address_is_served_once_it_is_allowed() {
    let place = Place::new().with("KEYFOB_OPS_LISTEN", "0.0.0.0:0");
    assert_eq!(place.run(&["serve"]).code, Some(2));
    let place = place.with("KEYFOB_ALLOW_REMOTE", "true");
    let running = place.serve(&[]);
    let address = (std::net::Ipv4Addr::LOCALHOST, running.address("ops").port()).into();
    assert_eq!(get(address, "/healthz").0, 200);
}
