//! No secret is where it does not belong: the real program goes through every flow at the loudest log level, beside a
//! provider whose secrets all contain a marker, and then logs, answers, metrics and every byte on disk are searched.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::sandbox::{Client, RedirectRule, Sandbox, SandboxConfig, Times, TokenFault};

use crate::program::{Place, get, snapshot};
use crate::visitor::Visitor;

const MARKER: &str = "CANARY";
const PASSWORD: &str = "CANARY correct horse battery";
const CLIENT_SECRET: &str = "CANARY-client-secret-8f1b";

/// Other crates are heard only when they are named.
const CRATES: [&str; 16] = [
    "axum",
    "h2",
    "hyper",
    "hyper_rustls",
    "hyper_util",
    "mio",
    "oauth2",
    "reqwest",
    "rustls",
    "sqlx",
    "tokio",
    "tokio_util",
    "tower",
    "tower_http",
    "tower_sessions",
    "tower_sessions_core",
];

/// The places where a text is found that should be nowhere.
fn leaks(places: &[(String, Vec<u8>)], secrets: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for secret in secrets {
        let urlencoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let forms = [secret.clone(), urlencoded, STANDARD.encode(secret), URL_SAFE_NO_PAD.encode(secret)];
        for (place, content) in places {
            if forms.iter().any(|form| memchr::memmem::find(content, form.as_bytes()).is_some()) {
                found.push(format!("{} is in {place}", &secret[..secret.len().min(24)]));
            }
        }
    }
    found
}

#[test]
fn no_secret_is_in_a_log_an_answer_a_metric_or_a_file() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = Client::confidential("keyfob", CLIENT_SECRET, "Keyfob", RedirectRule::LoopbackCallback);
    let config = SandboxConfig { clients: vec![client], marker: Some(MARKER.to_owned()), ..SandboxConfig::default() };
    let provider = runtime.block_on(Sandbox::start(config)).unwrap();
    let faults = provider.faults();
    let place = Place::new()
        .with("KEYFOB_LOG", format!("trace,{}", CRATES.map(|name| format!("{name}=trace")).join(",")))
        .with("KEYFOB_TESLASCOPE_URL", provider.url())
        .with("KEYFOB_TESLASCOPE_MCP_URL", provider.mcp_url())
        .with("KEYFOB_OAUTH_CLIENT_ID", "keyfob")
        .with("KEYFOB_OAUTH_CLIENT_SECRET", CLIENT_SECRET);
    let mut running = place.serve(&[]);
    let mut visitor = Visitor::new(&running);
    let setup = running.setup_token();
    runtime.block_on(go_through_everything(&place, &provider, &mut visitor, &setup));
    visitor.made.insert(setup.clone());

    let ops = running.address("ops");
    let mut places: Vec<(String, Vec<u8>)> = vec![
        ("metrics".to_owned(), get(ops, "/metrics").1.into_bytes()),
        ("readyz".to_owned(), get(ops, "/readyz").1.into_bytes()),
    ];
    // Once while it runs, with its log and its spill file, and once after its end.
    places.extend(snapshot(&place));
    running.signal("TERM");
    let log = running.whole_log();
    let heard = |name: &str| log.contains(&format!("\"target\":\"{name}::"));
    assert!(heard("keyfob") && heard("sqlx") && heard("hyper_util"), "{}", &log[..2_000]);
    places.push(("log".to_owned(), log.into_bytes()));
    places.extend(snapshot(&place));
    let received = faults.received();
    let mut secrets = visitor.made.clone();
    for request in &received {
        let shown = request.header("authorization").into_iter().chain(request.header("cookie"));
        secrets.extend(shown.filter_map(|value| Some(value.split_once(' ')?.1.to_owned())));
    }
    assert!(secrets.len() >= 9, "{}", secrets.len());
    secrets.insert(MARKER.to_owned());

    let master = String::from_utf8(std::fs::read(place.data().join("master.keys")).unwrap()).unwrap();
    places.retain(|(name, _)| name != "master.keys");
    secrets.extend(master.lines().filter(|line| !line.starts_with('#')).map(|line| line[9..].to_owned()));
    assert_eq!(leaks(&places, &secrets), Vec::<String>::new());
    // Answers hold the setup form's token and the new key's page, each once and nothing else.
    let answers: Vec<_> = visitor.answers.into_iter().map(|(name, text)| (name, text.into_bytes())).collect();
    let mut elsewhere = leaks(&answers, &secrets);
    elsewhere.retain(|leak| !leak.ends_with("is in GET /setup (200)") && !leak.ends_with("is in POST /apps/new (200)"));
    assert_eq!(elsewhere, Vec::<String>::new());
}

async fn go_through_everything(place: &Place, provider: &Sandbox, visitor: &mut Visitor, setup: &str) {
    let faults = provider.faults();
    visitor.set_up(setup, PASSWORD).await;
    visitor.cookies.clear();
    let wrong = visitor.fill("/sign-in", "/sign-in", &[("username", "ada"), ("password", "CANARY-wrong")]).await;
    assert_eq!(wrong.0, 401, "{wrong:?}");
    visitor.fill("/sign-in", "/sign-in", &[("username", "ada"), ("password", PASSWORD)]).await;

    // A connect whose code exchange is thrown back, a callback that nobody asked for, and one that works.
    let ticks = [("scope", "vehicles"), ("scope", "account"), ("scope", "controls"), ("scope", "mcp:use")];
    let (_, to, _) = visitor.fill("/connect", "/connect", &ticks).await;
    faults.token(Times::Next(1), TokenFault::Echo(400));
    visitor.consent(provider, &to).await;
    visitor.open("/oauth/callback?code=CANARY-code&state=CANARY-state&iss=CANARY").await;
    visitor.open("/oauth/callback?error=CANARY&error_description=CANARY&state=CANARY-state").await;
    let (_, to, _) = visitor.fill("/connect", "/connect", &ticks).await;
    let (status, grant) = visitor.consent(provider, &to).await;
    assert!(status == 303 && grant.starts_with("/grants/"), "{status} {grant}");

    // Refreshes: one that works, one that is thrown back, one with half an answer.
    assert_eq!(visitor.fill(&grant, &format!("{grant}/refresh"), &[]).await.0, 303);
    faults.refresh(Times::Next(1), TokenFault::Echo(500));
    visitor.fill(&grant, &format!("{grant}/refresh"), &[]).await;
    faults.clear();

    // An app, its calls, and calls of nobody.
    let fields = [("name", "dashboard"), ("scope", "vehicles"), ("scope", "controls"), ("query_key", "yes")];
    let key = visitor.make_app(&fields).await;
    let vehicle = "/api/vehicle/1/command/honkHorn";
    for (method, path, with) in [
        ("GET", "/api/vehicles", Some(&key)),
        ("GET", "/api/vehicles?token=CANARY-in-query", Some(&key)),
        ("GET", &format!("/api/vehicles?api_key={key}"), None),
        ("POST", vehicle, Some(&key)),
        ("GET", "/api/account", Some(&key)),
        ("GET", "/api/../vehicles?CANARY=CANARY", Some(&key)),
        ("GET", "/api/vehicles", Some(&"kf_CANARYCANARYCANARYCANARYCANARYCANARYCANARYC".to_owned())),
        ("GET", "/api/vehicles", None),
    ] {
        visitor.call(method, path, with.map(String::as_str)).await;
    }
    let calls: Vec<_> = visitor.answers.iter().filter(|(name, _)| name == "GET /api/vehicles (200)").collect();
    assert!(calls.len() >= 3, "{:?}", visitor.answers.iter().map(|(name, _)| name).collect::<Vec<_>>());

    // The provider forgets the access token: a 401, a refresh, the call again.
    faults.expire_access_tokens();
    visitor.call("GET", "/api/vehicles", Some(&key)).await;

    // Pasted tokens, good and bad.
    let pat = provider.issue_personal_access_token(1, ScopeSet::of(Scope::Vehicles));
    let old = provider.issue_api_key(1);
    let mut kept = Vec::new();
    for (kind, token) in
        [("personal_access_token", pat.as_str()), ("api_key", &old), ("personal_access_token", "CANARY-never")]
    {
        let fields = [("kind", kind), ("token", token), ("scope", "vehicles"), ("label", kind)];
        kept.push(visitor.fill("/connect/token", "/connect/token", &fields).await);
    }
    assert_eq!(kept.iter().map(|(status, ..)| *status).collect::<Vec<_>>(), [303, 303, 422], "{kept:?}");

    // The management API and the command line.
    let made = place.run(&["admin-key", "add", "robot", "--json"]);
    let made: serde_json::Value = serde_json::from_str(&made.out).unwrap();
    let admin = made["key"].as_str().unwrap().to_owned();
    visitor.made.insert(admin.clone());
    for (path, body) in [
        ("users", serde_json::json!({"name": "bob", "password": PASSWORD, "role": "member"})),
        ("users", serde_json::json!({"name": "CANARY bad \u{7}", "password": "CANARY", "role": "CANARY"})),
        (
            "grants",
            serde_json::json!({"user": "ada", "kind": "api_key", "scopes": ["vehicles"], "label": "x", "secret": old}),
        ),
        (
            "grants",
            serde_json::json!({"user": "ada", "kind": "api_key", "scopes": ["vehicles"], "label": "x", "secret": "CANARY"}),
        ),
    ] {
        let request = visitor.client.post(format!("{}/api/v1/{path}", visitor.web)).bearer_auth(&admin).json(&body);
        visitor.send(&format!("POST /api/v1/{path}"), request).await;
    }
    for path in ["grants", "apps", "users", "audit?limit=500"] {
        let request = visitor.client.get(format!("{}/api/v1/{path}", visitor.web)).bearer_auth(&admin);
        assert_eq!(visitor.send(&format!("GET /api/v1/{path}"), request).await.0, 200);
    }
    for command in
        [["grant", "list", "--json"].as_slice(), &["audit", "--json"], &["keys", "list"], &["keys", "rotate"]]
    {
        let ended = place.run(command);
        visitor.answers.push((format!("{command:?}"), format!("{}\n{}", ended.out, ended.err)));
    }

    // The running service refreshes a grant whose own key was sealed anew under a key that it has not heard of.
    let before = faults.refreshes();
    assert_eq!(visitor.fill(&grant, &format!("{grant}/refresh"), &[]).await.0, 303);
    assert_eq!(faults.refreshes(), before + 1);
    assert_eq!(visitor.call("GET", "/api/vehicles", Some(&key)).await, 200);

    // The ends.
    for path in ["/", "/apps", "/admin/grants", "/admin/audit", "/admin/users", "/admin/apps", "/admin/keys", &grant] {
        visitor.open(path).await;
    }
    assert_eq!(visitor.fill(&grant, &format!("{grant}/disconnect"), &[]).await.0, 303);
    visitor.fill("/", "/sign-out", &[]).await;
}
