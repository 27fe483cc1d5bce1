//! From an empty directory to a working app key without a browser on this machine.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::sandbox::{Consent, Sandbox, SandboxConfig};
use serde_json::Value;

use crate::program::{Ended, Place};

/// A stand-in for Teslascope, and the runtime that it lives in.
struct Provider {
    runtime: tokio::runtime::Runtime,
    sandbox: Sandbox,
}

impl Provider {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sandbox = runtime.block_on(Sandbox::start(SandboxConfig::default())).unwrap();
        Self { runtime, sandbox }
    }

    /// A directory whose Keyfob takes it for Teslascope.
    fn place(&self) -> Place {
        Place::new()
            .with("KEYFOB_TESLASCOPE_URL", self.sandbox.url())
            .with("KEYFOB_TESLASCOPE_MCP_URL", self.sandbox.mcp_url())
            .with("KEYFOB_OAUTH_CLIENT_ID", "keyfob-sandbox")
    }

    fn stop(self) {
        self.runtime.block_on(self.sandbox.stop());
    }
}

fn json(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.out).unwrap()
}

/// Runs `grant connect`, opens the address that it prints, and pastes the one that `answer` makes of it.
fn connect(place: &Place, arguments: &[&str], answer: impl FnOnce(&str) -> String) -> Ended {
    let mut child = place.command(&[&["grant", "connect"], arguments].concat()).stdin(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("http://") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "no address was printed");
    }
    let pasted = answer(line.trim());
    child.stdin.take().unwrap().write_all(format!("{pasted}\n").as_bytes()).unwrap();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut said, &mut rest).unwrap();
    let ended = child.wait_with_output().unwrap();
    Ended { code: ended.status.code(), out: String::from_utf8(ended.stdout).unwrap(), err: rest }
}

#[test]
fn a_grant_is_given_by_pasting_the_address_that_a_browser_elsewhere_ended_at() {
    let provider = Provider::new();
    let place = provider.place();
    json(&place.run(&["user", "add", "ada", "--admin", "--json"]));
    let ticked = Consent::Authorize(ScopeSet::of(Scope::Vehicles));
    let given =
        connect(&place, &["--user", "ada", "--scope", "vehicles account", "--label", "Home", "--json"], |address| {
            provider.sandbox.decide(address, 1, ticked).unwrap()
        });
    let grant = json(&given);
    assert_eq!((grant["label"].as_str(), grant["kind"].as_str()), (Some("Home"), Some("oauth")));
    let app = json(&place.run(&["app", "add", "dash", "--user", "ada", "--scope", "vehicles", "--json"]));
    let called = place.run(&["call", "--app", app["key"].as_str().unwrap(), "GET", "/api/vehicles"]);
    assert_eq!(called.code, Some(0), "{called:?}");

    // The same grant, widened, keeps its id.
    let id = grant["id"].as_str().unwrap();
    let all = Consent::Authorize(ScopeSet::ALL);
    let widened =
        connect(&place, &["--user", "ada", "--scope", "vehicles,controls", "--grant", id, "--json"], |address| {
            provider.sandbox.decide(address, 1, all).unwrap()
        });
    assert_eq!(json(&widened)["id"], grant["id"]);
    provider.stop();
}

#[test]
fn what_is_pasted_wrongly_or_refused_there_makes_no_grant() {
    let provider = Provider::new();
    let place = provider.place();
    json(&place.run(&["user", "add", "ada", "--admin", "--json"]));
    let arguments = ["--user", "ada", "--scope", "vehicles"];
    let cancelled =
        connect(&place, &arguments, |address| provider.sandbox.decide(address, 1, Consent::Cancel).unwrap());
    let nonsense = connect(&place, &arguments, |_| "https://example.com/".to_owned());
    for ended in [cancelled, nonsense] {
        assert!(ended.code == Some(1) && ended.out.is_empty() && ended.err.contains("keyfob: "), "{ended:?}");
    }
    assert_eq!(json(&place.run(&["grant", "list", "--json"])), serde_json::json!([]));
    provider.stop();
}

#[test]
fn a_pasted_token_gives_a_working_app_and_is_never_shown_again() {
    let provider = Provider::new();
    let place = provider.place();
    json(&place.run(&["user", "add", "ada", "--admin", "--json"]));
    let token = provider.sandbox.issue_personal_access_token(1, ScopeSet::of(Scope::Vehicles));
    let add =
        ["grant", "add-token", "--user", "ada", "--kind", "personal_access_token", "--scope", "vehicles", "--json"];
    let added = place.run_with_input(&add, &format!("{token}\n"));
    let grant = json(&added);
    assert!(!added.out.contains(&token) && !added.err.contains(&token));
    let id = grant["id"].as_str().unwrap();
    let app =
        json(&place.run(&["app", "add", "dash", "--user", "ada", "--scope", "vehicles", "--grant", id, "--json"]));
    let called = place.run(&["call", "--app", app["key"].as_str().unwrap(), "GET", "/api/vehicles"]);
    assert_eq!(called.code, Some(0), "{called:?}");
    let ended = json(&place.run(&["grant", "disconnect", id, "--json"]));
    assert_eq!(ended["status"], "disconnected");
    let revoked = json(&place.run(&["app", "revoke", "dash", "--json"]));
    assert!(!revoked["revoked_at"].is_null());
    provider.stop();
}
