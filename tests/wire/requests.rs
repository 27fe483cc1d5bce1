//! What the provider gets of a request (SECURITY PX-01, 02, 04, 06, 07, 08, 09, 20, 22, 23, 24, 44, 64, 65).

use super::provider::{answer, ok};
use super::world::{TOKEN, World};

#[tokio::test]
async fn a_call_passes_with_our_bearer_and_comes_back_byte_for_byte() {
    let world = World::new().await;
    world.provider.will_answer(ok("{\"code\":200}"));
    let got = world.get("/api/vehicle/corsair?a=%31&b=+x").await;
    assert_eq!((got.status, got.text().as_str()), (200, "{\"code\":200}"));
    let seen = world.provider.one();
    assert_eq!(seen.target(), "/api/vehicle/corsair?a=%31&b=+x");
    assert_eq!(seen.values("authorization"), [format!("Bearer {TOKEN}")]);
    assert_eq!(seen.values("host"), [world.provider.address.to_string()]);
    assert_eq!(seen.values("accept"), ["application/json"]);
}

#[tokio::test]
async fn the_judged_bytes_are_the_bytes_that_are_sent() {
    let world = World::new().await;
    for path in [
        "/api/vehicle/a%20b/state",
        "/api/vehicle/%c3%a9",
        "/api/vehicle/%C3%A9",
        "/api/vehicle/a:b@c!$&'()*+,=",
        "/api/vehicle/x/",
        "/api/vehicle/...",
        "/api/vehicle/~x",
        "/api/software/100%25",
    ] {
        world.provider.forget();
        assert_eq!(world.get(path).await.status, 200, "{path}");
        assert_eq!(world.provider.one().target(), path);
    }
}

#[tokio::test]
async fn an_ambiguous_path_is_400_and_the_provider_hears_nothing() {
    let world = World::new().await;
    for path in [
        "/api/./vehicles",
        "/api/vehicle/x/../../vehicles",
        "/api/vehicle/..",
        "/api/vehicle/%2e%2e/command/honk",
        "/api/%76ehicles",
        "/api/vehicle/x%2fcommand%2fhonk",
        "/api/vehicle/x%5c..",
        "/api/vehicle/x\\..\\y",
        "/api/vehicle/x%00",
        "//api/vehicles",
        "/api//vehicles",
        "/api/vehicle/x;y",
        "/api/vehicle/%252e%252e",
        "/api/vehicle/%zz",
        "/api/vehicle/%c0%ae%c0%ae",
        "/api/vehicle/x%0d%0a",
        "/mcp/..",
        "/mcp/%2e%2e/oauth/token",
    ] {
        world.get(path).await.refuses(400, "bad_request_target");
        world.unheard();
    }
}

#[tokio::test]
async fn only_listed_headers_pass_and_nothing_that_connection_names() {
    let world = World::new().await;
    let lines = [
        "Accept: text/plain",
        "Accept-Language: de",
        "Accept-Encoding: gzip",
        "Cache-Control: no-cache",
        "Content-Type: text/plain",
        "If-None-Match: \"x\"",
        "Last-Event-ID: 7",
        "Mcp-Session-Id: s",
        "Pragma: no-cache",
        "Prefer: x",
        "Range: bytes=0-1",
        "Traceparent: t",
        "Tracestate: s",
        "User-Agent: ua/1",
    ];
    let dropped = [
        "Cookie: a=b",
        "X-Keyfob-Key: KEY",
        "X-Forwarded-For: 1.2.3.4",
        "X-Forwarded-Host: evil",
        "Forwarded: for=1.2.3.4",
        "Via: 1.1 x",
        "X-Http-Method-Override: DELETE",
        "X-Original-URL: /api/account",
        "X-Rewrite-Url: /x",
        "X-Requested-With: y",
        "Referer: http://x",
        "Proxy-Authorization: Basic x",
        "TE: trailers",
        "Trailer: X",
        "Keep-Alive: timeout=5",
        "Connection: accept-language, host, close",
        "content_type: evil",
        "Content-Type_: evil",
        "Mcp_Session: evil",
        "Api-Key: x",
        "X-Api-Key: y",
        "Sec-Fetch-Site: none",
        "Accept_Language: fr",
        "Dnt: 1",
        "From: me",
        "Max-Forwards: 0",
    ];
    let all: Vec<String> = lines.iter().chain(&dropped).map(|line| line.replace("KEY", &world.key)).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut client = world.client().await;
    client.send(world.head("GET", "/api/vehicles", &all)).await;
    let got = client.response().await;
    assert_eq!(got.status, 200, "{}", got.text());
    client.is_closed().await;
    let seen = world.provider.one();
    let mut names = seen.names();
    names.sort();
    let mut expected: Vec<String> = lines
        .iter()
        .map(|line| line.split(':').next().unwrap().to_lowercase())
        .filter(|name| name != "accept-language")
        .collect();
    expected.extend(["host".to_owned(), "authorization".to_owned()]);
    expected.sort();
    expected.push(String::new());
    names.retain(|name| !name.is_empty());
    expected.retain(|name| !name.is_empty());
    assert_eq!(names, expected);
    assert!(!String::from_utf8_lossy(&world.provider.raw()).contains(&world.key));
}

#[tokio::test]
async fn no_byte_of_any_inbound_credential_goes_out() {
    let world = World::new().await;
    let key = world.key.clone();
    let host = world.proxy;
    for head in [
        format!("GET /api/vehicles?api_key={key}&page=2 HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!(
            "GET /api/vehicles?page=2&api_key={key} HTTP/1.1\r\nHost: {host}\r\nAuthorization: bearer {key}\r\nX-Keyfob-Key: {key}\r\n\r\n"
        ),
        format!(
            "GET /api/vehicles?api.key=old&page=2&api%20key=x&api[key=y&%61pi_key=z&api_key[]=q HTTP/1.1\r\nHost: {host}\r\nX-KEYFOB-KEY: {key}\r\nCookie: s={key}\r\n\r\n"
        ),
    ] {
        world.provider.forget();
        assert_eq!(world.raw("GET", &head).await.status, 200, "{head}");
        let seen = world.provider.one();
        assert_eq!(seen.target(), "/api/vehicles?page=2");
        assert_eq!(seen.values("authorization"), [format!("Bearer {TOKEN}")]);
        let raw = String::from_utf8_lossy(&world.provider.raw()).into_owned();
        assert!(!raw.contains(&key) && !raw.contains("api") || raw.matches("api").count() == 1, "{raw}");
    }
}

#[tokio::test]
async fn a_parameter_that_overrides_the_method_is_400() {
    let world = World::new().await;
    for query in ["_method=DELETE", "a=1&_method=PUT", "%5fmethod=DELETE", ".method=DELETE", "_method[]=DELETE"] {
        world
            .call("POST", &format!("/api/account?{query}"), &["Content-Length: 0"])
            .await
            .refuses(400, "bad_request_target");
    }
    world.unheard();
}

#[tokio::test]
async fn accept_is_kept_unless_it_says_nothing_and_mcp_is_left_alone() {
    let world = World::new().await;
    for (target, lines, expected) in [
        ("/api/vehicles", vec!["Accept: */*"], vec!["application/json"]),
        ("/api/vehicles", vec!["Accept: text/html"], vec!["text/html"]),
        ("/api/vehicles", vec![], vec!["application/json"]),
        ("/mcp", vec![], vec![]),
        ("/mcp", vec!["Accept: */*"], vec!["*/*"]),
    ] {
        world.provider.forget();
        assert_eq!(world.call("GET", target, &lines).await.status, 200);
        assert_eq!(world.provider.one().values("accept"), expected);
    }
}

#[tokio::test]
async fn what_follows_mcp_is_appended_to_its_url_as_it_stands() {
    let world = World::new().await;
    for (asked, sent) in [
        ("/mcp", "/ai/mcp"),
        ("/mcp?x=%31", "/ai/mcp?x=%31"),
        ("/mcp/", "/ai/mcp/"),
        ("/mcp/a%20b/c?d", "/ai/mcp/a%20b/c?d"),
        ("/mcp?api_key=old", "/ai/mcp"),
    ] {
        world.provider.forget();
        assert_eq!(world.get(asked).await.status, 200, "{asked}");
        assert_eq!(world.provider.one().target(), sent);
    }
}

#[tokio::test]
async fn bodies_go_up_byte_for_byte_in_either_framing() {
    let world = World::new().await;
    let body: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let mut client = world.client().await;
    client
        .send(world.head("POST", "/api/account", &[&format!("Content-Length: {}", body.len()), "Content-Encoding: br"]))
        .await;
    client.send(&body).await;
    assert_eq!(client.response().await.status, 200);
    let mut client = world.client().await;
    client.send(world.head("PUT", "/api/account", &["Transfer-Encoding: chunked"])).await;
    for chunk in body.chunks(70_000) {
        client.send(format!("{:x}\r\n", chunk.len())).await;
        client.send(chunk).await;
        client.send("\r\n").await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.response().await.status, 200);
    let seen = world.provider.seen();
    assert!(seen[0].body == body && seen[1].body == body);
    assert_eq!(seen[0].values("content-length"), [body.len().to_string()]);
    assert_eq!(seen[0].values("content-encoding"), ["br"]);
    assert!(seen[0].values("transfer-encoding").is_empty() && seen[1].values("content-length").is_empty());
}

#[tokio::test]
async fn redirects_are_passed_on_and_never_followed() {
    let world = World::new().await;
    let elsewhere = super::provider::Provider::start().await;
    let location = format!("http://{}/steal", elsewhere.address);
    for status in
        ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        world.provider.will_answer(answer(status, &[("location", &location)], ""));
        let got = world.get("/api/vehicles").await;
        assert_eq!(got.one("location"), location);
        assert!(status.starts_with(&got.status.to_string()));
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn no_path_or_header_opens_a_way_around_the_key() {
    let world = World::new().await;
    let host = world.proxy;
    for path in [
        "/",
        "/healthz",
        "/readyz",
        "/ping",
        "/metrics",
        "/robots.txt",
        "/favicon.ico",
        "/.well-known/oauth-protected-resource",
        "/api/software",
    ] {
        for agent in ["kube-probe/1.30", "GoogleHC/1.0", "ELB-HealthChecker/2.0"] {
            let head = format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nX-Forwarded-For: 127.0.0.1\r\nX-Real-Ip: ::1\r\n\r\n"
            );
            world.raw("GET", &head).await.refuses(401, "missing_app_key");
        }
    }
    world.unheard();
}
