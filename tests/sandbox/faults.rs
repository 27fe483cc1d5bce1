//! The sandbox misbehaves exactly as it is told, and counts what it saw.

use std::time::Duration;

use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::sandbox::{CallFault, Faults, Moment, RawAnswer, Sandbox, Times, TokenFault};
use serde_json::{Value, json};

use crate::browser::{ALL, Browser, header, location, pair, sandbox};

/// A sandbox, its faults, a client, and the refresh token of a grant.
async fn world() -> (Sandbox, Faults, Browser, String) {
    let sandbox = sandbox().await;
    let browser = Browser::new(&sandbox);
    let faults = sandbox.faults();
    let (_, refresh) = browser.grant("vehicles controls").await;
    (sandbox, faults, browser, refresh)
}

/// Refreshes and expects the connection to break.
async fn broken(sandbox: &Sandbox, refresh: &str) -> reqwest::Error {
    let form = [("grant_type", "refresh_token"), ("client_id", "keyfob-sandbox"), ("refresh_token", refresh)];
    let request = reqwest::Client::builder().no_proxy().build().unwrap();
    let sent = request.post(format!("{}/oauth/token", sandbox.url())).form(&form).send().await;
    match sent {
        Err(error) => error,
        Ok(response) => response.text().await.unwrap_err(),
    }
}

#[tokio::test]
async fn answers_in_place_of_rotating_leave_the_refresh_token_alive() {
    let (_sandbox, faults, browser, refresh) = world().await;
    let planned: [(TokenFault, u16); 8] = [
        (TokenFault::status(500), 500),
        (TokenFault::status(503), 503),
        (TokenFault::too_many(7), 429),
        (TokenFault::html(200), 200),
        (TokenFault::html(403), 403),
        (TokenFault::rejected(), 400),
        (TokenFault::rejected_by_league_8(), 401),
        (TokenFault::Instead(RawAnswer::new(200, "application/json", "{}").with("X-Odd", "1")), 200),
    ];
    for (fault, status) in planned {
        faults.refresh(Times::Next(1), fault.clone());
        let response = browser.refresh(&refresh).await;
        assert_eq!(response.status(), status, "{fault:?}");
        if status == 429 {
            assert_eq!(header(&response, "retry-after"), "7");
        }
    }
    for status in [307, 302] {
        faults.refresh(Times::Next(1), TokenFault::redirect(status, "http://127.0.0.1:1/elsewhere"));
        let response = browser.refresh(&refresh).await;
        assert_eq!(
            (response.status().as_u16(), location(&response).as_deref()),
            (status, Some("http://127.0.0.1:1/elsewhere"))
        );
    }
    assert_eq!((faults.refreshes(), faults.token_requests_of("refresh_token")), (0, 10));
    assert_eq!(browser.refresh(&refresh).await.status(), 200);
    assert_eq!(faults.token_requests(), 12);
}

#[tokio::test]
async fn a_connection_can_break_before_or_after_the_rotation_or_in_the_body() {
    let (sandbox, faults, browser, refresh) = world().await;
    faults.token(Times::Next(1), TokenFault::DropBefore);
    broken(&sandbox, &refresh).await;
    assert_eq!(faults.refreshes(), 0);
    for fault in [TokenFault::DropAfter, TokenFault::CutBody] {
        let (_, refresh) = browser_grant(&sandbox).await;
        faults.refresh(Times::Next(1), fault);
        broken(&sandbox, &refresh).await;
        assert_eq!(browser.refresh(&refresh).await.status(), 400, "the old token is dead");
    }
    assert_eq!(faults.refreshes(), 2);
    assert_eq!(browser.refresh(&refresh).await.status(), 200);
}

async fn browser_grant(sandbox: &Sandbox) -> (String, String) {
    let browser = Browser::new(sandbox);
    // A scope that no living token holds, so that the consent page is shown.
    sandbox.faults().revoke_account_tokens(2);
    let (_, page) = browser.sign_in(&crate::browser::authorize(ALL), "2").await;
    let to = browser.consent(&page, "authorize", ALL).await;
    let code = crate::browser::parameter(&to, "code").unwrap();
    pair(&browser.exchange(&code).await.json().await.unwrap())
}

#[tokio::test]
async fn members_of_the_answer_can_be_set_or_left_out_after_rotating() {
    let (_sandbox, faults, browser, mut refresh) = world().await;
    let edits: [(TokenFault, &str, Value); 7] = [
        (TokenFault::with("expires_in", "3600"), "expires_in", json!("3600")),
        (TokenFault::with("expires_in", -1), "expires_in", json!(-1)),
        (TokenFault::with("expires_in", u64::MAX), "expires_in", json!(u64::MAX)),
        (TokenFault::with("scope", "vehicles"), "scope", json!("vehicles")),
        (TokenFault::with("token_type", "mac"), "token_type", json!("mac")),
        (TokenFault::without("expires_in"), "expires_in", Value::Null),
        (TokenFault::without("refresh_token"), "refresh_token", Value::Null),
    ];
    for (fault, member, expected) in edits {
        faults.refresh(Times::Next(1), fault);
        let answer: Value = browser.refresh(&refresh).await.json().await.unwrap();
        assert_eq!(answer[member], expected);
        assert!(answer["access_token"].is_string());
        if let Some(next) = answer["refresh_token"].as_str() {
            refresh = next.to_owned();
        }
    }
    assert_eq!(faults.refreshes(), 7);
}

#[tokio::test]
async fn half_a_json_is_an_answer_and_a_narrowed_token_does_not_say_so() {
    let (_sandbox, faults, browser, refresh) = world().await;
    faults.refresh(Times::Next(1), TokenFault::Narrow(ScopeSet::of(Scope::Vehicles)));
    let answer: Value = browser.refresh(&refresh).await.json().await.unwrap();
    assert_eq!(answer.get("scope"), None);
    let (access, refresh) = pair(&answer);
    assert_eq!(browser.api("/api/vehicle/corsair/wakeup", &access).await.status(), 403);
    faults.refresh(Times::Next(1), TokenFault::TruncatedJson);
    let response = browser.refresh(&refresh).await;
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    assert!(text.starts_with("{\"token_type\"") && serde_json::from_str::<Value>(&text).is_err());
    assert_eq!(faults.refreshes(), 2);
}

/// Whether the server's end of a connection is open still, also half: as the kernel lists it.
fn holds_open(server: u16, client: u16) -> bool {
    const OPEN: [&str; 2] = ["01", "08"];
    let listed = std::fs::read_to_string("/proc/net/tcp").unwrap();
    listed.lines().skip(1).any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let port = |field: &str| u16::from_str_radix(field.rsplit(':').next().unwrap(), 16).unwrap();
        port(fields[1]) == server && port(fields[2]) == client && OPEN.contains(&fields[3])
    })
}

#[tokio::test]
async fn a_client_that_hangs_up_while_it_is_held_does_not_stop_the_rotation() {
    let (sandbox, faults, browser, refresh) = world().await;
    let hold = faults.hold(Moment::BeforeRotate);
    let (arrived, rotated) = (faults.reached(Moment::BeforeRotate), faults.reached(Moment::AfterRotate));
    let address = sandbox.addr();
    let body = format!("grant_type=refresh_token&client_id=keyfob-sandbox&refresh_token={refresh}");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /oauth/token HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    arrived.await;
    let client = stream.local_addr().unwrap();
    assert!(holds_open(address.port(), client.port()), "the sandbox holds its end");
    drop(stream);
    tokio::time::timeout(Duration::from_secs(5), async {
        while holds_open(address.port(), client.port()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the sandbox sees that the client is gone");
    assert_eq!(faults.refreshes(), 0);
    hold.release();
    tokio::time::timeout(Duration::from_secs(5), rotated).await.expect("the rotation goes on");
    assert_eq!(faults.refreshes(), 1);
    assert_eq!(browser.refresh(&refresh).await.status(), 400);
}

#[tokio::test]
async fn delays_and_holds_come_where_they_are_told_to() {
    let (sandbox, faults, browser, refresh) = world().await;
    let hold = faults.hold(Moment::BeforeAnswer);
    let answering = faults.reached(Moment::BeforeAnswer);
    let spent = refresh.clone();
    let waiting = tokio::spawn(async move { browser.refresh(&spent).await.status() });
    answering.await;
    assert_eq!(faults.refreshes(), 1);
    assert!(!waiting.is_finished());
    drop(hold);
    assert_eq!(waiting.await.unwrap(), 200);
    let browser = Browser::new(&sandbox);
    faults.api(Times::Next(1), CallFault::DelayBefore(Duration::from_millis(80)));
    let token = sandbox.issue_personal_access_token(1, ScopeSet::ALL);
    let slow = browser.api("/api/vehicles", &token);
    assert!(tokio::time::timeout(Duration::from_millis(30), slow).await.is_err());
}

#[tokio::test]
async fn calls_misbehave_by_path_and_for_as_long_as_they_are_told() {
    let (sandbox, faults, browser, _) = world().await;
    let token = sandbox.issue_personal_access_token(1, ScopeSet::ALL);
    faults.api_path(Times::Next(2), "/api/vehicles", CallFault::Unauthenticated);
    faults.api_path(Times::Always, "/api/account", CallFault::status(500));
    let status = async |path: &str| browser.api(path, &token).await.status().as_u16();
    assert_eq!(
        [status("/api/vehicles").await, status("/api/vehicles?x=1").await, status("/api/vehicles").await],
        [401, 401, 200]
    );
    assert_eq!([status("/api/account").await, status("/api/account").await], [500, 500]);
    faults.clear();
    assert_eq!(status("/api/account").await, 200);
    faults.api(Times::Next(1), CallFault::LoginRedirect);
    let response = browser.api("/api/vehicles", &token).await;
    assert_eq!(location(&response), Some(format!("{}/login", sandbox.url())));
    faults.api(Times::Next(1), CallFault::Echo(418));
    let response = browser.api("/api/vehicles", &token).await;
    assert_eq!(header(&response, "x-echo-authorization"), format!("Bearer {token}"));
    faults.mcp(Times::Next(1), CallFault::status(502));
    assert_eq!(status("/mcp").await, 502);
    assert_eq!(faults.calls("/mcp"), 1);
}

#[tokio::test]
async fn a_command_can_be_lost_before_or_after_it_was_carried_out() {
    let (sandbox, faults, browser, _) = world().await;
    let token = sandbox.issue_personal_access_token(1, ScopeSet::ALL);
    let path = "/api/vehicle/corsair/command/honkHorn";
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let send = || client.post(format!("{}{path}", sandbox.url())).bearer_auth(&token).send();
    faults.api(Times::Next(1), CallFault::DropBefore);
    assert!(send().await.is_err());
    assert_eq!(faults.commands("corsair", "honkHorn"), 0);
    faults.api(Times::Next(1), CallFault::DropAfter);
    assert!(send().await.is_err());
    assert_eq!(faults.commands("corsair", "honkHorn"), 1);
    faults.api(Times::Next(1), CallFault::CutBody);
    assert!(send().await.unwrap().text().await.is_err());
    faults.api(Times::Next(1), CallFault::After(RawAnswer::status(502)));
    assert_eq!(browser.api(path, &token).await.status(), 502);
    assert_eq!(faults.commands("corsair", "honkHorn"), 3);
}

#[tokio::test]
async fn what_arrived_is_recorded_byte_for_byte() {
    let (sandbox, faults, browser, _) = world().await;
    faults.forget_received();
    let token = sandbox.issue_personal_access_token(1, ScopeSet::ALL);
    browser.api("/api/vehicle/corsair/drives?page=1&x=%7e", &token).await;
    browser.post("/api/account", &[("name", "A")]).bearer_auth(&token).send().await.unwrap();
    let received = faults.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].target, "/api/vehicle/corsair/drives?page=1&x=%7e");
    assert_eq!(received[0].path(), "/api/vehicle/corsair/drives");
    assert_eq!(received[0].header("authorization"), [format!("Bearer {token}")]);
    assert_eq!((received[1].method.as_str(), received[1].body_len), ("POST", 6));
    assert_eq!(faults.all_calls(), 2);
}

#[tokio::test]
async fn tokens_can_be_expired_or_revoked_from_outside() {
    let (_sandbox, faults, browser, refresh) = world().await;
    let alive = faults.tokens_alive(1);
    assert_eq!((alive.access, alive.refresh), (1, 1));
    assert_eq!(alive.scopes.to_string(), "vehicles controls");
    faults.expire_access_tokens();
    assert_eq!((faults.tokens_alive(1).access, faults.tokens_alive(1).refresh), (0, 1));
    assert_eq!(browser.refresh(&refresh).await.status(), 200);
    faults.revoke_account_tokens(1);
    assert_eq!((faults.tokens_alive(1).access, faults.tokens_alive(1).refresh), (0, 0));
}

#[tokio::test]
async fn the_date_header_can_be_wrong() {
    let (_sandbox, faults, browser, _) = world().await;
    faults.date_offset(-3600);
    let response = browser.refresh("x").await;
    assert_eq!(header(&response, "date"), "Tue, 24 Nov 2026 11:00:00 GMT");
}

#[tokio::test]
async fn an_outage_breaks_connections_and_forgets_nothing() {
    let (sandbox, faults, browser, refresh) = world().await;
    faults.unreachable(true);
    broken(&sandbox, &refresh).await;
    faults.unreachable(false);
    assert_eq!(browser.refresh(&refresh).await.status(), 200);
}
