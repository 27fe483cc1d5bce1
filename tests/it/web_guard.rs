//! Hosts, prefix, headers, and pages that do not exist (SECURITY SE-03, 05, 26 to 28, 52, 90).

use axum::body::Body;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST};
use http::{Method, Request, StatusCode};

use super::browser::{House, PASSWORD};

fn asking(host: &str, path: &str) -> Request<Body> {
    Request::get(path).header(HOST, host).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn only_our_own_names_are_answered_and_pages_live_at_one_address() {
    let house = House::with_admin().await;
    let mut browser = house.browser();
    for host in ["evil.example", "localhost.evil.example", "0.0.0.0:8700", "", "a@localhost:8700"] {
        let page = browser.send(asking(host, "/sign-in")).await;
        assert_eq!(page.status, StatusCode::MISDIRECTED_REQUEST, "{host}");
        assert!(!page.has("evil"), "a foreign name is not repeated");
    }
    let mut two = asking("localhost:8700", "/sign-in");
    two.headers_mut().append(HOST, "localhost:8700".parse().unwrap());
    assert_eq!(browser.send(two).await.status, StatusCode::MISDIRECTED_REQUEST);
    let absolute = asking("localhost:8700", "http://evil.example/sign-in");
    assert_eq!(browser.send(absolute).await.status, StatusCode::MISDIRECTED_REQUEST);

    let page = browser.send(asking("127.0.0.1:8700", "/apps?x=1")).await;
    assert_eq!((page.status, page.location()), (StatusCode::SEE_OTHER, "http://localhost:8700/apps?x=1"));
    let mut behind = asking("127.0.0.1:8700", "/sign-in");
    behind.headers_mut().insert("x-forwarded-host", "localhost:8700".parse().unwrap());
    let page = browser.send(behind).await;
    assert_eq!(page.status, StatusCode::MISDIRECTED_REQUEST, "a reverse proxy that changes Host must not make a loop");
    page.shows("a reverse proxy must pass the Host header on");
    let mut post = asking("127.0.0.1:8700", "/sign-in");
    *post.method_mut() = Method::POST;
    assert_eq!(browser.send(post).await.status, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn under_a_prefix_every_address_carries_it() {
    let house = House::at("https://home.example/keyfob").await;
    house.add_user("ada", keyfob::domain::user::Role::Admin).await;
    let mut browser = house.browser();
    assert_eq!(browser.open("/").await.location(), "https://home.example/keyfob/");
    assert_eq!(browser.open("/sign-in").await.status, StatusCode::NOT_FOUND);
    assert_eq!(browser.open("/keyfobs/sign-in").await.status, StatusCode::NOT_FOUND);
    assert_eq!(browser.open("/keyfob/apps").await.location(), "/keyfob/sign-in?next=%2Fapps");
    let elsewhere = browser.send(asking("127.0.0.1:8700", "/keyfob/apps")).await;
    assert_eq!(elsewhere.location(), "https://home.example/keyfob/apps");
    browser.fill("/keyfob/sign-in", "/keyfob/sign-in", &[("username", "ada"), ("password", PASSWORD)]).await;
    for path in ["/keyfob/", "/keyfob/apps", "/keyfob/apps/new", "/keyfob/account", "/keyfob/nothing"] {
        let page = browser.open(path).await;
        for attribute in ["href=\"/", "src=\"/", "action=\"/"] {
            for link in page.body.split(attribute).skip(1) {
                assert!(link.starts_with("keyfob/"), "{path}: {}", &link[..40.min(link.len())]);
            }
        }
    }
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let house = House::with_admin().await;
    let mut browser = house.browser();
    let sheet = browser
        .open("/sign-in")
        .await
        .body
        .split_once("rel=\"stylesheet\" href=\"")
        .unwrap()
        .1
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    let foreign = browser.send(asking("evil.example", "/")).await;
    for page in [
        browser.open("/sign-in").await,
        browser.open("/").await,
        browser.open("/nothing").await,
        foreign,
        browser.open(&sheet).await,
    ] {
        let of = |name: &str| page.headers.get(name).map_or("", |v| v.to_str().unwrap()).to_owned();
        let policy = of("content-security-policy");
        for part in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self';",
            "script-src 'self';",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http"));
        assert_eq!(of("x-content-type-options"), "nosniff");
        assert_eq!(of("x-frame-options"), "DENY");
        assert_eq!(of("referrer-policy"), "no-referrer");
        assert_eq!(of("cross-origin-opener-policy"), "same-origin");
        assert_eq!(of("cross-origin-resource-policy"), "same-origin");
        assert!(of("permissions-policy").contains("camera=()"));
        assert!(page.headers.contains_key(CONTENT_SECURITY_POLICY));
        assert_eq!(of("strict-transport-security"), "", "never over http");
        assert!(of("server").is_empty());
    }
    assert_eq!(browser.open("/sign-in").await.headers[CACHE_CONTROL], "no-store");
    assert!(browser.open(&sheet).await.headers[CACHE_CONTROL].to_str().unwrap().contains("immutable"));
    let secure = House::at("https://home.example").await;
    let page = secure.browser().open("/sign-in").await;
    assert!(page.headers.contains_key("strict-transport-security"));
}

#[tokio::test]
async fn what_does_not_exist_is_404_and_a_wrong_method_405() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    for path in [
        "/nothing",
        "/apps/not-an-id",
        "/apps/01890000-0000-7000-8000-000000000000",
        "/.git/config",
        "/static/x/../../Cargo.toml",
    ] {
        let page = ada.open(path).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
        page.shows("There is no such page");
    }
    assert_eq!(ada.open("/sign-out").await.status, StatusCode::METHOD_NOT_ALLOWED);
    let page = ada.send(Request::builder().method("DELETE").uri("/apps").body(Body::empty()).unwrap()).await;
    assert_eq!(page.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(page.headers.contains_key("allow"));
    let large = "x".repeat(70_000);
    assert_eq!(ada.fill("/apps/new", "/apps/new", &[("name", &large)]).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let token = ada.open("/apps/new").await.token();
    let json = Request::post("/apps/new")
        .header("content-type", "text/plain")
        .body(Body::from(format!("csrf_token={token}")))
        .unwrap();
    assert_eq!(ada.send(json).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn what_people_type_is_inert() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    ada.fill("/apps/new", "/apps/new", &[("name", evil), ("scope", "vehicles")]).await.shows("&#60;script&#62;");
    for path in ["/", "/apps"] {
        let page = ada.open(path).await;
        page.shows("&#60;script&#62;");
        assert!(!page.has("<script>alert") && !page.has("<img src=x"));
    }
    let page = ada.fill("/apps/new", "/apps/new", &[("name", evil), ("scope", evil)]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(!page.has("<script>alert") && !page.has("<img src=x"));
}
