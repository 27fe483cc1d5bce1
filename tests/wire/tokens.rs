//! Which token goes on a call, and what happens when the provider refuses it (SECURITY PX-12, 31, 32, 44, 45, RF-24).

use keyfob::broker::{AppWish, PastedWish};
use keyfob::domain::grant::GrantKind;
use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::domain::secret::Secret;
use keyfob::domain::user::Role;

use super::provider::{Script, answer, ok};
use super::world::{TOKEN, World, tokens, unauthenticated};

#[tokio::test]
async fn the_narrowest_grant_serves_and_a_tied_app_has_its_own() {
    let world = World::new().await;
    let cars = world.grant("cars", ScopeSet::of(Scope::Vehicles), GrantKind::PersonalAccessToken, "cars-token").await;
    let both: ScopeSet = [Scope::Vehicles, Scope::Account].into_iter().collect();
    let both = world.grant("both", both, GrantKind::PersonalAccessToken, "both-token").await;
    world.provider.forget();
    for (target, token) in
        [("/api/vehicles", "cars-token"), ("/api/account", "both-token"), ("/api/account/tesla-x", TOKEN)]
    {
        world.provider.forget();
        assert_eq!(world.get(target).await.status, 200);
        assert_eq!(world.provider.one().values("authorization"), [format!("Bearer {token}")]);
    }
    let tied = world.app_with(AppWish { grant: Some(both.id), ..world.wish(ScopeSet::of(Scope::Vehicles)) }).await;
    let mut world = world;
    world.key = tied.key.expose().to_owned();
    world.provider.forget();
    assert_eq!(world.get("/api/vehicles").await.status, 200);
    assert_eq!(world.provider.one().values("authorization"), ["Bearer both-token"]);
    drop(cars);
}

#[tokio::test]
async fn an_expired_token_that_cannot_be_renewed_now_is_503_and_never_sent() {
    let mut world = World::bare(&[], |_| {}).await;
    world.oauth_grant(ScopeSet::of(Scope::Vehicles), "first").await;
    world.app(ScopeSet::ALL).await.key.expose().clone_into(&mut world.key);
    assert_eq!(world.get("/api/vehicles").await.status, 200);
    world.clock.advance(std::time::Duration::from_secs(366 * 86_400));
    world.provider.forget();
    world.provider.will_answer(answer("503 Service Unavailable", &[], "{}"));
    let got = world.get("/api/vehicles").await;
    assert!(got.refuses(503, "refresh_unavailable").one("retry-after").parse::<u64>().unwrap() >= 1);
    let targets: Vec<_> = world.provider.seen().iter().map(|seen| seen.target().to_owned()).collect();
    assert_eq!(targets, ["/oauth/token"], "the old token went nowhere");
}

#[tokio::test]
async fn a_command_whose_row_cannot_be_written_is_503_and_a_read_goes_on() {
    use sqlx::Connection as _;
    let world = World::new().await;
    let address = format!("sqlite://{}", world.broker.store.path().display());
    let mut other = sqlx::SqliteConnection::connect(&address).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let got = world.get("/api/vehicle/c/command/honkHorn").await;
    got.refuses(503, "storage_unavailable").one("retry-after");
    world.unheard();
    assert_eq!(world.get("/api/vehicles").await.status, 200);
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(world.get("/api/vehicle/c/command/honkHorn").await.status, 200);
}

#[tokio::test]
async fn a_legacy_key_goes_in_the_query_only_where_no_bearer_can_serve() {
    let mut world = World::bare(&[], |_| {}).await;
    world.grant("old", ScopeSet::API_KEY, GrantKind::ApiKey, "legacy-key+1").await;
    world.app(ScopeSet::ALL).await.key.expose().clone_into(&mut world.key);
    for (asked, sent) in [
        ("/api/vehicle/c", "/api/vehicle/c?api_key=legacy-key%2B1"),
        (
            "/api/vehicle/c/command/setChargeLimit?limit=80&api_key=mine",
            "/api/vehicle/c/command/setChargeLimit?limit=80&api_key=legacy-key%2B1",
        ),
    ] {
        world.provider.forget();
        assert_eq!(world.get(asked).await.status, 200, "{asked}");
        let seen = world.provider.one();
        assert_eq!((seen.target(), seen.values("authorization").len()), (sent, 0));
    }
    world.get("/api/vehicle/c/trips").await.refuses(409, "no_grant");
    world.grant("new", ScopeSet::of(Scope::Vehicles), GrantKind::PersonalAccessToken, "new-token").await;
    world.provider.forget();
    assert_eq!(world.get("/api/vehicle/c").await.status, 200);
    let seen = world.provider.one();
    assert_eq!((seen.target(), seen.values("authorization")), ("/api/vehicle/c", vec!["Bearer new-token"]));
}

#[tokio::test]
async fn a_public_route_sends_no_token() {
    let world = World::new().await;
    assert_eq!(world.get("/api/software/latest").await.status, 200);
    assert!(world.provider.one().values("authorization").is_empty());
    assert!(!String::from_utf8_lossy(&world.provider.raw()).contains("CANARY"));
}

#[tokio::test]
async fn a_401_that_no_newer_token_can_mend_is_passed_on_without_its_challenge() {
    let world = World::new().await;
    // The provider says the same to the probe.
    for _ in 0..2 {
        world.provider.will_answer(unauthenticated());
    }
    let got = world.get("/api/vehicles").await;
    assert_eq!((got.status, got.text().as_str()), (401, "{\"message\":\"Unauthenticated.\"}"));
    assert!(got.values("www-authenticate").is_empty() && got.values("keyfob-error").is_empty());
    let calls = world.provider.seen().iter().filter(|seen| seen.target() == "/api/vehicles").count();
    assert_eq!(calls, 1, "nothing is sent again with the same token");
}

#[tokio::test]
async fn the_login_page_in_place_of_a_401_is_told_as_a_401() {
    for absolute in [true, false] {
        let world = World::new().await;
        let location = if absolute { format!("http://{}/login", world.provider.address) } else { "/login".to_owned() };
        let headers = [("location", &*location), ("content-type", "text/html")];
        let disguise = answer("302 Found", &headers, "<html>login</html>");
        // The second is for the probe, which then condemns the token.
        world.provider.will_answer(disguise.clone());
        world.provider.will_answer(disguise);
        let got = world.get("/api/vehicles").await;
        assert_eq!((got.status, got.text().as_str()), (401, "{\"message\":\"Unauthenticated.\"}"));
        assert!(got.values("location").is_empty());
        world.get("/api/vehicles").await.refuses(409, "needs_consent");
    }
}

#[tokio::test]
async fn a_command_is_sent_exactly_once_whatever_fails() {
    let world = World::new().await;
    for script in [
        Script::Close,
        Script::AnswerAndClose(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Script::Answer(answer("500 Oops", &[], "x")),
        Script::Answer(answer("503 Busy", &[("retry-after", "1")], "x")),
    ] {
        for method in ["GET", "POST"] {
            world.provider.forget();
            world.provider.will(script.clone());
            let got = world.call(method, "/api/vehicle/c/command/honkHorn", &[]).await;
            assert!(got.status >= 500);
            assert_eq!(world.provider.one().target(), "/api/vehicle/c/command/honkHorn");
        }
    }
}

#[tokio::test]
async fn a_connection_that_the_provider_closed_meanwhile_is_not_used_again() {
    let world = World::new().await;
    for _ in 0..5 {
        world.provider.will(Script::AnswerAndClose(ok("{}")));
        assert_eq!(world.get("/api/vehicles").await.status, 200);
        world.provider.until(|provider| provider.closed() == provider.connections()).await;
        assert_eq!(world.call("POST", "/api/account", &["Content-Length: 0"]).await.status, 200);
    }
}

#[tokio::test]
async fn a_read_goes_out_again_where_its_connection_turns_out_to_have_been_closed_or_to_hold_what_nobody_asked_for() {
    let world = World::new().await;
    let mut client = world.client().await;
    for more in [b"".to_vec(), ok("this is nobody's")] {
        for _ in 0..5 {
            world.provider.will(Script::AnswerAndMore(ok("first"), more.clone()));
            client.send(world.head("GET", "/api/vehicles", &[])).await;
            assert_eq!(client.response().await.text(), "first");
            let closed = world.provider.closed();
            world.provider.nudge.notify_one();
            world.provider.until(|provider| provider.closed() > closed).await;
            world.provider.will_answer(ok("second"));
            client.send(world.head("GET", "/api/vehicles", &[])).await;
            assert_eq!(client.response().await.text(), "second");
        }
    }
}

async fn refreshable() -> World {
    let mut world = World::bare(&[], |_| {}).await;
    world.oauth_grant(ScopeSet::ALL, "old-token").await;
    world.app(ScopeSet::ALL).await.key.expose().clone_into(&mut world.key);
    world
}

fn story(world: &World) -> Vec<String> {
    let seen = world.provider.seen();
    let said = |seen: &super::provider::Seen| seen.values("authorization").join("").replace("Bearer ", " ");
    seen.iter().map(|seen| format!("{}{}", seen.target(), said(seen))).collect()
}

#[tokio::test]
async fn a_token_of_eight_kilobytes_goes_out_as_it_came() {
    let mut world = World::bare(&[], |_| {}).await;
    let long = "a-._~+/".repeat(8 * 1_024 / 7);
    world.oauth_grant(ScopeSet::ALL, &long).await;
    world.app(ScopeSet::ALL).await.key.expose().clone_into(&mut world.key);
    world.provider.will_answer(ok("done"));
    assert_eq!(world.get("/api/vehicles").await.text(), "done");
    assert_eq!(world.provider.one().values("authorization"), [format!("Bearer {long}")]);
}

#[tokio::test]
async fn a_401_brings_one_refresh_and_the_call_once_more() {
    for (method, target, framing, body) in [
        ("GET", "/api/vehicles", "Accept: */*", String::new()),
        ("GET", "/api/vehicle/c/command/honkHorn", "Accept: */*", String::new()),
        ("POST", "/api/account", "Content-Length: 65536", "x".repeat(65_536)),
        ("POST", "/api/account", "Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n".to_owned()),
    ] {
        let world = refreshable().await;
        for bytes in [unauthenticated(), tokens("new-token"), ok("done")] {
            world.provider.will_answer(bytes);
        }
        let mut client = world.client().await;
        client.send(world.head(method, target, &[framing]) + &body).await;
        assert_eq!(client.response().await.text(), "done");
        assert_eq!(
            story(&world),
            [format!("{target} old-token"), "/oauth/token".to_owned(), format!("{target} new-token")]
        );
        let seen = world.provider.seen();
        assert_eq!(seen[0].body, seen[2].body);
        world.provider.forget();
        assert_eq!(world.get("/api/vehicles").await.status, 200);
        assert_eq!(story(&world), ["/api/vehicles new-token"]);
    }
}

#[tokio::test]
async fn the_login_page_in_place_of_a_401_brings_a_refresh_too() {
    let world = refreshable().await;
    for bytes in [answer("302 Found", &[("location", "/login")], "<html>"), tokens("new-token"), ok("done")] {
        world.provider.will_answer(bytes);
    }
    assert_eq!(world.get("/api/vehicles").await.text(), "done");
}

#[tokio::test]
async fn a_401_that_does_not_come_to_its_end_does_not_keep_the_call_from_going_out_once_more() {
    let world = refreshable().await;
    let [head, rest] = ["HTTP/1.1 401 Unauthorized\r\ncontent-length: 9\r\n\r\n{", "}"].map(Into::into);
    world.provider.will(Script::Pieces(vec![head, rest]));
    world.provider.will_answer(tokens("new-token"));
    world.provider.will_answer(ok("done"));
    assert_eq!(world.get("/api/vehicles").await.text(), "done");
}

#[tokio::test]
async fn a_second_401_is_passed_on_and_a_third_call_is_not_made() {
    let world = refreshable().await;
    for bytes in [unauthenticated(), tokens("new-token"), unauthenticated()] {
        world.provider.will_answer(bytes);
    }
    let got = world.get("/api/vehicles").await;
    assert_eq!((got.status, got.values("keyfob-error").len()), (401, 0));
    assert_eq!(story(&world), ["/api/vehicles old-token", "/oauth/token", "/api/vehicles new-token"]);
}

#[tokio::test]
async fn a_call_whose_app_is_cut_off_while_it_waits_for_a_token_is_not_sent_again() {
    let mut world = World::bare(&[], |_| {}).await;
    world.oauth_grant(ScopeSet::ALL, "old-token").await;
    let made = world.app(ScopeSet::ALL).await;
    made.key.expose().clone_into(&mut world.key);
    world.provider.will(Script::Pieces(vec![Vec::new(), unauthenticated()]));
    world.provider.will_answer(tokens("new-token"));
    let mut client = world.client().await;
    client.send(world.head("GET", "/api/vehicles", &[])).await;
    world.provider.until(|provider| provider.seen().len() == 1).await;
    world.broker.revoke_app(made.app.id, None).await.unwrap();
    world.provider.nudge.notify_one();
    client.response().await.refuses(401, "invalid_app_key");
    assert_eq!(story(&world), ["/api/vehicles old-token", "/oauth/token"]);
}

#[tokio::test]
async fn a_body_that_was_not_kept_is_not_sent_again_but_the_next_call_has_the_new_token() {
    let world = refreshable().await;
    world.provider.will_answer(unauthenticated());
    world.provider.will_answer(tokens("new-token"));
    let mut client = world.client().await;
    client.send(world.head("POST", "/api/account", &["Content-Length: 65537"]) + &"x".repeat(65_537)).await;
    assert_eq!(client.response().await.status, 401);
    assert_eq!(world.get("/api/vehicles").await.status, 200);
    assert_eq!(story(&world), ["/api/account old-token", "/oauth/token", "/api/vehicles new-token"]);
}

#[tokio::test]
async fn what_another_process_made_serves_the_very_next_call() {
    let world = World::bare(&[], |_| {}).await;
    let other = world.another_process().await;
    let app = other.make_app(world.wish(ScopeSet::ALL)).await.unwrap();
    let line = format!("X-Keyfob-Key: {}", app.key.expose());
    let head = format!("GET /api/vehicles HTTP/1.1\r\nHost: {}\r\n{line}\r\n\r\n", world.proxy);
    world.raw("GET", &head).await.refuses(409, "no_grant");
    let wish = PastedWish {
        user: world.user,
        kind: GrantKind::PersonalAccessToken,
        scopes: ScopeSet::ALL,
        label: "new".to_owned(),
        secret: Secret::new("pat-of-another-process"),
    };
    other.add_pasted_token(wish).await.unwrap();
    assert_eq!(world.raw("GET", &head).await.status, 200);
}

#[tokio::test]
async fn a_user_whom_another_process_made_can_grant_and_call_at_once() {
    let world = World::bare(&[], |_| {}).await;
    let other = world.another_process().await;
    let new = other.add_user("new", Role::Member, None).await.unwrap();
    let wish = PastedWish {
        user: new.id,
        kind: GrantKind::PersonalAccessToken,
        scopes: ScopeSet::ALL,
        label: "new".to_owned(),
        secret: Secret::new("pat-of-the-new-user"),
    };
    world.broker.add_pasted_token(wish).await.unwrap();
    let app = world.app_with(AppWish { user: new.id, ..world.wish(ScopeSet::ALL) }).await;
    let head =
        format!("GET /api/vehicles HTTP/1.1\r\nHost: {}\r\nX-Keyfob-Key: {}\r\n\r\n", world.proxy, app.key.expose());
    for _ in 0..2 {
        assert_eq!(world.raw("GET", &head).await.status, 200);
        world.broker.look_again().await;
    }
}
