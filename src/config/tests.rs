use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{Faults, Given, LogFormat, Settings, Source, keys};
use crate::domain::app::Rate;

/// What a person gives: flags as `--name value`, variables as `NAME=value`, and a file.
fn given(
    flags: &[(&'static str, &str)],
    environment: &[(&str, &str)],
    file: Option<&str>,
) -> (tempfile::TempDir, Given) {
    let dir = tempfile::tempdir().unwrap();
    let mut environment: BTreeMap<_, _> = environment.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    if let Some(text) = file {
        let path = dir.path().join("keyfob.toml");
        fs::write(&path, text).unwrap();
        environment.insert("KEYFOB_CONFIG".into(), path.into());
    }
    let flags = flags.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
    (dir, Given { flags, environment, terminal: false, data_dir: None })
}

fn load(flags: &[(&'static str, &str)], environment: &[(&str, &str)], file: Option<&str>) -> Result<Settings, Faults> {
    let (_dir, given) = given(flags, environment, file);
    Settings::load(&given)
}

fn faults(flags: &[(&'static str, &str)], environment: &[(&str, &str)], file: Option<&str>) -> String {
    load(flags, environment, file).unwrap_err().to_string()
}

#[test]
fn nothing_set_gives_the_defaults_of_the_contract() {
    let settings = load(&[], &[], None).unwrap();
    assert_eq!(settings.database.to_str(), Some("./keyfob-data/keyfob.db"));
    assert_eq!(settings.master_keys_file.to_str(), Some("./keyfob-data/master.keys"));
    assert_eq!(settings.public_url.as_str(), "http://localhost:8700");
    assert_eq!(settings.proxy_public_url.as_str(), "http://127.0.0.1:8701");
    assert_eq!(settings.teslascope_mcp_url.as_str(), "https://mcp.teslascope.com");
    assert_eq!((settings.max_request_body, settings.max_connections), (64 << 20, 16_384));
    assert_eq!((settings.app_rate, settings.log_format), (None, LogFormat::Json));
    assert!(settings.in_effect.iter().all(|set| set.source == Source::Default));
    assert_eq!(settings.in_effect.len(), keys::ALL.len());
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let file = "drain = \"4s\"\napp_rate = \"10/s\"\naudit_rows = 5\n";
    let settings =
        load(&[("drain", "2s")], &[("KEYFOB_DRAIN", "3s"), ("KEYFOB_APP_RATE", "20/s")], Some(file)).unwrap();
    assert_eq!(settings.drain.as_secs(), 2);
    assert_eq!(settings.app_rate, "20/s".parse::<Rate>().ok());
    assert_eq!(settings.audit_rows, 5);
    let sources = [keys::DRAIN, keys::APP_RATE, keys::AUDIT_ROWS, keys::LOG].map(|key| settings.source(&key));
    assert_eq!(sources, [Source::Flag, Source::Environment, Source::File, Source::Default]);
}

#[test]
fn an_empty_variable_is_not_set_while_an_empty_flag_or_text_is_a_fault() {
    assert_eq!(load(&[], &[("KEYFOB_DRAIN", "")], None).unwrap().drain.as_secs(), 10);
    assert!(faults(&[("drain", "")], &[], None).starts_with("--drain: is empty; "));
    assert!(faults(&[], &[], Some("drain = \"\"")).starts_with("drain in /"));
}

#[test]
fn all_faults_come_at_once_each_with_the_name_that_was_written() {
    let text = faults(
        &[("drain", "fast")],
        &[("KEYFOB_WEB_LISTEN", "here"), ("KEYFOB_ALLOW_REMOTE", "yes")],
        Some("app_rate = \"many\"\nwebb_listen = \"x\"\naudit_rows = 1.5\n"),
    );
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 6, "{text}");
    for start in [
        "--drain: ",
        "KEYFOB_WEB_LISTEN: ",
        "KEYFOB_ALLOW_REMOTE: ",
        "app_rate in ",
        "webb_listen in ",
        "audit_rows in ",
    ] {
        assert_eq!(lines.iter().filter(|line| line.starts_with(start)).count(), 1, "{start}: {text}");
    }
    assert!(text.contains("did you mean web_listen?"));
}

#[test]
fn a_mistyped_variable_is_a_fault_and_a_foreign_one_a_notice() {
    assert!(faults(&[], &[("KEYFOB_DATA_DRI", "x")], None).contains("did you mean KEYFOB_DATA_DIR?"));
    let settings = load(&[], &[("KEYFOB_PORT_8700_TCP", "tcp://10.0.0.1:8700")], None).unwrap();
    assert!(settings.notices[0].contains("KEYFOB_PORT_8700_TCP") && !settings.notices[0].contains("10.0.0.1"));
}

#[test]
fn every_setting_can_stand_in_the_file_but_the_files_own_place() {
    let dir = tempfile::tempdir().unwrap();
    let example = |name: &str| match name {
        "database_url" => "\"sqlite:///tmp/x.db\"".to_owned(),
        "teslascope_ca_file" | "routes_file" | "oauth_client_secret_file" => {
            let path = dir.path().join(name);
            fs::write(&path, if name == "routes_file" { "" } else { "secret\n" }).unwrap();
            format!("\"{}\"", path.display())
        }
        n if n.ends_with("listen") => "\"127.0.0.1:1\"".to_owned(),
        "allow_remote" => "true".to_owned(),
        "trusted_proxies" => "[\"10.0.0.1\", \"fd00::/8\"]".to_owned(),
        "allowed_origins" => "[\"https://a.example\"]".to_owned(),
        n if n.starts_with("oauth_") && n.ends_with("_url") => "\"https://www.teslascope.com/x\"".to_owned(),
        "teslascope_url" => "\"https://teslascope.com\"".to_owned(),
        n if n.ends_with("_url") => "\"https://mcp.teslascope.com/x\"".to_owned(),
        "token_timeout" | "upstream_timeout" | "drain" | "audit_keep" => "\"5s\"".to_owned(),
        "max_request_body" => "\"1MiB\"".to_owned(),
        "app_rate" => "\"1/s\"".to_owned(),
        "refresh_rate_per_minute" | "max_connections" | "audit_rows" => "7".to_owned(),
        "log" => "\"debug\"".to_owned(),
        "log_format" => "\"json\"".to_owned(),
        _ => "\"text\"".to_owned(),
    };
    let set = keys::ALL.iter().filter(|key| !matches!(key.name, "config" | "oauth_client_secret"));
    let text = set.map(|key| format!("{} = {}", key.name, example(key.name))).collect::<Vec<_>>().join("\n");
    let settings = load(&[], &[], Some(&text)).unwrap();
    let left: Vec<_> =
        settings.in_effect.iter().filter(|set| set.source == Source::Default).map(|set| set.key.name).collect();
    assert_eq!(left, ["oauth_client_secret"]);
    assert!(faults(&[], &[], Some("config = \"x\"")).contains("config in "));
}

#[test]
fn remote_addresses_need_to_be_allowed_on_every_listener() {
    for name in ["WEB", "PROXY", "OPS", "SANDBOX"] {
        let key = format!("KEYFOB_{name}_LISTEN");
        for address in ["0.0.0.0:1", "[::]:1", "192.168.1.1:1"] {
            let text = faults(&[], &[(&key, address)], None);
            assert!(text.starts_with(&key) && text.contains("KEYFOB_ALLOW_REMOTE=true"), "{text}");
            assert!(load(&[], &[(&key, address), ("KEYFOB_ALLOW_REMOTE", "true")], None).is_ok());
        }
        assert!(load(&[], &[(&key, "[::1]:1")], None).is_ok());
    }
}

#[test]
fn secrets_go_over_plain_http_only_on_this_machine() {
    for (name, value) in [
        ("KEYFOB_TESLASCOPE_URL", "http://teslascope.com"),
        ("KEYFOB_TESLASCOPE_MCP_URL", "http://mcp.teslascope.com"),
        ("KEYFOB_PUBLIC_URL", "http://keyfob.example"),
        ("KEYFOB_OAUTH_TOKEN_URL", "http://teslascope.com/oauth/token"),
    ] {
        assert!(faults(&[], &[(name, value)], None).starts_with(name), "{name}");
    }
    assert!(load(&[], &[("KEYFOB_TESLASCOPE_URL", "http://127.0.0.1:8799")], None).is_ok());
}

#[test]
fn endpoints_are_the_providers_own() {
    let load_with = |url: &str, provider: &str| {
        load(&[], &[("KEYFOB_OAUTH_TOKEN_URL", url), ("KEYFOB_TESLASCOPE_URL", provider)], None)
    };
    for good in ["https://teslascope.com/t", "https://auth.teslascope.com/t"] {
        assert!(load_with(good, "https://teslascope.com").is_ok(), "{good}");
    }
    for bad in ["https://evilteslascope.com/t", "https://teslascope.com.evil/t", "https://evil/t", "http://127.0.0.1/t"]
    {
        assert!(load_with(bad, "https://teslascope.com").is_err(), "{bad}");
    }
    assert!(load_with("http://localhost:9/t", "http://127.0.0.1:8").is_ok());
    assert!(load_with("http://evil/t", "http://127.0.0.1:8").is_err());
}

#[test]
fn other_databases_are_not_supported_yet_and_their_passwords_not_echoed() {
    let text = faults(&[], &[("KEYFOB_DATABASE_URL", "postgres://u:CANARY@h/db")], None);
    assert!(text.contains("not supported yet") && !text.contains("CANARY"), "{text}");
    for (url, path) in [("sqlite:///a/b.db", "/a/b.db"), ("sqlite:b.db", "b.db"), ("sqlite://./b.db", "./b.db")] {
        assert_eq!(load(&[], &[("KEYFOB_DATABASE_URL", url)], None).unwrap().database.to_str(), Some(path));
    }
    for bad in ["sqlite:", "sqlite::memory:", "sqlite://a?mode=ro"] {
        assert!(load(&[], &[("KEYFOB_DATABASE_URL", bad)], None).is_err(), "{bad}");
    }
}

#[test]
fn the_client_secret_is_read_from_its_file_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let path_text = path.to_str().unwrap();
    let put = |text: &str, mode: u32| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let with = |more: &[(&str, &str)]| {
        let mut all = vec![("KEYFOB_OAUTH_CLIENT_ID", "id"), ("KEYFOB_OAUTH_CLIENT_SECRET_FILE", path_text)];
        all.extend_from_slice(more);
        load(&[], &all, None)
    };
    put("CANARY secret\r\n", 0o600);
    let settings = with(&[]).unwrap();
    assert_eq!(settings.oauth_client_secret.as_ref().unwrap().expose(), b"CANARY secret");
    assert!(!format!("{settings:?}").contains("CANARY") && settings.notices.is_empty());
    put("CANARY", 0o644);
    assert!(with(&[]).unwrap().notices[0].contains("chmod 600"));
    for (text, mode) in [("CANARY", 0o666), ("", 0o600), ("\n", 0o600), ("CANARY\nCANARY", 0o600), ("CANARYé", 0o600)]
    {
        put(text, mode);
        assert!(!with(&[]).unwrap_err().to_string().contains("CANARY"), "{text:?}");
    }
    put("CANARY", 0o600);
    let both = with(&[("KEYFOB_OAUTH_CLIENT_SECRET", "CANARY")]).unwrap_err().to_string();
    assert!(both.contains("keep one of the two") && !both.contains("CANARY"), "{both}");
    let alone = faults(&[], &[("KEYFOB_OAUTH_CLIENT_SECRET", "CANARY")], None);
    assert!(alone.starts_with("KEYFOB_OAUTH_CLIENT_ID: is missing"), "{alone}");
}

#[test]
fn a_file_that_is_no_toml_is_named_by_line_and_not_quoted() {
    let text = faults(&[], &[], Some("drain = \"1s\"\noauth_client_secret = CANARY\n"));
    assert!(text.contains("keyfob.toml line 2: ") && !text.contains("CANARY"), "{text}");
    let missing = faults(&[("config", "/nowhere/keyfob.toml")], &[], None);
    assert!(missing.starts_with("--config: "), "{missing}");
}
