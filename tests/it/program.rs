//! A program that calls the management API with an admin key.

use axum::body::Body;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use serde_json::Value;

use super::browser::{House, Page};

/// What calls.
pub(crate) struct Program<'h> {
    pub(crate) house: &'h House,
    /// The admin key, if it has one.
    pub(crate) key: Option<String>,
    pub(crate) prefix: &'static str,
}

impl House {
    /// A program with an admin key of its own.
    pub(crate) async fn program(&self) -> Program<'_> {
        let (_, key) = self.broker.make_admin_key("robot CANARY").await.unwrap();
        Program { house: self, key: Some(key.expose().to_owned()), prefix: "" }
    }
}

/// A request as it stands, to be changed by the test.
pub(crate) fn asking(method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path)
}

impl Program<'_> {
    pub(crate) async fn send(&self, request: Request<Body>) -> Page {
        let (mut parts, body) = request.into_parts();
        if let Some(key) = &self.key {
            parts.headers.insert(AUTHORIZATION, format!("Bearer {key}").parse().unwrap());
        }
        let page = self.house.browser().send(Request::from_parts(parts, body)).await;
        check(&page);
        page
    }

    fn path(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.prefix)
    }

    pub(crate) async fn call(&self, method: Method, path: &str) -> Page {
        self.send(asking(method, &self.path(path)).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let page = self.call(Method::GET, path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.body);
        page.json()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Page {
        let request = asking(Method::POST, &self.path(path)).header(CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(crate) async fn made(&self, path: &str, body: Value) -> Value {
        // Ids tell the order of making to the millisecond.
        self.house.clock.advance(std::time::Duration::from_millis(1));
        let page = self.post(path, &body).await;
        assert_eq!(page.status, StatusCode::CREATED, "{path}: {}", page.body);
        page.json()
    }

    pub(crate) async fn delete(&self, path: &str) -> StatusCode {
        self.call(Method::DELETE, path).await.status
    }

    /// All items of a listing, page by page.
    pub(crate) async fn all(&self, path: &str, limit: usize) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let between = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{between}limit={limit}&cursor={cursor}")).await;
            let page_items = page["items"].as_array().unwrap();
            assert!(page_items.len() <= limit);
            items.extend(page_items.iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => return items,
            }
        }
    }
}

impl Page {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    /// The names of the bad members.
    pub(crate) fn bad(&self) -> Vec<String> {
        assert_eq!(self.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", self.body);
        let errors = self.json()["errors"].as_array().unwrap().clone();
        let mut names: Vec<_> = errors.iter().map(|fault| fault["member"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }
}

/// What holds of every answer of the API.
fn check(page: &Page) {
    let of = |name: &str| page.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    assert_eq!(of("keyfob-request-id").len(), 16, "{page:?}");
    assert_eq!(of("cache-control"), "no-store");
    assert!(!page.headers.contains_key("set-cookie"), "{page:?}");
    assert!(!page.headers.keys().any(|name| name.as_str().starts_with("access-control-")), "{page:?}");
    match page.status.as_u16() {
        204 => assert_eq!(page.body, ""),
        200 | 201 => assert_eq!(of("content-type"), "application/json"),
        status => {
            assert_eq!(of("content-type"), "application/problem+json");
            // An answer to HEAD has no body.
            if page.body.is_empty() {
                return;
            }
            let problem = page.json();
            assert_eq!(problem["status"], status);
            assert_eq!(problem["request_id"], of("keyfob-request-id"));
            for member in ["type", "title", "detail", "code"] {
                assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {problem}");
            }
            assert_eq!(problem["type"], format!("urn:keyfob:problem:{}", problem["code"].as_str().unwrap()));
            assert_eq!(problem.get("errors").is_some(), status == 422, "{problem}");
            if status == 503 {
                assert!(page.headers.contains_key("retry-after"));
            }
        }
    }
}
