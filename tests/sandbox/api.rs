//! The REST API: guards, envelopes, pagination, commands, and cars that move.

use std::time::Duration;

use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::sandbox::{Sandbox, SandboxConfig};
use serde_json::{Value, json};

use crate::browser::{Browser, config, header, location, sandbox};

/// A sandbox, a client, and a personal access token with all scopes.
async fn world() -> (Sandbox, Browser, String) {
    let sandbox = sandbox().await;
    let browser = Browser::new(&sandbox);
    let token = sandbox.issue_personal_access_token(1, ScopeSet::ALL);
    (sandbox, browser, token)
}

async fn body(browser: &Browser, path: &str, token: &str) -> Value {
    let response = browser.api(path, token).await;
    assert_eq!(response.status(), 200, "{path}");
    assert_eq!(header(&response, "content-type"), "application/json");
    response.json().await.unwrap()
}

#[tokio::test]
async fn whoever_is_not_known_gets_401_or_the_login_page_as_accept_has_it() {
    let (sandbox, browser, _) = world().await;
    for (accept, status) in [
        (Some("application/json"), 401),
        (Some("application/json, text/html"), 401),
        (Some("text/html, application/json"), 302),
        (Some("*/*"), 302),
        (None, 302),
    ] {
        let mut request = browser.get("/api/vehicles").header("Authorization", "Bearer garbage");
        if let Some(accept) = accept {
            request = request.header("Accept", accept);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{accept:?}");
        assert!(response.headers().get("www-authenticate").is_none());
        if status == 302 {
            assert_eq!(location(&response), Some(format!("{}/login", sandbox.url())));
        } else {
            assert_eq!(response.text().await.unwrap(), r#"{"message":"Unauthenticated."}"#);
        }
    }
}

#[tokio::test]
async fn each_path_needs_its_scope_and_does_not_name_it() {
    let (sandbox, browser, _) = world().await;
    for (path, scope) in [
        ("/api/account", Scope::Account),
        ("/api/account/security", Scope::Account),
        ("/api/account/tesla-accounts", Scope::TeslaAccounts),
        ("/api/account/tesla-accounts/1/vehicles", Scope::TeslaAccounts),
        ("/api/vehicles", Scope::Vehicles),
        ("/api/vehicle/corsair", Scope::Vehicles),
        ("/api/vehicle/corsair/detailed", Scope::Vehicles),
        ("/api/vehicle/corsair/state", Scope::Vehicles),
        ("/api/vehicle/corsair/drives", Scope::Vehicles),
        ("/api/vehicle/corsair/drive/43001", Scope::Vehicles),
        ("/api/vehicle/corsair/charges", Scope::Vehicles),
        ("/api/vehicle/corsair/charge/411001", Scope::Vehicles),
        ("/api/vehicle/corsair/trips", Scope::Vehicles),
        ("/api/vehicle/corsair/trip/1", Scope::Vehicles),
        ("/api/vehicle/corsair/locations", Scope::Vehicles),
        ("/api/vehicle/corsair/location/2", Scope::Vehicles),
        ("/api/vehicle/corsair/command/honkHorn", Scope::Controls),
        ("/api/vehicle/corsair/wakeup", Scope::Controls),
        ("/api/vehicle/corsair/update", Scope::Controls),
    ] {
        let with = sandbox.issue_personal_access_token(1, ScopeSet::of(scope));
        let without = sandbox.issue_personal_access_token(1, ScopeSet::ALL.minus(ScopeSet::of(scope)));
        assert_eq!(browser.api(path, &with).await.status(), 200, "{path}");
        let refused = browser.api(path, &without).await;
        assert_eq!(refused.status(), 403, "{path}");
        assert!(refused.headers().get("www-authenticate").is_none());
        assert_eq!(refused.text().await.unwrap(), r#"{"message":"Invalid scope(s) provided."}"#);
    }
    for path in ["/api/software", "/api/software/latest", "/api/software/2023.6.9"] {
        assert_eq!(browser.get(path).send().await.unwrap().status(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_legacy_key_opens_the_older_paths_only_and_is_no_bearer() {
    let (sandbox, browser, _) = world().await;
    let key = sandbox.issue_api_key(1);
    let status = async |path: &str| {
        let request = browser.get(&format!("{path}?api_key={key}")).header("Accept", "application/json");
        request.send().await.unwrap().status().as_u16()
    };
    for path in
        ["/api/vehicles", "/api/vehicle/halcyon", "/api/vehicle/corsair/command/lock", "/api/vehicle/corsair/wakeup"]
    {
        assert_eq!(status(path).await, 200, "{path}");
    }
    for path in ["/api/account", "/api/vehicle/corsair/trips", "/api/account/tesla-accounts"] {
        assert_eq!(status(path).await, 401, "{path}");
    }
    assert_eq!(browser.api("/api/vehicles", &key).await.status(), 401);
}

#[tokio::test]
async fn a_public_car_shows_a_little_to_anybody_and_all_to_its_owner() {
    let (_sandbox, browser, token) = world().await;
    let text = browser.get("/api/vehicle/corsair").send().await.unwrap().text().await.unwrap();
    assert!(
        text.starts_with(r#"{"code":200,"response":{"name":"Corsair","public_id":"corsair","odometer":"#),
        "{text}"
    );
    let public: Value = serde_json::from_str(&text).unwrap();
    let members: Vec<&String> = public["response"]["battery"].as_object().unwrap().keys().collect();
    assert_eq!(members, ["level", "range"]);
    assert!(public["response"]["battery"]["range"].is_string());
    assert!(public["response"].get("vehicle").is_none());
    let full = body(&browser, "/api/vehicle/corsair", &token).await;
    assert!(full["response"]["vehicle"]["latitude"].is_string());
    assert!(full["response"]["battery"]["charge_limit_soc"].is_i64());
    let hidden = browser.get("/api/vehicle/halcyon").header("Accept", "application/json").send().await.unwrap();
    assert_eq!(hidden.status(), 401);
    let missing = browser.api("/api/vehicle/nonesuch", &token).await;
    assert_eq!(missing.status(), 404);
    assert_eq!(missing.text().await.unwrap(), r#"{"code":404,"response":"Vehicle not found."}"#);
}

#[tokio::test]
async fn lists_are_bare_detailed_is_bare_and_accounts_see_their_own_cars() {
    let (sandbox, browser, token) = world().await;
    let cars = body(&browser, "/api/vehicles", &token).await;
    assert_eq!(cars.as_array().unwrap().len(), 2);
    assert_eq!(cars[0]["public_id"], "corsair");
    let other = sandbox.issue_personal_access_token(2, ScopeSet::ALL);
    assert_eq!(body(&browser, "/api/vehicles", &other).await.as_array().unwrap().len(), 1);
    assert_eq!(browser.api("/api/vehicle/corsair/detailed", &other).await.status(), 404);
    let detailed = body(&browser, "/api/vehicle/corsair/detailed", &token).await;
    for member in ["charge_state", "climate_state", "drive_state", "vehicle_state"] {
        assert!(detailed[member].is_object(), "{member}");
    }
    assert!(detailed["vehicle_state"]["locked"].is_u64() && detailed["charge_state"]["battery_range"].is_string());
}

#[tokio::test]
async fn lists_are_paged_as_laravel_pages_them() {
    let (sandbox, browser, token) = world().await;
    let path = "/api/vehicle/corsair/drives";
    let page = body(&browser, &format!("{path}?page=3"), &token).await["response"].clone();
    let base = format!("{}{path}", sandbox.url());
    assert_eq!(
        [&page["current_page"], &page["from"], &page["to"], &page["per_page"]],
        [&json!(3), &json!(41), &json!(60), &json!(20)]
    );
    assert_eq!(page["first_page_url"], format!("{base}?page=1"));
    assert_eq!(page["next_page_url"], format!("{base}?page=4"));
    assert_eq!(page["prev_page_url"], format!("{base}?page=2"));
    assert_eq!(page["path"], base);
    assert!(page.get("total").is_none() && page.get("last_page").is_none());
    let newest = body(&browser, path, &token).await["response"]["data"][0].clone();
    let alone = body(&browser, &format!("/api/vehicle/corsair/drive/{}", newest["id"]), &token).await;
    assert_eq!(alone["response"], newest);
    assert!(newest["created_at"].as_str().unwrap().ends_with(".000000Z") && newest["distance"] == "24.000000");
    let far = body(&browser, &format!("{path}?page=99999"), &token).await;
    assert_eq!(far["response"]["data"], json!([]));
    assert_eq!(far["response"]["next_page_url"], Value::Null);
    let over = browser.api(&format!("{path}?limit=101"), &token).await;
    assert_eq!(over.status(), 422);
    let message = "The limit may not be greater than 100.";
    assert_eq!(over.text().await.unwrap(), format!(r#"{{"message":"{message}","errors":{{"limit":["{message}"]}}}}"#));
    let hundred = body(&browser, &format!("{path}?limit=100"), &token).await;
    assert_eq!(hundred["response"]["data"].as_array().unwrap().len(), 100);
}

#[tokio::test]
async fn commands_by_get_and_post_are_carried_out_once_each_and_counted() {
    let (sandbox, browser, token) = world().await;
    let faults = sandbox.faults();
    let answer = body(&browser, "/api/vehicle/corsair/command/enableSentryMode", &token).await;
    assert_eq!(answer, json!({ "code": 200, "response": "Sentry mode has been enabled" }));
    let posted = browser.post("/api/vehicle/corsair/command/setChargeLimit", &[("limit", "77")]).bearer_auth(&token);
    assert_eq!(posted.send().await.unwrap().status(), 200);
    let detailed = body(&browser, "/api/vehicle/corsair/detailed", &token).await;
    assert_eq!(detailed["vehicle_state"]["sentry_mode"], 1);
    assert_eq!(detailed["charge_state"]["charge_limit_soc"], 77);
    assert_eq!(browser.api("/api/vehicle/corsair/command/setChargeLimit?limit=7", &token).await.status(), 422);
    assert_eq!(browser.api("/api/vehicle/corsair/command/explode", &token).await.status(), 404);
    assert_eq!(faults.commands("corsair", "setChargeLimit"), 1);
    assert_eq!(faults.commands("corsair", "enableSentryMode"), 1);
    assert_eq!(faults.calls("/api/vehicle/corsair/command/setChargeLimit"), 2);
    let mut put = browser.get("/api/vehicle/corsair/wakeup").header("Accept", "application/json").build().unwrap();
    *put.method_mut() = reqwest::Method::PUT;
    let refused = reqwest::Client::builder().no_proxy().build().unwrap().execute(put).await.unwrap();
    assert_eq!((refused.status().as_u16(), header(&refused, "allow")), (405, "GET, HEAD, POST"));
}

#[tokio::test]
async fn cars_move_with_the_clock_and_a_sleeping_one_wakes_on_command() {
    let config = config();
    let clock = config.clock.clone();
    let sandbox = Sandbox::start(config).await.unwrap();
    let browser = Browser::new(&sandbox);
    let token = sandbox.issue_personal_access_token(1, ScopeSet::ALL);
    clock.advance(Duration::from_secs(20 * 60));
    let before = body(&browser, "/api/vehicle/corsair/detailed", &token).await;
    clock.advance(Duration::from_secs(60));
    let after = body(&browser, "/api/vehicle/corsair/detailed", &token).await;
    assert_eq!(after["drive_state"]["shift_state"], "D");
    assert!(after["drive_state"]["speed"].as_i64().unwrap() > 30);
    for member in ["latitude", "longitude"] {
        assert_ne!(before["drive_state"][member], after["drive_state"][member]);
    }
    assert_ne!(before["odometer"], after["odometer"]);
    for _ in 0..24 {
        if body(&browser, "/api/vehicle/halcyon/state", &token).await["response"] == "asleep" {
            let asleep = body(&browser, "/api/vehicle/halcyon/detailed", &token).await;
            assert_eq!(asleep["charge_state"], Value::Null);
            body(&browser, "/api/vehicle/halcyon/wakeup", &token).await;
            assert_eq!(body(&browser, "/api/vehicle/halcyon/state", &token).await["response"], "online");
            return;
        }
        clock.advance(Duration::from_secs(600));
    }
    panic!("the second car never slept");
}

#[tokio::test]
async fn a_profile_can_be_read_and_changed() {
    let (_sandbox, browser, token) = world().await;
    let me = body(&browser, "/api/account", &token).await;
    assert_eq!(me["response"]["name"], "Ada Calloway");
    let change = browser.post("/api/account", &[("name", "Ada C.")]).bearer_auth(&token).send().await.unwrap();
    assert_eq!(change.status(), 200);
    assert_eq!(body(&browser, "/api/account", &token).await["response"]["name"], "Ada C.");
    let empty = browser.post("/api/account", &[]).bearer_auth(&token).send().await.unwrap();
    assert_eq!(empty.status(), 422);
}

#[tokio::test]
async fn the_api_is_throttled_where_it_is_configured() {
    let sandbox = Sandbox::start(SandboxConfig { api_rate: Some(2), ..config() }).await.unwrap();
    let browser = Browser::new(&sandbox);
    let token = sandbox.issue_personal_access_token(1, ScopeSet::ALL);
    let first = browser.api("/api/vehicles", &token).await;
    assert_eq!((header(&first, "x-ratelimit-limit"), header(&first, "x-ratelimit-remaining")), ("2", "1"));
    browser.api("/api/vehicles", &token).await;
    let third = browser.api("/api/vehicles", &token).await;
    assert_eq!((third.status().as_u16(), header(&third, "retry-after")), (429, "60"));
    assert_eq!(third.text().await.unwrap(), r#"{"message":"Too Many Attempts."}"#);
}
