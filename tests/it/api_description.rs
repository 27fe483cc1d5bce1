//! The API's description of itself.

use std::collections::{BTreeMap, BTreeSet};

use http::{Method, StatusCode};
use keyfob::domain::scope::Scope;
use serde_json::{Value, json};

use super::browser::{House, PASSWORD};
use super::program::Program;

/// The schema behind a reference.
fn schema<'d>(description: &'d Value, part: &'d Value) -> &'d Value {
    match part["$ref"].as_str() {
        Some(reference) => {
            description.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference}"))
        }
        None => part,
    }
}

#[tokio::test]
async fn the_description_is_for_everyone_and_names_every_endpoint_and_status() {
    let house = House::with_admin().await;
    let nobody = Program { house: &house, key: None, prefix: "" };
    let description = nobody.get("/openapi.json").await;
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(description["servers"][0]["url"], "http://localhost:8700");
    let (mut found, mut names) = (BTreeMap::new(), BTreeSet::new());
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let statuses: Vec<_> = operation["responses"].as_object().unwrap().keys().map(String::as_str).collect();
            assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{operation}");
            found.insert(format!("{method} {path}"), statuses.join(" "));
            for (status, response) in operation["responses"].as_object().unwrap() {
                if status.starts_with(['4', '5']) && status != "421" {
                    let content = &response["content"]["application/problem+json"]["schema"];
                    assert!(
                        schema(&description, content)["properties"]["code"].is_object(),
                        "{method} {path} {status}"
                    );
                }
            }
        }
    }
    let expected = [
        ("get /api/v1/users", "200 401 421 422 500 503"),
        ("post /api/v1/users", "201 400 401 408 413 415 421 422 500 503"),
        ("delete /api/v1/users/{id}", "204 401 404 409 421 500 503"),
        ("get /api/v1/grants", "200 401 421 422 500 503"),
        ("post /api/v1/grants", "201 400 401 408 413 415 421 422 500 503"),
        ("get /api/v1/grants/{id}", "200 401 404 421 500 503"),
        ("delete /api/v1/grants/{id}", "204 401 404 421 500 503"),
        ("post /api/v1/grants/{id}/refresh", "200 401 404 409 421 500 503"),
        ("get /api/v1/apps", "200 401 421 422 500 503"),
        ("post /api/v1/apps", "201 400 401 408 413 415 421 422 500 503"),
        ("post /api/v1/apps/{id}/roll", "200 400 401 404 408 413 415 421 422 500 503"),
        ("delete /api/v1/apps/{id}", "204 401 404 421 500 503"),
        ("get /api/v1/audit", "200 401 421 422 500 503"),
        ("get /api/v1/openapi.json", "200 421 500 503"),
    ];
    let expected: BTreeMap<_, _> =
        expected.iter().map(|(name, statuses)| ((*name).to_owned(), (*statuses).to_owned())).collect();
    assert_eq!(found, expected);
    assert_eq!(description["paths"]["/api/v1/openapi.json"]["get"]["security"], json!([{}]));
    assert_eq!(description["security"], json!([{"admin_key": []}]));
}

#[tokio::test]
async fn members_and_parameters_are_described_as_they_are_read_and_written() {
    let house = House::with_admin().await;
    let program = house.program().await;
    let description = program.get("/openapi.json").await;
    let id = "01890000-0000-7000-8000-000000000000";
    let app = program.made("/apps", json!({"name": "x", "user": "ada", "scopes": ["vehicles"]})).await;
    let secret = house.sandbox.issue_personal_access_token(1, Scope::ALL.into_iter().collect());
    let grant = program
        .made(
            "/grants",
            json!({"user": "ada", "kind": "personal_access_token", "scopes": ["account"], "secret": secret}),
        )
        .await;
    let user = program.made("/users", json!({"name": "bob", "password": PASSWORD})).await;
    let event = program.all("/audit", 500).await;
    house.broker.trail().finish(std::time::Duration::from_secs(5)).await;
    let event = event.first().cloned().unwrap_or(program.all("/audit", 500).await[0].clone());
    for (name, thing, sometimes) in
        [("User", user, None), ("Grant", grant, None), ("App", app.clone(), Some("key")), ("Event", event, None)]
    {
        let described = &description["components"]["schemas"][name];
        let properties: Vec<_> = described["properties"].as_object().unwrap().keys().collect();
        assert_eq!(properties, thing.as_object().unwrap().keys().collect::<Vec<_>>(), "{name}");
        let mut required: Vec<_> =
            described["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        required.sort_unstable();
        let always: Vec<_> =
            thing.as_object().unwrap().keys().map(String::as_str).filter(|name| Some(*name) != sometimes).collect();
        assert_eq!(required, always, "{name}");
    }
    // What is described is read: a value of a kind that none of them takes is a fault of each and every one.
    for path in ["/users", "/grants", "/apps", "/apps/{id}/roll"] {
        let body = &description["paths"][format!("/api/v1{path}")]["post"]["requestBody"]["content"]["application/json"]
            ["schema"];
        let described = schema(&description, body)["properties"].as_object().unwrap();
        let odd: serde_json::Map<_, _> = described.keys().map(|name| (name.clone(), json!(1.5))).collect();
        let page = program.post(&path.replace("{id}", app["id"].as_str().unwrap()), &Value::Object(odd)).await;
        assert_eq!(page.bad(), described.keys().cloned().collect::<Vec<_>>(), "{path}");
        assert!(!page.body.contains("not known"), "{path}: {}", page.body);
    }
    for path in ["/users", "/grants", "/apps", "/audit"] {
        let parameters = description["paths"][format!("/api/v1{path}")]["get"]["parameters"].as_array().unwrap();
        let query: Vec<_> = parameters.iter().map(|given| format!("{}=%00", given["name"].as_str().unwrap())).collect();
        let page = program.call(Method::GET, &format!("{path}?{}", query.join("&"))).await;
        assert!(
            page.status == StatusCode::UNPROCESSABLE_ENTITY && !page.body.contains("not known"),
            "{path}: {}",
            page.body
        );
    }
    assert_eq!(program.delete(&format!("/users/{id}")).await, StatusCode::NOT_FOUND);
}
