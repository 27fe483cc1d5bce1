//! Who may call the management API, and accounts through it (SECURITY SE-*, AD-*).

use std::time::Duration;

use axum::body::Body;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, WWW_AUTHENTICATE};
use http::{Method, Request, StatusCode};
use serde_json::json;

use super::browser::{House, PASSWORD};
use super::program::{Program, asking};

#[tokio::test]
async fn nobody_calls_without_a_live_admin_key() {
    let house = House::with_admin().await;
    let program = house.program().await;
    let key = program.key.clone().unwrap();
    let user = house.broker.find_user("ada").await.unwrap();
    let app = program.made("/apps", json!({"name": "x", "user": "ada", "scopes": ["vehicles"]})).await;
    let nobody = Program { house: &house, key: None, prefix: "" };

    let bad = [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some(key.clone()),
        Some(format!("Basic {key}")),
        Some(format!("Bearer {key}x")),
        Some(format!("Bearer {}", &key[..key.len() - 1])),
        Some(format!("Bearer {}", key.replace("kfa_", "kf_"))),
        Some(format!("Bearer {}", app["key"].as_str().unwrap())),
        Some(format!("Bearer kfa_{}", "A".repeat(43))),
        Some(format!("Bearer {key} {key}")),
        Some(format!("Bearer {key}, Bearer {key}")),
    ];
    for value in &bad {
        for (method, path) in [
            (Method::GET, "/api/v1/users"),
            (Method::POST, "/api/v1/users"),
            (Method::DELETE, &*format!("/api/v1/users/{}", user.id)),
            (Method::GET, "/api/v1/nothing"),
            (Method::PATCH, "/api/v1/users"),
            (Method::OPTIONS, "/api/v1/users"),
            (Method::GET, "/api"),
        ] {
            let mut request = asking(method.clone(), path);
            if let Some(value) = value {
                request = request.header(AUTHORIZATION, value);
            }
            let page = nobody.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{method} {path} {value:?}");
            let challenge = page.headers[WWW_AUTHENTICATE].to_str().unwrap();
            assert!(challenge.starts_with("Bearer realm=\"keyfob\""), "{challenge}");
            assert!(!page.body.contains(&key[8..]));
        }
    }
    let twice = asking(Method::GET, "/api/v1/users").header(AUTHORIZATION, format!("Bearer {key}"));
    let twice = twice.header(AUTHORIZATION, format!("Bearer {key}")).body(Body::empty()).unwrap();
    assert_eq!(nobody.send(twice).await.status, StatusCode::UNAUTHORIZED, "two keys");
    // A query or a cookie carries no key.
    let elsewhere = asking(Method::GET, &format!("/api/v1/users?api_key={key}&access_token={key}"));
    let elsewhere = elsewhere.header("x-keyfob-key", &key).header(COOKIE, format!("key={key}"));
    assert_eq!(nobody.send(elsewhere.body(Body::empty()).unwrap()).await.status, StatusCode::UNAUTHORIZED);

    assert_eq!(program.get("/users").await["items"].as_array().unwrap().len(), 1, "nothing was done");
    let lower = asking(Method::GET, "/api/v1/users").header(AUTHORIZATION, format!("bearer {key}"));
    assert_eq!(nobody.send(lower.body(Body::empty()).unwrap()).await.status, StatusCode::OK, "RFC 9110 11.1");
    let keys = house.broker.list_admin_keys().await.unwrap();
    house.broker.revoke_admin_key(keys[0].id).await.unwrap();
    assert_eq!(program.call(Method::GET, "/users").await.status, StatusCode::UNAUTHORIZED, "revoked");
}

#[tokio::test]
async fn a_signed_in_admin_is_no_admin_key() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let page = ada.open("/api/v1/users").await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    let program = house.program().await;
    let foreign = asking(Method::GET, "/api/v1/users").header(ORIGIN, "https://evil.example");
    assert_eq!(program.send(foreign.body(Body::empty()).unwrap()).await.status, StatusCode::OK, "and no CORS header");
    let preflight = asking(Method::OPTIONS, "/api/v1/users").header(ORIGIN, "https://evil.example");
    assert_eq!(program.send(preflight.body(Body::empty()).unwrap()).await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn an_account_is_made_listed_and_removed() {
    let house = House::with_admin().await;
    let program = house.program().await;
    house.clock.advance(Duration::from_millis(1));
    let page =
        program.post("/users", &json!({"name": "bob", "password": "bob's CANARY words", "role": "member"})).await;
    assert_eq!(page.status, StatusCode::CREATED, "{}", page.body);
    assert!(page.headers.contains_key(LOCATION));
    let bob = page.json();
    let members: Vec<_> = bob.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["created_at", "id", "name", "role"]);
    assert_eq!((&bob["name"], &bob["role"]), (&json!("bob"), &json!("member")));
    assert!(bob["created_at"].as_str().unwrap().ends_with('Z'));
    let page = house.browser().sign_in("bob", "bob's CANARY words").await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "the password works");
    let carl = program.made("/users", json!({"name": "carl", "password": PASSWORD})).await;
    assert_eq!(carl["role"], "member", "unless it is said");
    let dora = program.made("/users", json!({"name": "dora", "password": PASSWORD, "role": "admin"})).await;

    let users = program.all("/users", 2).await;
    assert_eq!(
        users.iter().map(|user| user["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["ada", "bob", "carl", "dora"]
    );
    assert_eq!(users[1], bob);

    let path = format!("/users/{}", bob["id"].as_str().unwrap());
    assert_eq!(program.delete(&path).await, StatusCode::NO_CONTENT);
    assert_eq!(program.delete(&path).await, StatusCode::NOT_FOUND);
    assert_eq!(program.all("/users", 500).await.len(), 3);
    let page = house.browser().sign_in("bob", "bob's CANARY words").await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{}", page.body);

    let ada = house.broker.find_user("ada").await.unwrap();
    assert_eq!(program.delete(&format!("/users/{}", ada.id)).await, StatusCode::NO_CONTENT, "not the last");
    let page = program.call(Method::DELETE, &format!("/users/{}", dora["id"].as_str().unwrap())).await;
    assert_eq!((page.status, page.json()["code"].clone()), (StatusCode::CONFLICT, json!("last_admin")));
    assert_eq!(program.all("/users", 500).await.len(), 2);
}

#[tokio::test]
async fn a_bad_account_is_refused_with_every_bad_member_named() {
    let house = House::with_admin().await;
    let program = house.program().await;
    for (body, bad) in [
        (json!({}), vec!["name", "password"]),
        (json!({"name": null, "password": null, "role": null}), vec!["name", "password"]),
        (json!({"name": "", "password": "short", "role": "king"}), vec!["name", "password", "role"]),
        (json!({"name": 7, "password": ["x"], "role": {}}), vec!["name", "password", "role"]),
        (json!({"name": "a b", "password": PASSWORD}), vec!["name"]),
        (json!({"name": "-rf", "password": PASSWORD}), vec!["name"]),
        (json!({"name": "x".repeat(65), "password": "y".repeat(1025)}), vec!["name", "password"]),
        (json!({"name": "bob", "password": "password1"}), vec!["password"]),
        (json!({"name": "bobbybob", "password": "BobbyBob"}), vec!["password"]),
        (json!({"name": "ADA", "password": PASSWORD}), vec!["name"]),
        (json!({"name": "bob", "password": PASSWORD, "is_admin": true, "id": "x"}), vec!["id", "is_admin"]),
    ] {
        let page = program.post("/users", &body).await;
        assert_eq!(page.bad(), bad, "{body}");
        assert!(!page.body.contains(PASSWORD) && !page.body.contains("short"), "what was sent is not repeated");
    }
    assert_eq!(program.all("/users", 500).await.len(), 1);
}

#[tokio::test]
async fn what_is_no_json_object_in_time_and_size_is_refused() {
    let house = House::with_admin().await;
    let program = house.program().await;
    let send = async |kind: Option<&str>, body: &[u8]| {
        let mut request = asking(Method::POST, "/api/v1/users");
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        program.send(request.body(Body::from(body.to_vec())).unwrap()).await.status.as_u16()
    };
    let good = br#"{"name": "bob", "password": "correct horse staple"}"#;
    for kind in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/problem+json"),
        Some(""),
    ] {
        assert_eq!(send(kind, good).await, 415, "{kind:?}");
    }
    let deep = "[".repeat(200_000 / 4);
    for bad in [
        "{",
        "null",
        "[]",
        "\"x\"",
        "1",
        "{\"name\": \"bob\",}",
        "{\"name\": 'bob'}",
        "{} {}",
        "\u{feff}{}",
        "{\"a\":\"\\ud800\"}",
        &deep,
    ] {
        assert_eq!(send(Some("application/json"), bad.as_bytes()).await, 400, "{}", &bad[..bad.len().min(20)]);
    }
    assert_eq!(send(Some("application/json"), b"{\"name\": \"b\xff\"}").await, 400);
    let large = format!("{{\"name\": \"{}\"}}", "x".repeat(70_000));
    assert_eq!(send(Some("application/json"), large.as_bytes()).await, 413);
    let twice = br#"{"name": "bob", "name": "ada", "password": "correct horse staple"}"#;
    assert_eq!(send(Some("application/json"), twice).await, 422);
    assert_eq!(send(Some("application/json"), b"").await, 422, "no body is an empty one");
    assert_eq!(program.all("/users", 500).await.len(), 1);
    assert_eq!(send(Some("Application/JSON; charset=utf-8"), good).await, 201);
}

#[tokio::test]
async fn a_wrong_path_is_404_and_a_wrong_method_405() {
    let house = House::with_admin().await;
    let program = house.program().await;
    for path in [
        "/api",
        "/api/",
        "/api/v1",
        "/api/v1/",
        "/api/v2/users",
        "/api/v1/users/",
        "/api/v1/nothing",
        "/api/v1/users/x/y",
        "/api/v1//users",
    ] {
        let page = program.send(asking(Method::GET, path).body(Body::empty()).unwrap()).await;
        assert_eq!(
            (page.status, page.json()["code"].clone()),
            (StatusCode::NOT_FOUND, json!("unknown_endpoint")),
            "{path}"
        );
    }
    for (method, path, allow) in [
        (Method::PUT, "/users", "GET,HEAD,POST"),
        (Method::GET, "/users/01890000-0000-7000-8000-000000000000", "DELETE"),
        (Method::POST, "/grants/01890000-0000-7000-8000-000000000000", "GET,HEAD,DELETE"),
        (Method::GET, "/grants/01890000-0000-7000-8000-000000000000/refresh", "POST"),
        (Method::DELETE, "/apps/01890000-0000-7000-8000-000000000000/roll", "POST"),
        (Method::TRACE, "/audit", "GET,HEAD"),
        (Method::POST, "/openapi.json", "GET,HEAD"),
    ] {
        let page = program.call(method.clone(), path).await;
        assert_eq!(page.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        assert_eq!(page.headers[ALLOW], allow, "{method} {path}");
    }
    for id in [
        "x",
        "0",
        "01890000-0000-7000-8000-00000000000g",
        "%00",
        "%ff",
        "..%2f",
        "01890000-0000-7000-8000-000000000000",
    ] {
        for (method, path) in [
            (Method::DELETE, format!("/users/{id}")),
            (Method::GET, format!("/grants/{id}")),
            (Method::DELETE, format!("/grants/{id}")),
            (Method::POST, format!("/grants/{id}/refresh")),
            (Method::POST, format!("/apps/{id}/roll")),
            (Method::DELETE, format!("/apps/{id}")),
        ] {
            assert_eq!(program.call(method.clone(), &path).await.status, StatusCode::NOT_FOUND, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_api_lives_under_the_prefix_of_the_public_url() {
    let house = House::at("https://home.example/keyfob").await;
    house.add_user("ada", keyfob::domain::user::Role::Admin).await;
    let program = Program { prefix: "/keyfob", ..house.program().await };
    assert_eq!(program.get("/users").await["items"][0]["name"], "ada");
    let description = program.get("/openapi.json").await;
    assert_eq!(description["servers"][0]["url"], "https://home.example/keyfob");
    let made = program.post("/users", &json!({"name": "bob", "password": PASSWORD})).await;
    assert!(made.headers[LOCATION].to_str().unwrap().starts_with("/keyfob/api/v1/users"), "{:?}", made.headers);
    let outside =
        Request::get("/api/v1/users").header(AUTHORIZATION, format!("Bearer {}", program.key.as_ref().unwrap()));
    assert_eq!(house.browser().send(outside.body(Body::empty()).unwrap()).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn when_the_database_fails_every_endpoint_is_503_and_says_when_to_try_again() {
    let house = House::with_admin().await;
    let program = house.program().await;
    house.broker.store.close().await;
    for (method, path) in
        [(Method::GET, "/users"), (Method::GET, "/grants"), (Method::POST, "/users"), (Method::GET, "/audit")]
    {
        let page = program.call(method.clone(), path).await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{method} {path}");
        assert_eq!(page.json()["code"], "storage_unavailable");
        assert!(!page.body.contains("pool"), "the cause is for the log: {}", page.body);
    }
}
