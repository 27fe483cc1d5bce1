//! Signing in, the consent page, and what the authorization endpoint refuses.

use std::os::unix::fs::PermissionsExt as _;

use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::sandbox::{Consent, Discovery, Issuer, RedirectRule, Sandbox, SandboxConfig};
use serde_json::{Value, json};

use crate::browser::{
    ALL, Browser, CALLBACK, authorize, authorize_with, config, header, hidden, location, pair, parameter, sandbox,
};

#[tokio::test]
async fn a_stranger_is_sent_to_the_login_page_with_the_captured_redirect() {
    let sandbox = sandbox().await;
    let browser = Browser::new(&sandbox);
    let response = browser.send(browser.get(&authorize("vehicles"))).await;
    assert_eq!(response.status(), 302);
    let login = format!("{}/login", sandbox.url());
    assert_eq!(location(&response).as_deref(), Some(login.as_str()));
    assert_eq!(header(&response, "cache-control"), "no-cache, private");
    assert_eq!(header(&response, "content-type"), "text/html; charset=utf-8");
    let cookie = header(&response, "set-cookie").to_owned();
    assert!(cookie.starts_with("keyfob_sandbox_session=") && cookie.ends_with("Path=/; HttpOnly; SameSite=Lax"));
    let captured = include_str!("../data/passport-redirect.html");
    assert_eq!(response.text().await.unwrap(), captured.replace("http://127.0.0.1:4005/login", &login));
}

#[tokio::test]
async fn every_page_says_that_it_is_not_teslascope_and_carries_no_script() {
    let sandbox = sandbox().await;
    let browser = Browser::new(&sandbox);
    let mut pages =
        vec![browser.visit("/").await.1, browser.visit("/login").await.1, browser.visit("/nowhere").await.1];
    pages.push(browser.sign_in(&authorize(ALL), "2").await.1);
    pages.push(browser.visit("/developers/applications").await.1);
    for page in pages {
        assert!(page.contains("<strong>Keyfob sandbox.</strong> This is not Teslascope."), "{page}");
        assert_eq!(page.matches("<h1>").count(), 1, "{page}");
        assert!(page.contains("<title>") && page.contains("lang=\"en\"") && page.contains("name=\"viewport\""));
        assert!(!page.contains("<script") && !page.contains("style=") && !page.contains("<style"), "{page}");
    }
    let style = browser.send(browser.get("/sandbox.css")).await;
    assert_eq!(header(&style, "content-type"), "text/css; charset=utf-8");
}

#[tokio::test]
async fn a_person_ticks_some_scopes_and_the_token_holds_just_these() {
    let sandbox = sandbox().await;
    let browser = Browser::new(&sandbox);
    let (_, page) = browser.sign_in(&authorize("vehicles controls"), "1").await;
    assert!(page.contains(">Authorize</button>") && page.contains(">Cancel</button>"));
    assert!(page.contains("value=\"vehicles\" checked") && page.contains("value=\"controls\" checked"));
    assert!(!page.contains("value=\"account\""));
    // More than was asked for is not granted, whatever the form says.
    let to = browser.consent(&page, "authorize", "vehicles account").await;
    assert!(to.starts_with(CALLBACK) && parameter(&to, "state").as_deref() == Some("st-1"), "{to}");
    let code = parameter(&to, "code").unwrap();
    let (access, _) = pair(&browser.exchange(&code).await.json().await.unwrap());
    assert_eq!(browser.api("/api/vehicles", &access).await.status(), 200);
    assert_eq!(browser.api("/api/account", &access).await.status(), 403);
    assert_eq!(browser.api("/api/vehicle/corsair/command/lock", &access).await.status(), 403);
}

#[tokio::test]
async fn nothing_ticked_shows_the_page_again_and_cancel_says_access_denied() {
    let sandbox = sandbox().await;
    let browser = Browser::new(&sandbox);
    let (_, page) = browser.sign_in(&authorize("vehicles"), "1").await;
    let (token, asked) = (hidden(&page, "_token"), hidden(&page, "auth_token"));
    let form = [("_token", token.as_str()), ("auth_token", asked.as_str()), ("decision", "authorize")];
    let response = browser.send(browser.post("/oauth/authorize", &form)).await;
    assert_eq!(response.status(), 422);
    let page = response.text().await.unwrap();
    assert!(page.contains("Tick at least one scope, or press Cancel."));
    let to = browser.consent(&page, "cancel", "").await;
    let denied = "?state=st-1&error=access_denied&error_description=The+resource+owner+or+authorization+server+denied+the+request.&hint=The+user+denied+the+request";
    assert_eq!(to, format!("{CALLBACK}{denied}"));
}

#[tokio::test]
async fn a_form_of_another_session_or_sent_twice_is_refused() {
    let sandbox = sandbox().await;
    let (ours, theirs) = (Browser::new(&sandbox), Browser::new(&sandbox));
    let (_, page) = ours.sign_in(&authorize("vehicles"), "1").await;
    let (_, other) = theirs.sign_in(&authorize("vehicles"), "2").await;
    let (token, asked) = (hidden(&page, "_token"), hidden(&page, "auth_token"));
    let form = [("_token", token.as_str()), ("auth_token", &asked), ("decision", "authorize"), ("scope", "vehicles")];
    assert_eq!(theirs.send(theirs.post("/oauth/authorize", &form)).await.status(), 419);
    let mixed = [("_token", hidden(&other, "_token")), ("auth_token", asked.clone()), ("decision", "authorize".into())];
    let mixed: Vec<(&str, &str)> = mixed.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(theirs.send(theirs.post("/oauth/authorize", &mixed)).await.status(), 419);
    // Their own request, but with a token that is not of their session.
    let asked = hidden(&other, "auth_token");
    let forged = [("_token", token.as_str()), ("auth_token", &asked), ("decision", "authorize"), ("scope", "vehicles")];
    assert_eq!(theirs.send(theirs.post("/oauth/authorize", &forged)).await.status(), 419);
    assert_eq!(ours.send(ours.post("/oauth/authorize", &form)).await.status(), 302);
    assert_eq!(ours.send(ours.post("/oauth/authorize", &form)).await.status(), 419);
    assert_eq!(ours.post("/login", &[("account", "1")]).send().await.unwrap().status(), 419);
}

#[tokio::test]
async fn prompt_decides_who_is_asked_and_live_tokens_spare_the_question() {
    let sandbox = sandbox().await;
    let browser = Browser::new(&sandbox);
    let none = |scopes| authorize_with(scopes, &[("prompt", "none")]);
    let (to, _) = browser.visit(&none("vehicles")).await;
    let login = "?state=st-1&error=login_required&error_description=The+authorization+server+requires+end-user+authentication.&hint=The+user+is+not+authenticated";
    assert_eq!(to, format!("{CALLBACK}{login}"));
    browser.grant("vehicles controls").await;
    let (to, _) = browser.visit(&authorize("vehicles")).await;
    assert!(parameter(&to, "code").is_some(), "no question for what was granted: {to}");
    let (to, _) = browser.visit(&none("vehicles account")).await;
    assert_eq!(parameter(&to, "error").as_deref(), Some("consent_required"));
    let (_, page) = browser.visit(&authorize_with("vehicles", &[("prompt", "consent")])).await;
    assert!(page.contains(">Authorize</button>"));
    let again = authorize_with("vehicles", &[("prompt", "login")]);
    let (to, _) = browser.sign_in(&again, "1").await;
    assert!(parameter(&to, "code").is_some(), "{to}");
    sandbox.faults().revoke_account_tokens(1);
    let (_, page) = browser.visit(&authorize("vehicles")).await;
    assert!(page.contains(">Authorize</button>"), "a dead token spares nothing");
}

#[tokio::test]
async fn another_account_can_be_taken_at_the_consent_page() {
    let sandbox = sandbox().await;
    let browser = Browser::new(&sandbox);
    let (_, page) = browser.sign_in(&authorize("vehicles"), "1").await;
    assert!(page.contains("Ada Calloway"));
    let (token, asked) = (hidden(&page, "_token"), hidden(&page, "auth_token"));
    browser.send(browser.post("/logout", &[("_token", &token), ("auth_token", &asked)])).await;
    let (at, page) = browser.sign_in("/login", "2").await;
    assert!(at.contains("/oauth/authorize?") && page.contains("Ben Okafor"), "{at}");
}

/// Status and body of an authorization request that nobody sees the consent page of.
async fn refused(browser: &Browser, more: &[(&str, &str)]) -> (u16, Value) {
    let response = browser.send(browser.get(&authorize_with("vehicles", more))).await;
    assert_eq!(header(&response, "content-type"), "application/json");
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn bad_requests_are_refused_in_the_browser_or_at_the_client_as_captured() {
    let sandbox = sandbox().await;
    let browser = Browser::new(&sandbox);
    let client = json!({ "error": "invalid_client", "error_description": "Client authentication failed" });
    assert_eq!(refused(&browser, &[("client_id", "nobody")]).await, (401, client.clone()));
    assert_eq!(refused(&browser, &[("redirect_uri", "http://localhost:8700/elsewhere")]).await, (401, client));
    let (status, body) = refused(&browser, &[("code_challenge", "")]).await;
    assert_eq!((status, &body["hint"]), (400, &json!("Code challenge must be provided for public clients")));
    assert_eq!(body["error"], "invalid_request");
    let (status, body) = refused(&browser, &[("code_challenge", "too-short")]).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_request")));
    let (status, body) = refused(&browser, &[("response_type", "token")]).await;
    assert_eq!((status, &body["error"]), (400, &json!("unsupported_grant_type")));
    let response = browser.send(browser.get(&authorize("vehicles nonesuch"))).await;
    let scope = "?state=st-1&error=invalid_scope&error_description=The+requested+scope+is+invalid%2C+unknown%2C+or+malformed&hint=Check+the+%60nonesuch%60+scope";
    assert_eq!(location(&response), Some(format!("{CALLBACK}{scope}")));
    assert_eq!(response.text().await.unwrap(), "");
}

#[tokio::test]
async fn redirect_uris_can_be_registered_exactly() {
    let mut config = config();
    let rule = RedirectRule::Exact(vec!["https://keys.example/oauth/callback".into(), "http://127.0.0.1/cb".into()]);
    config.clients = vec![keyfob::sandbox::Client::public("exact", "Exact", rule)];
    let sandbox = Sandbox::start(config).await.unwrap();
    let browser = Browser::new(&sandbox);
    let ask = |uri: &'static str| authorize_with("vehicles", &[("client_id", "exact"), ("redirect_uri", uri)]);
    for (uri, status) in [
        ("https://keys.example/oauth/callback", 302),
        ("http://127.0.0.1:5000/cb", 302),
        ("http://127.0.0.1:5000/cb?x", 401),
        ("http://localhost/cb", 401),
    ] {
        assert_eq!(browser.send(browser.get(&ask(uri))).await.status(), status, "{uri}");
    }
}

#[tokio::test]
async fn discovery_documents_can_be_there_absent_or_foreign() {
    let sandbox = sandbox().await;
    let browser = Browser::new(&sandbox);
    let url = sandbox.url();
    let get = |browser: &Browser, path: &str| browser.get(path).header("Accept", "application/json").send();
    let body = get(&browser, "/.well-known/oauth-protected-resource/mcp").await.unwrap().text().await.unwrap();
    assert_eq!(
        body,
        format!(r#"{{"resource":"{url}/mcp","authorization_servers":["{url}"],"scopes_supported":["mcp:use"]}}"#)
    );
    let body = get(&browser, "/.well-known/oauth-authorization-server").await.unwrap().text().await.unwrap();
    assert_eq!(
        body,
        format!(
            r#"{{"issuer":"{url}","authorization_endpoint":"{url}/oauth/authorize","token_endpoint":"{url}/oauth/token","registration_endpoint":"{url}/oauth/register","response_types_supported":["code"],"code_challenge_methods_supported":["S256"],"scopes_supported":["mcp:use"],"grant_types_supported":["authorization_code","refresh_token"]}}"#
        )
    );
    let absent = Sandbox::start(SandboxConfig { discovery: Discovery::absent(), ..config() }).await.unwrap();
    let answer = get(&Browser::new(&absent), "/.well-known/oauth-authorization-server").await.unwrap();
    assert_eq!(answer.status(), 404);
    for (issuer, expected) in [
        (Issuer::WithPath, "/mcp".to_owned()),
        (Issuer::Foreign("https://evil.example".into()), "https://evil.example".to_owned()),
    ] {
        let discovery = Discovery { issuer, ..Discovery::default() };
        let sandbox = Sandbox::start(SandboxConfig { discovery, ..config() }).await.unwrap();
        let path = "/.well-known/oauth-authorization-server/mcp";
        let document: Value = get(&Browser::new(&sandbox), path).await.unwrap().json().await.unwrap();
        assert!(document["issuer"].as_str().unwrap().ends_with(&expected), "{document}");
    }
}

#[tokio::test]
async fn a_person_makes_tokens_and_keys_by_hand_and_revokes_them() {
    let sandbox = sandbox().await;
    let browser = Browser::new(&sandbox);
    let (_, page) = browser.sign_in("/developers/applications", "1").await;
    let token = hidden(&page, "_token");
    let form = [("_token", token.as_str()), ("name", "Home"), ("scope", "vehicles"), ("scope", "account")];
    let page = browser.send(browser.post("/developers/applications/tokens", &form)).await.text().await.unwrap();
    let secret = |page: &str| {
        let shown = &page[page.find("spellcheck=\"false\">").unwrap() + 19..];
        shown[..shown.find('<').unwrap()].to_owned()
    };
    let personal = secret(&page);
    assert_eq!(browser.api("/api/account", &personal).await.status(), 200);
    assert_eq!(browser.api("/api/vehicle/corsair/command/lock", &personal).await.status(), 403);
    let page = browser.send(browser.post("/developers/applications/keys", &form[..1])).await.text().await.unwrap();
    let path = format!("/api/vehicles?api_key={}", secret(&page));
    assert_eq!(browser.get(&path).send().await.unwrap().status(), 200);
    assert_eq!(sandbox.faults().tokens_alive(1).personal, 1);
    let form = [("_token", token.as_str()), ("what", "everything")];
    assert_eq!(browser.send(browser.post("/developers/applications/revoke", &form)).await.status(), 302);
    assert_eq!(browser.api("/api/account", &personal).await.status(), 401);
    assert_eq!(sandbox.faults().tokens_alive(1).scopes, ScopeSet::EMPTY);
}

#[tokio::test]
async fn what_was_granted_survives_a_restart_and_no_secret_is_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sandbox.json");
    let with_file = || SandboxConfig { state_file: Some(file.clone()), marker: Some("CANARY".into()), ..config() };
    let sandbox = Sandbox::start(with_file()).await.unwrap();
    let browser = Browser::new(&sandbox);
    let (access, refresh) = browser.grant(ALL).await;
    assert!(access.contains("CANARY") && refresh.contains("CANARY"));
    assert_eq!(browser.api("/api/vehicle/halcyon/command/unlock", &access).await.status(), 200);
    sandbox.stop().await;
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(!kept.contains("CANARY") && !kept.contains("eyJ"), "{kept}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let sandbox = Sandbox::start(with_file()).await.unwrap();
    let browser = Browser::new(&sandbox);
    let car: Value = browser.api("/api/vehicle/halcyon", &access).await.json().await.unwrap();
    assert_eq!(car["response"]["vehicle"]["locked"], false);
    assert_eq!(browser.refresh(&refresh).await.status(), 200);
    drop(sandbox);
    std::fs::write(&file, "{").unwrap();
    let error = Sandbox::start(with_file()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    let error = error.to_string();
    assert!(error.contains("not what a sandbox keeps"), "{error}");
}

#[tokio::test]
async fn a_test_can_answer_without_a_browser() {
    let sandbox = sandbox().await;
    let browser = Browser::new(&sandbox);
    let url = format!("{}{}", sandbox.url(), authorize("vehicles controls"));
    let to = sandbox.decide(&url, 1, Consent::Authorize(ScopeSet::of(Scope::Vehicles))).unwrap();
    let code = parameter(&to, "code").unwrap();
    let (access, _) = pair(&browser.exchange(&code).await.json().await.unwrap());
    assert_eq!(browser.api("/api/vehicles", &access).await.status(), 200);
    let to = sandbox.decide(&url, 1, Consent::Cancel).unwrap();
    assert_eq!(parameter(&to, "error").as_deref(), Some("access_denied"));
    let refused = sandbox.decide(&url.replace("keyfob-sandbox", "nobody"), 1, Consent::Cancel).unwrap_err();
    assert!(refused.contains("invalid_client"), "{refused}");
    let issued = sandbox.issue_grant(2, ScopeSet::of(Scope::Vehicles));
    assert_eq!(browser.api("/api/vehicles", &issued.access_token).await.status(), 200);
    assert_eq!(browser.refresh(&issued.refresh_token).await.status(), 200);
}

#[tokio::test]
async fn a_client_can_register_itself() {
    let sandbox = sandbox().await;
    let browser = Browser::new(&sandbox);
    let register = async |metadata: Value| {
        let request = browser.post("/oauth/register", &[]).header("Content-Type", "application/json");
        let response = request.body(metadata.to_string()).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let uri = "http://127.0.0.1:8765/callback";
    let (status, body) = register(json!({ "client_name": "x", "redirect_uris": [uri] })).await;
    let id = body["client_id"].as_str().unwrap().to_owned();
    assert_eq!((status, id.len()), (201, 36));
    assert_eq!(body["token_endpoint_auth_method"], "none");
    let asked = authorize_with("mcp:use", &[("client_id", &id), ("redirect_uri", "http://127.0.0.1:1/callback")]);
    let (_, page) = browser.sign_in(&asked, "1").await;
    assert!(page.contains("<strong>x</strong> asks for access"));
    let (status, body) = register(json!({ "redirect_uris": ["javascript:alert(1)"] })).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_redirect_uri")));
    assert_eq!(register(json!({})).await.1["error"], "invalid_client_metadata");
}
