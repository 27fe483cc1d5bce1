//! Grants through the management API.

use std::time::Duration;

use http::header::LOCATION;
use http::{Method, StatusCode};
use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::domain::user::Role;
use keyfob::sandbox::{CallFault, Times};
use serde_json::{Value, json};

use super::browser::{House, Provider};
use super::program::Program;

const MEMBERS: [&str; 14] = [
    "created_at",
    "expires_at",
    "id",
    "kind",
    "label",
    "last_used_at",
    "reason",
    "refreshed_at",
    "scopes_granted",
    "scopes_requested",
    "scopes_source",
    "scopes_used",
    "status",
    "user",
];

fn pasted(house: &House, user: &str, scopes: &[Scope]) -> Value {
    let secret = house.sandbox.issue_personal_access_token(1, scopes.iter().copied().collect::<ScopeSet>());
    let scopes: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
    json!({"user": user, "kind": "personal_access_token", "scopes": scopes, "label": format!("{user} {}", scopes.join("+")), "secret": secret})
}

/// A grant that was given at the provider.
async fn granted(house: &House, program: &Program<'_>) -> Value {
    let mut ada = house.signed_in("ada").await;
    let asked = ada.fill("/connect", "/connect", &[("scope", "vehicles"), ("label", "At the provider")]).await;
    let callback = Provider::new().authorize(asked.location(), &["vehicles"]).await;
    let back = ada.open(&callback).await;
    program.get(back.location()).await
}

#[tokio::test]
async fn a_pasted_token_becomes_a_grant_and_is_never_seen_again() {
    let house = House::with_admin().await;
    let program = house.program().await;
    let wish = pasted(&house, "ada", &[Scope::Account, Scope::Vehicles]);
    let secret = wish["secret"].as_str().unwrap().to_owned();
    let page = program.post("/grants", &wish).await;
    assert_eq!(page.status, StatusCode::CREATED, "{}", page.body);
    assert_eq!(page.headers["keyfob-token-check"], "accepted");
    let grant = page.json();
    let path = format!("/grants/{}", grant["id"].as_str().unwrap());
    assert_eq!(page.headers[LOCATION], format!("/api/v1{path}"));
    assert_eq!(grant.as_object().unwrap().keys().collect::<Vec<_>>(), MEMBERS);
    assert_eq!(
        (&grant["user"], &grant["kind"], &grant["status"]),
        (&json!("ada"), &json!("personal_access_token"), &json!("active"))
    );
    assert_eq!((&grant["reason"], &grant["scopes_used"]), (&Value::Null, &json!([])));
    assert_eq!(grant["scopes_granted"], json!(["account", "vehicles"]));
    assert_eq!(program.get(&path).await, grant);
    assert_eq!(program.get("/grants").await["items"], json!([grant]));

    let key =
        json!({"user": "ada", "kind": "api_key", "scopes": ["vehicles"], "secret": house.sandbox.issue_api_key(1)});
    assert_eq!(program.made("/grants", key).await["label"], "vehicles", "a label is made of the scopes");
    house.sandbox.faults().api(Times::Always, CallFault::Echo(503));
    let page = program.post("/grants", &pasted(&house, "ada", &[Scope::Vehicles])).await;
    assert_eq!(
        (page.status, &page.headers["keyfob-token-check"]),
        (StatusCode::CREATED, &"not_checked".parse().unwrap())
    );

    for path in ["/grants", &path, "/apps", "/users", "/audit", "/openapi.json"] {
        let body = program.call(Method::GET, path).await.body;
        assert!(!body.contains(&secret) && !body.contains("\"secret\":\""), "{path}");
    }
}

#[tokio::test]
async fn a_bad_token_is_refused_with_every_bad_member_named() {
    let house = House::with_admin().await;
    let program = house.program().await;
    let secret = house.sandbox.issue_personal_access_token(1, ScopeSet::of(Scope::Vehicles));
    for (body, bad) in [
        (json!({}), vec!["kind", "scopes", "secret", "user"]),
        (
            json!({"user": "nobody", "kind": "oauth", "scopes": ["fly"], "secret": "", "label": "x".repeat(81)}),
            vec!["kind", "label", "scopes", "secret", "user"],
        ),
        (
            json!({"user": 1, "kind": 1, "scopes": {}, "secret": 1, "label": 1}),
            vec!["kind", "label", "scopes", "secret", "user"],
        ),
        (json!({"user": "ada", "kind": "api_key", "scopes": ["account"], "secret": secret}), vec!["scopes"]),
        (
            json!({"user": "ada", "kind": "personal_access_token", "scopes": ["vehicles"], "secret": "not this one"}),
            vec!["secret"],
        ),
        (
            json!({"user": "ada", "kind": "personal_access_token", "scopes": ["vehicles"], "secret": "CANARYunknown"}),
            vec!["secret"],
        ),
        (
            json!({"user": "ada", "kind": "personal_access_token", "scopes": ["account"], "secret": secret}),
            vec!["scopes"],
        ),
        (
            json!({"user": "ada", "kind": "personal_access_token", "scopes": ["vehicles"], "secret": secret, "status": "active"}),
            vec!["status"],
        ),
    ] {
        let page = program.post("/grants", &body).await;
        assert_eq!(page.bad(), bad, "{body}");
        assert!(!page.body.contains(&secret) && !page.body.contains("CANARY"), "{}", page.body);
    }
    assert_eq!(program.get("/grants").await["items"], json!([]));
}

#[tokio::test]
async fn grants_are_filtered_by_user_scope_and_the_status_that_they_show() {
    let house = House::with_admin().await;
    house.add_user("bob", Role::Member).await;
    let program = house.program().await;
    let mut ids = Vec::new();
    for (user, scopes) in [
        ("ada", &[Scope::Vehicles][..]),
        ("bob", &[Scope::Vehicles, Scope::Controls]),
        ("ada", &[Scope::Controls]),
        ("bob", &[Scope::Vehicles]),
    ] {
        ids.push(program.made("/grants", pasted(&house, user, scopes)).await["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(program.delete(&format!("/grants/{}", ids[3])).await, StatusCode::NO_CONTENT);
    for (query, expected) in [
        ("", &[0, 1, 2, 3][..]),
        ("user=&scope=&status=", &[0, 1, 2, 3]),
        ("user=bob", &[1, 3]),
        ("user=BOB&status=active", &[1]),
        ("scope=controls", &[1, 2]),
        ("scope=vehicles&user=ada", &[0]),
        ("scope=mcp:use", &[]),
        ("status=active", &[0, 1, 2]),
        ("status=active&scope=vehicles", &[0, 1]),
        ("status=disconnected", &[3]),
        ("status=needs_consent", &[]),
        ("user=nobody", &[]),
    ] {
        for limit in [1, 2, 500] {
            let path = if query.is_empty() { "/grants".to_owned() } else { format!("/grants?{query}") };
            let found = program.all(&path, limit).await;
            let found: Vec<_> =
                found.iter().map(|grant| ids.iter().position(|id| grant["id"] == **id).unwrap()).collect();
            assert_eq!(found, expected, "{query}, {limit} a page");
        }
    }
    for (query, bad) in
        [("scope=fly&status=dead&who=x", vec!["scope", "status", "who"]), ("status=Active", vec!["status"])]
    {
        assert_eq!(program.call(Method::GET, &format!("/grants?{query}")).await.bad(), bad);
    }
    // A token that is past its expiry needs its user, though nothing was written anywhere.
    house.clock.advance(Duration::from_secs(20 * 366 * 86_400));
    let waiting = program.all("/grants?status=needs_consent", 2).await;
    assert_eq!(waiting.len(), 3);
    assert!(
        waiting.iter().all(|grant| grant["status"] == "needs_consent" && grant["reason"] == "expired"),
        "{waiting:?}"
    );
    assert_eq!(program.all("/grants?status=active", 2).await.len(), 0);
}

#[tokio::test]
async fn a_grant_is_refreshed_and_what_can_not_be_is_told() {
    let house = House::with_admin().await;
    let program = house.program().await;
    let grant = granted(&house, &program).await;
    assert_eq!((&grant["kind"], &grant["refreshed_at"]), (&json!("oauth"), &Value::Null));
    let path = format!("/grants/{}/refresh", grant["id"].as_str().unwrap());
    house.clock.advance(Duration::from_secs(60));
    let page = program.call(Method::POST, &path).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    assert!(page.json()["refreshed_at"].is_string(), "{}", page.body);
    assert_eq!((&page.json()["id"], &page.json()["status"]), (&grant["id"], &json!("active")));

    let other = program.made("/grants", pasted(&house, "ada", &[Scope::Vehicles])).await;
    let page = program.call(Method::POST, &format!("/grants/{}/refresh", other["id"].as_str().unwrap())).await;
    assert_eq!((page.status, page.json()["code"].clone()), (StatusCode::CONFLICT, json!("not_refreshable")));
    assert_eq!(program.delete(&format!("/grants/{}", grant["id"].as_str().unwrap())).await, StatusCode::NO_CONTENT);
    let page = program.call(Method::POST, &path).await;
    assert_eq!((page.status, page.json()["code"].clone()), (StatusCode::CONFLICT, json!("not_refreshable")));
}

#[tokio::test]
async fn a_grant_is_disconnected_alone_and_for_good() {
    let house = House::with_admin().await;
    let program = house.program().await;
    let one = program.made("/grants", pasted(&house, "ada", &[Scope::Vehicles])).await;
    let two = program.made("/grants", pasted(&house, "ada", &[Scope::Vehicles])).await;
    let path = format!("/grants/{}", one["id"].as_str().unwrap());
    let page = program.call(Method::DELETE, &path).await;
    assert_eq!(
        (page.status, &page.headers["keyfob-at-provider"]),
        (StatusCode::NO_CONTENT, &"by_hand".parse().unwrap())
    );
    assert_eq!(program.get(&path).await["status"], "disconnected");
    assert_eq!(program.delete(&path).await, StatusCode::NOT_FOUND, "there is nothing more to end");
    assert_eq!(program.get(&format!("/grants/{}", two["id"].as_str().unwrap())).await, two);
}
