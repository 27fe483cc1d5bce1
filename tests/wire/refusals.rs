//! The rows of the refusal table, in their order; those of a missing token or database are in `tokens.rs` (SECURITY PX-03, 05, 24, 25, 27, 41, 42, 43, 62, 63, 66).

use std::time::Duration;

use keyfob::broker::AppWish;
use keyfob::domain::grant::GrantKind;
use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::store::Change;

use super::client::Got;
use super::provider::Script;
use super::world::World;

const OTHER_KEY: &str = "kf_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

async fn with_lines(world: &World, target: &str, lines: &[&str]) -> Got {
    let lines = lines.iter().fold(String::new(), |head, line| head + line + "\r\n");
    world.raw("GET", &format!("GET {target} HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", world.proxy)).await
}

#[tokio::test]
async fn no_two_or_a_foreign_host_is_421() {
    let world = World::new().await;
    let key = format!("Authorization: Bearer {}", world.key);
    for hosts in [
        "",
        "Host: \r\n",
        "Host: evil.example\r\n",
        "Host: localhost.evil.example\r\n",
        "Host: 127.0.0.1.nip.io\r\n",
        "Host: 0.0.0.0\r\n",
        "Host: localhost.\r\n",
        "Host: localhost\r\nHost: localhost\r\n",
        "Host: localhost\r\nHost: evil.example\r\n",
        "Host: localhost, evil\r\n",
        "Host: teslascope.com\r\n",
    ] {
        let got = world.raw("GET", &format!("GET /api/vehicles HTTP/1.1\r\n{hosts}{key}\r\n\r\n")).await;
        got.refuses(421, "forbidden_host");
    }
    world.unheard();
    for host in ["localhost", "LocalHost:1", "127.0.0.1", "[::1]:8701", "127.8.8.8"] {
        let got = world.raw("GET", &format!("GET /api/vehicles HTTP/1.1\r\nHost: {host}\r\n{key}\r\n\r\n")).await;
        assert_eq!(got.status, 200, "{host}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_is_403_whatever_key_it_has() {
    let world = World::new().await;
    for line in
        ["Origin: https://evil.example", "Origin: null", "Origin: http://localhost:8700", "Sec-Fetch-Site: cross-site"]
    {
        world.call("GET", "/api/vehicles", &[line]).await.refuses(403, "forbidden_origin");
    }
    world.unheard();
    for line in ["Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none", "Origin: https://page.example"] {
        assert_eq!(world.call("GET", "/api/vehicles", &[line]).await.status, 200, "{line}");
    }
}

#[tokio::test]
async fn a_call_without_a_good_key_is_401_and_says_how_to_send_one() {
    let world = World::new().await;
    for lines in [vec![], vec!["Authorization: Basic eDp5"], vec!["X-Other: 1"]] {
        let got = with_lines(&world, "/api/vehicles", &lines).await;
        assert_eq!(got.refuses(401, "missing_app_key").one("www-authenticate"), "Bearer realm=\"keyfob\"");
    }
    let long = format!("Authorization: Bearer kf_{}", "a".repeat(20_000));
    for line in [
        format!("Authorization: Bearer {OTHER_KEY}"),
        "Authorization: Bearer kf_short".to_owned(),
        "Authorization: Bearer".to_owned(),
        format!("Authorization: Bearer {}x", world.key),
        format!("X-Keyfob-Key: {OTHER_KEY}"),
        "Authorization: Bearer kfa_x".to_owned(),
        format!("Authorization: Bearer {}", world.key.to_uppercase()),
        "Authorization: Bearer \u{e9}".to_owned(),
        long,
    ] {
        let got = with_lines(&world, "/api/vehicles", &[&line]).await;
        let challenge = got.refuses(401, "invalid_app_key").one("www-authenticate").to_owned();
        assert!(challenge.starts_with("Bearer realm=\"keyfob\", error=\"invalid_token\""), "{challenge}");
    }
    with_lines(&world, &format!("/api/vehicles?api_key={OTHER_KEY}"), &[]).await.refuses(401, "invalid_app_key");
    world.unheard();
}

#[tokio::test]
async fn two_credentials_that_differ_are_400_and_equal_ones_are_one() {
    let world = World::new().await;
    let ours = format!("Authorization: Bearer {}", world.key);
    let same = format!("X-Keyfob-Key: {}", world.key);
    for lines in [vec![&*ours, "X-Keyfob-Key: kf_x"], vec![&*ours, &*ours], vec!["Authorization: Basic x", &*same]] {
        with_lines(&world, "/api/vehicles", &lines).await.refuses(400, "bad_request_target");
    }
    with_lines(&world, &format!("/api/vehicles?api_key={OTHER_KEY}"), &[&ours])
        .await
        .refuses(400, "bad_request_target");
    world.unheard();
    assert_eq!(with_lines(&world, "/api/vehicles", &[&ours, &same]).await.status, 200);
}

#[tokio::test]
async fn keys_that_were_rolled_revoked_or_are_past_their_time_are_401() {
    let world = World::new().await;
    let mut short =
        world.app_with(AppWish { expires_in: Some(Duration::from_secs(60)), ..world.wish(ScopeSet::ALL) }).await;
    let line = |key: &str| format!("Authorization: Bearer {key}");
    let first = line(short.key.expose());
    assert_eq!(with_lines(&world, "/api/vehicles", &[&first]).await.status, 200);
    world.clock.advance(Duration::from_secs(61));
    let got = with_lines(&world, "/api/vehicles", &[&first]).await;
    assert!(got.refuses(401, "expired_app_key").one("www-authenticate").contains("error=\"invalid_token\""));

    short = world.app_with(world.wish(ScopeSet::ALL)).await;
    let old = line(short.key.expose());
    let rolled = world.broker.roll_app(short.app.id, None, Duration::from_secs(60)).await.unwrap();
    let new = line(rolled.key.expose());
    assert_eq!(with_lines(&world, "/api/vehicles", &[&old]).await.status, 200);
    assert_eq!(with_lines(&world, "/api/vehicles", &[&new]).await.status, 200);
    world.clock.advance(Duration::from_secs(61));
    with_lines(&world, "/api/vehicles", &[&old]).await.refuses(401, "expired_app_key");
    assert_eq!(with_lines(&world, "/api/vehicles", &[&new]).await.status, 200);
    world.broker.revoke_app(short.app.id, None).await.unwrap();
    with_lines(&world, "/api/vehicles", &[&new]).await.refuses(401, "invalid_app_key");
}

#[tokio::test]
async fn a_key_in_the_url_works_only_for_apps_that_were_made_for_it() {
    let world = World::new().await;
    let plain = world.app_with(world.wish(ScopeSet::ALL)).await;
    let target = format!("/api/vehicles?api_key={}", plain.key.expose());
    with_lines(&world, &target, &[]).await.refuses(401, "invalid_app_key");
    let target = format!("/api/vehicles?api_key={}", world.key);
    assert_eq!(with_lines(&world, &target, &[]).await.status, 200);
}

#[tokio::test]
async fn an_app_without_the_scope_is_403_before_the_provider_hears_of_it() {
    let mut world = World::new().await;
    world.key = world.app(ScopeSet::of(Scope::Vehicles)).await.key.expose().to_owned();
    for (method, target, scope) in [
        ("GET", "/api/account", "account"),
        ("GET", "/api/account/tesla-accounts", "tesla-accounts"),
        ("POST", "/mcp", "mcp:use"),
        ("GET", "/api/vehicle/c/command/honkHorn", "controls"),
        ("POST", "/api/vehicle/c/wakeup", "controls"),
        ("GET", "/api/vehicle/c/anything", "controls"),
        ("DELETE", "/api/vehicle/c/drives/7", "controls"),
    ] {
        let got = world.call(method, target, &[]).await;
        let expected = format!("Bearer realm=\"keyfob\", error=\"insufficient_scope\", scope=\"{scope}\"");
        assert_eq!(got.refuses(403, "insufficient_scope").one("www-authenticate"), expected);
        assert!(got.problem()["consent_url"].as_str().unwrap().ends_with(&format!("?scope={scope}")));
        assert_eq!(got.problem()["scope"], scope);
    }
    world.unheard();
    assert_eq!(world.get("/api/vehicles").await.status, 200);
}

#[tokio::test]
async fn unknown_paths_are_403_and_unlisted_methods_405_with_allow() {
    let world = World::new().await;
    for target in ["/", "/api", "/oauth/token", "/api/vehicles/x", "/API/vehicles", "/api/v2/x"] {
        world.call("POST", target, &["Content-Length: 0"]).await.refuses(403, "unknown_endpoint");
    }
    for (method, target, allow) in [
        ("POST", "/api/vehicles", "GET, HEAD"),
        ("HEAD", "/api/vehicle/c/command/honk", "GET, POST"),
        ("PUT", "/mcp", "GET, POST, DELETE"),
        ("TRACE", "/api/account", "GET, HEAD, POST, PUT, PATCH, DELETE"),
        ("get", "/api/vehicles", "GET, HEAD"),
        ("PROPFIND", "/api/vehicles", "GET, HEAD"),
        ("OPTIONS", "/api/vehicles", "GET, HEAD"),
    ] {
        let got = world.call(method, target, &[]).await;
        assert_eq!(got.one("allow"), allow);
        assert_eq!((got.status, got.one("keyfob-error")), (405, "method_not_allowed"));
    }
    world.unheard();
}

#[tokio::test]
async fn refusals_come_in_the_order_of_the_contract() {
    let world = World::with(&[("KEYFOB_MAX_REQUEST_BODY", "8")], |_| {}).await;
    let host = format!("Host: {}", world.proxy);
    let weak = world
        .app_with(AppWish { rate: Some("1/h".parse().unwrap()), ..world.wish(ScopeSet::of(Scope::Vehicles)) })
        .await;
    let weak = format!("X-Keyfob-Key: {}", weak.key.expose());
    let all = world.app_with(AppWish { rate: Some("1/h".parse().unwrap()), ..world.wish(ScopeSet::ALL) }).await;
    let all = format!("X-Keyfob-Key: {}", all.key.expose());
    let big = "Content-Length: 9";
    // Each has every fault of those after it.
    for (first, lines, status) in [
        ("TRACE /api/./x", vec!["Expect: x", "Content-Length: x"], 400),
        ("TRACE /api/./x", vec!["Expect: x"], 417),
        ("TRACE /api/./x", vec!["Host: evil", "Origin: http://evil", "X-Keyfob-Key: bad", big], 421),
        ("TRACE /api/./x", vec![&*host, "Origin: http://evil", "X-Keyfob-Key: bad", big], 403),
        ("TRACE /api/./x", vec![&*host, "X-Keyfob-Key: bad", big], 401),
        ("TRACE /api/./vehicles", vec![&*host, &*weak, big], 400),
        ("TRACE /api/account", vec![&*host, &*weak, big], 405),
        ("POST /api/account", vec![&*host, &*weak, big], 403),
    ] {
        let lines = lines.iter().fold(String::new(), |head, line| head + line + "\r\n");
        let got = world.raw("GET", &format!("{first} HTTP/1.1\r\n{lines}\r\n")).await;
        assert_eq!(got.status, status, "{first} {lines}");
    }
    let post = format!("POST /api/account HTTP/1.1\r\n{host}\r\n{all}\r\n{big}\r\n\r\n");
    world.raw("POST", &post).await.refuses(413, "request_too_large");
    world.raw("POST", &post).await.refuses(429, "rate_limited");
    world.unheard();
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_in_either_framing() {
    let world = World::with(&[("KEYFOB_MAX_REQUEST_BODY", "10")], |_| {}).await;
    let mut client = world.client().await;
    client.send(world.head("POST", "/api/account", &["Content-Length: 11", "Expect: 100-continue"])).await;
    client.response().await.refuses(413, "request_too_large");
    client.is_closed().await;
    world.unheard();
    let mut client = world.client().await;
    client
        .send(
            world.head("POST", "/api/account", &["Transfer-Encoding: chunked"])
                + "6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n",
        )
        .await;
    client.response().await.refuses(413, "request_too_large");
    client.is_closed().await;
    assert!(!world.provider.raw().ends_with(b"0\r\n\r\n"));
    world.provider.forget();
    let mut client = world.client().await;
    client.send(world.head("POST", "/api/account", &["Content-Length: 10"]) + "0123456789").await;
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn an_app_over_its_rate_is_429_with_retry_after_and_others_are_not() {
    let world = World::new().await;
    let limited = world.app_with(AppWish { rate: Some("2/m".parse().unwrap()), ..world.wish(ScopeSet::ALL) }).await;
    let line = format!("Authorization: Bearer {}", limited.key.expose());
    for _ in 0..2 {
        assert_eq!(with_lines(&world, "/api/vehicles", &[&line]).await.status, 200);
    }
    let got = with_lines(&world, "/api/vehicles", &[&line]).await;
    let wait: u64 = got.refuses(429, "rate_limited").one("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait) && got.problem()["retry_after"] == wait);
    assert_eq!(world.get("/api/vehicles").await.status, 200);
}

#[tokio::test]
async fn without_a_grant_that_holds_the_scope_it_is_409_with_the_address_to_grant_it() {
    let mut world = World::bare(&[], |_| {}).await;
    world.grant("cars", ScopeSet::of(Scope::Vehicles), GrantKind::PersonalAccessToken, "pat-1").await;
    world.app(ScopeSet::ALL).await.key.expose().clone_into(&mut world.key);
    world.provider.forget();
    let got = world.get("/api/vehicle/c/command/honkHorn").await;
    let problem = got.refuses(409, "no_grant").problem();
    assert_eq!(
        (&problem["scope"], &problem["consent_url"]),
        (&"controls".into(), &"http://localhost:8700/connect?scope=controls".into())
    );
    world.unheard();
    assert_eq!(world.get("/api/vehicles").await.status, 200);
    assert_eq!(world.get("/api/software").await.status, 200);
}

#[tokio::test]
async fn an_app_that_is_tied_to_a_grant_that_is_gone_is_told_so_and_not_to_grant_anew() {
    let mut world = World::new().await;
    let tied = world.grant("tied", ScopeSet::ALL, GrantKind::PersonalAccessToken, "pat-tied").await;
    let made = world.app_with(AppWish { grant: Some(tied.id), ..world.wish(ScopeSet::ALL) }).await;
    made.key.expose().clone_into(&mut world.key);
    assert_eq!(world.get("/api/vehicles").await.status, 200);
    world.broker.disconnect(tied.id, None).await.unwrap();
    let problem = world.get("/api/vehicles").await.refuses(409, "no_grant").problem();
    assert_eq!(problem["consent_url"], format!("http://localhost:8700/apps/{}", made.app.id));
    // One that is still there, and holds too little.
    let narrow =
        world.grant("narrow", ScopeSet::of(Scope::Vehicles), GrantKind::PersonalAccessToken, "pat-narrow").await;
    let made = world.app_with(AppWish { grant: Some(narrow.id), ..world.wish(ScopeSet::of(Scope::Vehicles)) }).await;
    made.key.expose().clone_into(&mut world.key);
    world.broker.store.replace_app_scopes(made.app.id, None, ScopeSet::ALL).await.unwrap();
    world.broker.directory().reload(Change::App(made.app.id)).await.unwrap();
    let problem = world.get("/api/account").await.refuses(409, "no_grant").problem();
    assert_eq!(problem["consent_url"], format!("http://localhost:8700/grants/{}?scope=account", narrow.id));
    assert!(problem["detail"].as_str().unwrap().contains("tied to one grant"), "{problem}");
}

#[tokio::test]
async fn on_mcp_a_grant_that_holds_more_than_the_app_serves_it_not() {
    let mut world = World::new().await;
    world.key = world.app([Scope::McpUse, Scope::Vehicles].into_iter().collect()).await.key.expose().to_owned();
    let got = world.call("POST", "/mcp", &["Content-Length: 0"]).await;
    got.refuses(409, "no_grant");
    assert!(got.problem()["detail"].as_str().unwrap().contains("narrower grant"));
    let scopes: ScopeSet = [Scope::McpUse, Scope::Vehicles].into_iter().collect();
    let wide = world.grant("wide", ScopeSet::ALL, GrantKind::PersonalAccessToken, "wide-token").await;
    let tied = world.app_with(AppWish { grant: Some(wide.id), ..world.wish(scopes) }).await;
    world.provider.forget();
    let before = std::mem::replace(&mut world.key, tied.key.expose().to_owned());
    let problem = world.call("POST", "/mcp", &["Content-Length: 0"]).await.refuses(409, "no_grant").problem();
    assert_eq!(problem["consent_url"], format!("http://localhost:8700/apps/{}", tied.app.id), "more would not help");
    world.key = before;
    world.unheard();
    let scopes = [Scope::McpUse, Scope::Vehicles].into_iter().collect();
    world.grant("narrow", scopes, GrantKind::PersonalAccessToken, "narrow-token").await;
    world.provider.forget();
    assert_eq!(world.call("POST", "/mcp", &["Content-Length: 0"]).await.status, 200);
    assert_eq!(world.provider.one().values("authorization"), ["Bearer narrow-token"]);
}

#[tokio::test]
async fn what_goes_wrong_at_the_provider_is_told_apart() {
    let world = World::with(&[("KEYFOB_UPSTREAM_TIMEOUT", "1s")], |_| {}).await;
    world.provider.will(Script::Silence);
    world.get("/api/vehicles").await.refuses(504, "upstream_timeout");
    world.provider.will(Script::Close);
    world.get("/api/vehicles").await.refuses(502, "upstream_protocol_error");

    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let world = World::with(&[("KEYFOB_TESLASCOPE_MCP_URL", &format!("http://{gone}"))], |_| {}).await;
    let got = world.get("/mcp").await;
    got.refuses(502, "upstream_unreachable");
    assert!(!got.text().contains(&gone.to_string()) && !got.text().contains(&gone.port().to_string()));
}

#[tokio::test]
async fn a_disabled_user_and_a_disconnected_grant_take_effect_at_once() {
    let world = World::bare(&[], |_| {}).await;
    let grant = world.grant("all", ScopeSet::ALL, GrantKind::PersonalAccessToken, "pat-1").await;
    let app = world.app(ScopeSet::ALL).await;
    let line = format!("Authorization: Bearer {}", app.key.expose());
    assert_eq!(with_lines(&world, "/api/vehicles", &[&line]).await.status, 200);
    world.broker.disconnect(grant.id, None).await.unwrap();
    with_lines(&world, "/api/vehicles", &[&line]).await.refuses(409, "no_grant");
    world.broker.add_user("eve", keyfob::domain::user::Role::Admin, None).await.unwrap();
    world.broker.set_disabled(world.user, true).await.unwrap();
    with_lines(&world, "/api/vehicles", &[&line]).await.refuses(401, "invalid_app_key");
}
