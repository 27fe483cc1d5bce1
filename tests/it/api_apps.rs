//! Apps through the management API.

use std::time::Duration;

use http::header::LOCATION;
use http::{Method, StatusCode};
use keyfob::broker::{KeyRefusal, KeyVia};
use keyfob::domain::user::Role;
use serde_json::{Value, json};

use super::browser::House;

const MEMBERS: [&str; 10] =
    ["created_at", "expires_at", "grant", "id", "last_used_at", "name", "query_key", "revoked_at", "scopes", "user"];

fn names(thing: &Value) -> Vec<&str> {
    thing.as_object().unwrap().keys().map(String::as_str).collect()
}

fn key_works(house: &House, key: &Value) -> Result<(), KeyRefusal> {
    house.broker.caller(key.as_str().unwrap().as_bytes(), KeyVia::Header).map(drop)
}

#[tokio::test]
async fn an_app_is_made_listed_rolled_and_revoked() {
    let house = House::with_admin().await;
    house.add_user("bob", Role::Member).await;
    let program = house.program().await;
    let wish = json!({"name": "Dashboard", "user": "bob", "scopes": ["vehicles", "mcp:use", "vehicles"],
        "expires_in": "90d", "query_key": true, "grant": null, "rate": "10/s"});
    let page = program.post("/apps", &wish).await;
    assert_eq!(page.status, StatusCode::CREATED, "{}", page.body);
    let mut app = page.json();
    let id = app["id"].as_str().unwrap().to_owned();
    assert_eq!(page.headers[LOCATION], format!("/api/v1/apps/{id}"));
    let key = app.as_object_mut().unwrap().remove("key").unwrap();
    assert!(key.as_str().unwrap().starts_with("kf_"));
    assert_eq!(names(&app), MEMBERS);
    assert_eq!(app["scopes"], json!(["vehicles", "mcp:use"]));
    assert_eq!((&app["user"], &app["query_key"], &app["grant"]), (&json!("bob"), &json!(true), &Value::Null));
    let kept = house.broker.find_app(id.parse().unwrap(), None).await.unwrap().app;
    assert_eq!(kept.expires_at.unwrap().since(kept.created_at), Duration::from_secs(90 * 86_400));
    assert_eq!(kept.rate.unwrap().to_string(), "10/s");
    assert_eq!(key_works(&house, &key), Ok(()));
    assert_eq!(program.all("/apps", 1).await, [app.clone()], "and the key is never shown again");

    let other = program.made("/apps", json!({"name": "Other", "user": "ada", "scopes": ["controls"]})).await;
    assert_eq!((&other["expires_at"], &other["query_key"]), (&Value::Null, &json!(false)));
    let rolled = program.post(&format!("/apps/{id}/roll"), &json!({"overlap": "1h"})).await;
    assert_eq!(rolled.status, StatusCode::OK, "{}", rolled.body);
    let rolled = rolled.json();
    assert_ne!(rolled["key"], key);
    assert_eq!(rolled["id"], app["id"]);
    house.clock.advance(Duration::from_secs(3_599));
    assert_eq!((key_works(&house, &key), key_works(&house, &rolled["key"])), (Ok(()), Ok(())));
    house.clock.advance(Duration::from_secs(2));
    assert_eq!(key_works(&house, &key), Err(KeyRefusal::Expired));
    let again = program.call(Method::POST, &format!("/apps/{id}/roll")).await;
    assert_eq!(again.status, StatusCode::OK, "without a body: {}", again.body);
    house.clock.advance(Duration::from_secs(86_399));
    assert_eq!(key_works(&house, &rolled["key"]), Ok(()), "24 h are usual");

    assert_eq!(program.delete(&format!("/apps/{id}")).await, StatusCode::NO_CONTENT);
    assert_eq!(key_works(&house, &again.json()["key"]), Err(KeyRefusal::Invalid), "at once");
    assert_eq!(program.delete(&format!("/apps/{id}")).await, StatusCode::NOT_FOUND);
    assert_eq!(program.post(&format!("/apps/{id}/roll"), &json!({})).await.status, StatusCode::NOT_FOUND);
    let apps = program.all("/apps", 500).await;
    let revoked: Vec<_> =
        apps.iter().map(|app| (app["name"].as_str().unwrap(), app["revoked_at"].is_string())).collect();
    assert_eq!(revoked, [("Dashboard", true), ("Other", false)], "no other app is touched");
    assert_eq!(key_works(&house, &other["key"]), Ok(()));
}

#[tokio::test]
async fn a_bad_app_is_refused_with_every_bad_member_named() {
    let house = House::with_admin().await;
    house.add_user("bob", Role::Member).await;
    let program = house.program().await;
    let token = house
        .sandbox
        .issue_personal_access_token(1, keyfob::domain::scope::ScopeSet::of(keyfob::domain::scope::Scope::Vehicles));
    let grant = json!({"user": "bob", "kind": "personal_access_token", "scopes": ["vehicles"], "secret": token});
    let grant = program.made("/grants", grant).await["id"].clone();
    let all = vec!["expires_in", "grant", "name", "query_key", "rate", "scopes", "user"];
    for (body, bad) in [
        (json!({}), vec!["name", "scopes", "user"]),
        (
            json!({"name": 1, "user": 1, "scopes": 1, "expires_in": 1, "query_key": 1, "grant": 1, "rate": 1}),
            all.clone(),
        ),
        (
            json!({"name": " ", "user": "nobody", "scopes": [], "expires_in": "soon", "query_key": "yes", "grant": "x", "rate": "fast"}),
            all,
        ),
        (json!({"name": "x", "user": "ada", "scopes": ["vehicle"]}), vec!["scopes"]),
        (json!({"name": "x", "user": "ada", "scopes": "vehicles"}), vec!["scopes"]),
        (json!({"name": "x\u{202e}y", "user": "ada", "scopes": [7]}), vec!["name", "scopes"]),
        (
            json!({"name": "x", "user": "ada", "scopes": ["vehicles"], "rate": "0/s", "expires_in": "0d"}),
            vec!["expires_in", "rate"],
        ),
        (json!({"name": "x", "user": "ada", "scopes": ["vehicles"], "grant": grant}), vec!["grant"]),
        (json!({"name": "x", "user": "bob", "scopes": ["vehicles", "controls"], "grant": grant}), vec!["grant"]),
        (json!({"name": "x", "user": "ada", "scopes": ["vehicles"], "key": "kf_mine"}), vec!["key"]),
    ] {
        assert_eq!(program.post("/apps", &body).await.bad(), bad, "{body}");
    }
    assert_eq!(program.all("/apps", 500).await, [] as [Value; 0]);
    let tied = program.made("/apps", json!({"name": "x", "user": "bob", "scopes": ["vehicles"], "grant": grant})).await;
    assert_eq!(tied["grant"], grant);
    let roll = format!("/apps/{}/roll", tied["id"].as_str().unwrap());
    for (body, bad) in
        [(json!({"overlap": "0s"}), "overlap"), (json!({"overlap": 5}), "overlap"), (json!({"over": "5s"}), "over")]
    {
        assert_eq!(program.post(&roll, &body).await.bad(), [bad], "{body}");
    }
    assert_eq!(key_works(&house, &tied["key"]), Ok(()));
}

#[tokio::test]
async fn a_listing_is_stable_while_apps_come_and_go() {
    let house = House::with_admin().await;
    let program = house.program().await;
    let make = async |name: &str| {
        program.made("/apps", json!({"name": name, "user": "ada", "scopes": ["vehicles"]})).await["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let mut ids = Vec::new();
    for n in 0..7 {
        ids.push(make(&format!("app {n}")).await);
    }
    let first = program.get("/apps?limit=3").await;
    make("late").await;
    program.delete(&format!("/apps/{}", ids[1])).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = program.get(&format!("/apps?limit=3&cursor={cursor}")).await;
    let named = |page: &Value| {
        page["items"].as_array().unwrap().iter().map(|app| app["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(named(&first), ["app 0", "app 1", "app 2"]);
    assert_eq!(named(&second), ["app 3", "app 4", "app 5"]);
    let third = program.get(&format!("/apps?cursor={}", second["next_cursor"].as_str().unwrap())).await;
    assert_eq!(
        (named(&third), third["next_cursor"].clone()),
        (vec!["app 6".to_owned(), "late".to_owned()], Value::Null)
    );

    let mut changed = cursor.to_owned();
    changed.replace_range(5..6, if &cursor[5..6] == "A" { "B" } else { "A" });
    for (path, bad) in [
        (format!("/apps?cursor={changed}"), vec!["cursor"]),
        (format!("/users?cursor={cursor}"), vec!["cursor"]),
        (format!("/grants?cursor={cursor}"), vec!["cursor"]),
        (format!("/audit?cursor={cursor}"), vec!["cursor"]),
        ("/apps?limit=0&cursor=x&offset=1".to_owned(), vec!["cursor", "limit", "offset"]),
        ("/apps?limit=501".to_owned(), vec!["limit"]),
        ("/users?limit=-1".to_owned(), vec!["limit"]),
        ("/apps?limit=1&limit=2".to_owned(), vec!["limit"]),
    ] {
        assert_eq!(program.call(Method::GET, &path).await.bad(), bad, "{path}");
    }
    assert_eq!(program.get("/apps?limit=&cursor=").await["items"].as_array().unwrap().len(), 8);
}
