//! The token endpoint: status, headers and bodies as captured.

use serde_json::{Value, json};

use crate::browser::{ALL, Browser, VERIFIER, config, header, pair, sandbox};
use keyfob::sandbox::{Client, RedirectRule, RefreshErrors, Sandbox, SandboxConfig};

const BAD_GRANT: &str = "The provided authorization grant (e.g., authorization code, resource owner credentials) or refresh token is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client.";
const MALFORMED: &str = "The request is missing a required parameter, includes an invalid parameter value, includes a parameter more than once, or is otherwise malformed.";

/// Checks an error's status and exact body.
async fn assert_error(response: reqwest::Response, status: u16, body: &str) {
    assert_eq!(response.status(), status);
    assert_eq!(header(&response, "content-type"), "application/json");
    assert_eq!(header(&response, "cache-control"), "no-cache, private");
    assert_eq!(response.text().await.unwrap(), body);
}

#[tokio::test]
async fn a_code_becomes_tokens_with_the_captured_headers_and_members() {
    let sandbox = sandbox().await;
    let browser = Browser::new(&sandbox);
    let code = browser.code(ALL, ALL).await;
    assert!(code.starts_with("def50200") && code.len() > 600);
    let response = browser.exchange(&code).await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "content-type"), "application/json; charset=UTF-8");
    assert_eq!(header(&response, "cache-control"), "no-store, private");
    assert_eq!(header(&response, "pragma"), "no-cache");
    assert_eq!(header(&response, "x-ratelimit-limit"), "60");
    assert_eq!(header(&response, "x-ratelimit-remaining"), "59");
    assert_eq!(header(&response, "date"), "Tue, 24 Nov 2026 12:00:00 GMT");
    let text = response.text().await.unwrap();
    assert!(
        text.starts_with(
            r#"{"token_type":"Bearer","expires_in":31536000,"access_token":"eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9."#
        ),
        "{text}"
    );
    let tokens: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(tokens.as_object().unwrap().len(), 4);
    assert!(tokens["refresh_token"].as_str().unwrap().starts_with("def50200"));
}

#[tokio::test]
async fn a_code_is_spent_once_and_a_wrong_verifier_does_not_spend_it() {
    let sandbox = sandbox().await;
    let browser = Browser::new(&sandbox);
    let code = browser.code("vehicles", "vehicles").await;
    let form = |verifier: &'static str| {
        [
            ("grant_type", "authorization_code"),
            ("client_id", "keyfob-sandbox"),
            ("redirect_uri", crate::browser::CALLBACK),
            ("code_verifier", verifier),
        ]
    };
    let wrong: &'static str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXX";
    let mut with_code = form(wrong).to_vec();
    with_code.push(("code", &code));
    let body = json!(BAD_GRANT);
    let hint = |hint: &str| format!(r#"{{"error":"invalid_grant","error_description":{body},"hint":"{hint}"}}"#);
    assert_error(browser.token(&with_code).await, 400, &hint("Failed to verify `code_verifier`.")).await;
    assert_eq!(browser.exchange(&code).await.status(), 200);
    assert_error(browser.exchange(&code).await, 400, &hint("Authorization code has been revoked")).await;
    let missing = format!(
        r#"{{"error":"invalid_request","error_description":"{MALFORMED}","hint":"Check the `code` parameter"}}"#
    );
    assert_error(browser.token(&form(VERIFIER)).await, 400, &missing).await;
}

#[tokio::test]
async fn a_code_dies_after_ten_minutes_and_needs_its_own_redirect_uri() {
    let config = config();
    let clock = config.clock.clone();
    let sandbox = Sandbox::start(config).await.unwrap();
    let browser = Browser::new(&sandbox);
    let code = browser.code("vehicles", "vehicles").await;
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", "keyfob-sandbox"),
        ("redirect_uri", "http://localhost:8701/oauth/callback"),
        ("code_verifier", VERIFIER),
        ("code", &code),
    ];
    let answer: Value = browser.token(&form).await.json().await.unwrap();
    assert_eq!(answer["hint"], "Invalid redirect URI");
    clock.advance(std::time::Duration::from_secs(601));
    let answer: Value = browser.exchange(&code).await.json().await.unwrap();
    assert_eq!(answer["hint"], "Authorization code has expired");
}

#[tokio::test]
async fn a_refresh_kills_both_old_tokens_at_once() {
    let sandbox = sandbox().await;
    let browser = Browser::new(&sandbox);
    let (access, refresh) = browser.grant("vehicles").await;
    assert_eq!(browser.api("/api/vehicles", &access).await.status(), 200);
    let answer = browser.refresh(&refresh).await;
    assert_eq!(answer.status(), 200);
    let (new_access, new_refresh) = pair(&answer.json().await.unwrap());
    assert_eq!(browser.api("/api/vehicles", &access).await.status(), 401);
    assert_eq!(browser.api("/api/vehicles", &new_access).await.status(), 200);
    let dead = r#"{"error":"invalid_grant","error_description":"The refresh token is invalid.","hint":"Token has been revoked"}"#;
    assert_error(browser.refresh(&refresh).await, 400, dead).await;
    // Reuse does not kill the family.
    assert_eq!(browser.refresh(&new_refresh).await.status(), 200);
    let garbage = dead.replace("Token has been revoked", "Cannot decrypt the refresh token");
    assert_error(browser.refresh("def50200abc").await, 400, &garbage).await;
}

#[tokio::test]
async fn a_narrower_scope_on_refresh_is_permanent_and_a_wider_one_an_error() {
    let sandbox = sandbox().await;
    let browser = Browser::new(&sandbox);
    let (_, refresh) = browser.grant(ALL).await;
    let with_scope = |token: String, scope: &'static str| {
        let browser = &browser;
        async move {
            let form = [
                ("grant_type", "refresh_token"),
                ("client_id", "keyfob-sandbox"),
                ("refresh_token", token.as_str()),
                ("scope", scope),
            ];
            browser.token(&form).await
        }
    };
    let (_, narrow) = pair(&with_scope(refresh, "account").await.json().await.unwrap());
    let wider = |scope: &str| {
        format!(
            r#"{{"error":"invalid_scope","error_description":"The requested scope is invalid, unknown, or malformed","hint":"Check the `{scope}` scope"}}"#
        )
    };
    assert_error(with_scope(narrow.clone(), "account root").await, 400, &wider("root")).await;
    assert_error(with_scope(narrow.clone(), "account vehicles").await, 400, &wider("vehicles")).await;
    let (access, _) = pair(&browser.refresh(&narrow).await.json().await.unwrap());
    assert_eq!(browser.api("/api/account", &access).await.status(), 200);
    assert_eq!(browser.api("/api/vehicles", &access).await.status(), 403);
}

#[tokio::test]
async fn bad_clients_and_grant_types_are_refused_in_the_captured_words() {
    let sandbox = sandbox().await;
    let browser = Browser::new(&sandbox);
    let unsupported = r#"{"error":"unsupported_grant_type","error_description":"The authorization grant type is not supported by the authorization server.","hint":"Check that all required parameters have been provided"}"#;
    assert_error(browser.token(&[("grant_type", "password")]).await, 400, unsupported).await;
    assert_error(browser.token(&[("client_id", "keyfob-sandbox")]).await, 400, unsupported).await;
    let form = [("grant_type", "refresh_token"), ("client_id", "nobody"), ("refresh_token", "x")];
    let response = browser.token(&form).await;
    assert!(response.headers().get("www-authenticate").is_none());
    let client = r#"{"error":"invalid_client","error_description":"Client authentication failed"}"#;
    assert_error(response, 401, client).await;
    let basic = browser.post("/oauth/token", &[("grant_type", "refresh_token")]).basic_auth("nobody", Some("x"));
    let response = basic.send().await.unwrap();
    assert_eq!(header(&response, "www-authenticate"), "Basic realm=\"OAuth\"");
    assert_error(response, 401, client).await;
    let response = browser.send(browser.get("/oauth/token")).await;
    assert_eq!((response.status().as_u16(), header(&response, "allow")), (405, "POST"));
    assert!(response.text().await.unwrap().contains("The server returned a \"405 Method Not Allowed\"."));
}

#[tokio::test]
async fn a_confidential_client_shows_its_secret_in_the_body_or_by_basic() {
    let rule = RedirectRule::LoopbackCallback;
    let clients =
        vec![Client::confidential("conf", "s3cret", "Conf", rule.clone()), Client::public("keyfob-sandbox", "K", rule)];
    let sandbox = Sandbox::start(SandboxConfig { clients, ..config() }).await.unwrap();
    let browser = Browser::new(&sandbox);
    let asked = crate::browser::authorize_with(
        "vehicles",
        &[("client_id", "conf"), ("code_challenge", ""), ("code_challenge_method", "")],
    );
    let (_, page) = browser.sign_in(&asked, "1").await;
    let to = browser.consent(&page, "authorize", "vehicles").await;
    let code = crate::browser::parameter(&to, "code").unwrap();
    let form =
        [("grant_type", "authorization_code"), ("redirect_uri", crate::browser::CALLBACK), ("code", code.as_str())];
    let with = |secret: &'static str| browser.post("/oauth/token", &form).basic_auth("conf", Some(secret)).send();
    assert_eq!(with("wrong").await.unwrap().status(), 401);
    let (_, refresh) = pair(&with("s3cret").await.unwrap().json().await.unwrap());
    let form = |secret| {
        [
            ("grant_type", "refresh_token"),
            ("client_id", "conf"),
            ("client_secret", secret),
            ("refresh_token", refresh.as_str()),
        ]
    };
    assert_eq!(browser.token(&form("wrong")).await.status(), 401);
    let answer: Value = browser.refresh(&refresh).await.json().await.unwrap();
    assert_eq!(answer["hint"], "Token is not linked to client");
    assert_eq!(browser.token(&form("s3cret")).await.status(), 200);
}

#[tokio::test]
async fn the_sixty_first_request_of_a_minute_is_throttled() {
    let config = config();
    let clock = config.clock.clone();
    let sandbox = Sandbox::start(config).await.unwrap();
    let browser = Browser::new(&sandbox);
    for left in (0..60).rev() {
        let response = browser.refresh("x").await;
        assert_eq!(
            (response.status().as_u16(), header(&response, "x-ratelimit-remaining")),
            (400, left.to_string().as_str())
        );
    }
    clock.advance(std::time::Duration::from_secs(15));
    let response = browser.refresh("x").await;
    assert_eq!(header(&response, "retry-after"), "45");
    assert_eq!(header(&response, "x-ratelimit-remaining"), "0");
    assert_error(response, 429, r#"{"message":"Too Many Attempts."}"#).await;
    clock.advance(std::time::Duration::from_secs(45));
    assert_eq!(browser.refresh("x").await.status(), 400);
}

#[tokio::test]
async fn an_older_server_calls_a_dead_refresh_token_an_invalid_request() {
    let sandbox = Sandbox::start(SandboxConfig { refresh_errors: RefreshErrors::League8, ..config() }).await.unwrap();
    let body = r#"{"error":"invalid_request","error_description":"The refresh token is invalid.","hint":"Cannot decrypt the refresh token","message":"The refresh token is invalid."}"#;
    assert_error(Browser::new(&sandbox).refresh("x").await, 401, body).await;
}

#[tokio::test]
async fn tokens_expire_by_the_sandboxes_own_clock() {
    let config = SandboxConfig { access_lifetime: std::time::Duration::from_secs(900), ..config() };
    let clock = config.clock.clone();
    let sandbox = Sandbox::start(config).await.unwrap();
    let browser = Browser::new(&sandbox);
    let (access, refresh) = browser.grant("vehicles").await;
    // A correction of the shared clock is Keyfob's affair.
    clock.set_correction(86_400_000);
    assert_eq!(browser.api("/api/vehicles", &access).await.status(), 200);
    clock.advance(std::time::Duration::from_secs(901));
    assert_eq!(browser.api("/api/vehicles", &access).await.status(), 401);
    assert_eq!(browser.refresh(&refresh).await.status(), 200);
}

#[tokio::test]
async fn a_revoke_endpoint_exists_only_where_it_is_configured() {
    let plain = sandbox().await;
    let form = [("client_id", "keyfob-sandbox"), ("token", "x")];
    assert_eq!(Browser::new(&plain).post("/oauth/revoke", &form).send().await.unwrap().status(), 404);
    let sandbox = Sandbox::start(SandboxConfig { revoke_endpoint: true, ..config() }).await.unwrap();
    let browser = Browser::new(&sandbox);
    let (access, refresh) = browser.grant("vehicles").await;
    let form = [("client_id", "keyfob-sandbox"), ("token", refresh.as_str())];
    assert_eq!(browser.post("/oauth/revoke", &form).send().await.unwrap().status(), 200);
    assert_eq!(browser.api("/api/vehicles", &access).await.status(), 401);
    assert_eq!(browser.refresh(&refresh).await.status(), 400);
}
