//! On `/mcp`, where the tool is named in the body, no token goes out that holds more than the app may use: neither one that
//! is widened while a call waits, nor one with scopes that Keyfob does not know (SECURITY PX-25).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyfob::domain::grant::GrantKind;
use keyfob::domain::scope::{Scope, ScopeSet};

use super::client::Got;
use super::provider::{Script, ok};
use super::world::{World, tokens_of, unauthenticated};

fn narrow() -> ScopeSet {
    [Scope::McpUse, Scope::Vehicles].into_iter().collect()
}

async fn with_grant(scopes: ScopeSet, answer: Vec<u8>) -> (World, keyfob::domain::id::GrantId) {
    let mut world = World::bare(&[], |_| {}).await;
    let grant = world.authorize(None, scopes, answer).await;
    world.app(scopes).await.key.expose().clone_into(&mut world.key);
    (world, grant.id)
}

async fn use_tool(world: &World) -> Got {
    world.call("POST", "/mcp", &["Content-Length: 0"]).await
}

/// That the MCP server heard only these tokens.
#[track_caller]
fn heard(world: &World, tokens: &[&str]) {
    let seen = world.provider.seen();
    let at_mcp = seen.iter().filter(|seen| seen.target().starts_with("/ai/mcp"));
    let said: Vec<_> = at_mcp.map(|seen| seen.values("authorization").join("").replace("Bearer ", "")).collect();
    assert_eq!(said, tokens);
}

#[tokio::test]
async fn a_refresh_after_a_401_that_brings_a_wider_token_ends_the_call() {
    let (world, _) = with_grant(narrow(), tokens_of("old", "mcp:use vehicles")).await;
    for bytes in [unauthenticated(), tokens_of("wide", "mcp:use vehicles controls"), ok("done")] {
        world.provider.will_answer(bytes);
    }
    use_tool(&world).await.refuses(409, "no_grant");
    heard(&world, &["old"]);
    use_tool(&world).await.refuses(409, "no_grant");
    heard(&world, &["old"]);
}

#[tokio::test]
async fn a_token_that_was_due_and_comes_back_wider_is_not_sent() {
    let (world, _) = with_grant(narrow(), tokens_of("old", "mcp:use vehicles")).await;
    world.clock.advance(Duration::from_secs(31_536_001));
    world.provider.will_answer(tokens_of("wide", "mcp:use vehicles controls"));
    use_tool(&world).await.refuses(409, "no_grant");
    heard(&world, &[]);
}

#[tokio::test]
async fn a_grant_that_its_user_widens_while_a_call_runs_is_not_used_for_it_again() {
    let (world, grant) = with_grant(narrow(), tokens_of("old", "mcp:use vehicles")).await;
    world.provider.will(Script::Pieces(vec![Vec::new(), unauthenticated()]));
    let mut client = world.client().await;
    client.send(world.head("POST", "/mcp", &["Content-Length: 0"])).await;
    world.provider.until(|provider| provider.seen().len() == 1).await;
    let wide = narrow().with(Scope::Controls);
    world.authorize(Some(grant), wide, tokens_of("wide", "mcp:use vehicles controls")).await;
    world.provider.nudge.notify_one();
    client.response().await.refuses(409, "no_grant");
    heard(&world, &[]);
}

#[tokio::test]
async fn a_scope_that_is_not_known_here_is_more_than_any_app_has() {
    let (world, _) = with_grant(ScopeSet::ALL, tokens_of("odd", "mcp:use vehicles billing")).await;
    let got = use_tool(&world).await;
    assert!(got.refuses(409, "no_grant").problem()["detail"].as_str().unwrap().contains("narrower grant"));
    heard(&world, &[]);
    assert_eq!(world.get("/api/vehicles").await.status, 200);
    let shown = world.broker.directory().grants()[0].state().grant.scopes_granted.to_string();
    assert_eq!(shown, "vehicles mcp:use");
}

#[tokio::test]
async fn a_claim_that_names_a_scope_that_is_not_known_here_is_more_than_any_app_has() {
    for (claim, status) in [("[\"mcp:use\",\"*\"]", 409), ("[\"mcp:use\",7]", 409), ("[\"mcp:use\"]", 200)] {
        let mut world = World::bare(&[], |_| {}).await;
        let claims = URL_SAFE_NO_PAD.encode(format!("{{\"sub\":\"1\",\"scopes\":{claim}}}"));
        let token = format!("eyJ0eXAi.{claims}.c2ln");
        world.grant("jwt", ScopeSet::of(Scope::McpUse), GrantKind::PersonalAccessToken, &token).await;
        world.app(ScopeSet::ALL).await.key.expose().clone_into(&mut world.key);
        world.provider.forget();
        assert_eq!(use_tool(&world).await.status, status, "{claim}");
    }
}

#[tokio::test]
async fn an_answer_that_names_few_scopes_does_not_hide_what_the_token_claims_beside_them() {
    let claims = URL_SAFE_NO_PAD.encode("{\"sub\":\"1\",\"scopes\":[\"mcp:use\",\"billing\"]}");
    let (world, _) = with_grant(narrow(), tokens_of(&format!("eyJ0eXAi.{claims}.c2ln"), "mcp:use vehicles")).await;
    use_tool(&world).await.refuses(409, "no_grant");
    heard(&world, &[]);
}
