//! What the app gets of an answer (SECURITY PX-11, 28, 29, 30, 41, 60, 61, 69, 91).

use std::time::{Duration, Instant};

use super::provider::{Script, answer};
use super::world::{TOKEN, World};

#[tokio::test]
async fn response_headers_are_filtered() {
    let world = World::new().await;
    let headers = [
        ("set-cookie", "a=b"),
        ("www-authenticate", "Bearer realm=\"x\""),
        ("proxy-authenticate", "Basic"),
        ("authorization", "x"),
        ("clear-site-data", "\"*\""),
        ("strict-transport-security", "max-age=1"),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("alt-svc", "h3=\":443\""),
        ("refresh", "0;url=/"),
        ("service-worker-allowed", "/"),
        ("keep-alive", "timeout=5"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("trailer", "x"),
        ("upgrade", "h2c"),
        ("keyfob-error", "no_grant"),
        ("keyfob-anything", "1"),
        ("x-echo", &format!("Bearer {TOKEN}")),
        ("x-echo-too", &format!("a{TOKEN}b")),
        ("proxy-connection", "close"),
        ("cache-control", "private, max-age=5"),
        ("etag", "\"x\""),
        ("x-ratelimit-limit", "60"),
        ("retry-after", "7"),
        ("server", "nginx"),
        ("vary", "accept"),
        ("content-language", "en"),
    ];
    world.provider.will_answer(answer("200 OK", &headers, "x"));
    let got = world.get("/api/vehicles").await;
    let mut names: Vec<String> = got
        .head
        .split("\r\n")
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.to_owned())
        .collect();
    names.sort();
    let expected = [
        "cache-control",
        "content-language",
        "content-length",
        "date",
        "etag",
        "keyfob-request-id",
        "retry-after",
        "server",
        "vary",
        "x-ratelimit-limit",
    ];
    assert_eq!(names, expected);
    assert_eq!(got.one("cache-control"), "private, max-age=5");
}

#[tokio::test]
async fn what_connection_names_is_not_passed_on_however_it_is_listed() {
    let world = World::new().await;
    for connection in [
        &["close, X-Secret"][..],
        &["keep-alive", "x-secret"],
        &["Keep-Alive,x-SECRET", "close"],
        &["x-other", " ,, X-Secret ,"],
        &["X-Secret", "keep-alive"],
    ] {
        let mut headers = vec![("keep-alive", "timeout=5"), ("x-secret", "1"), ("X-Secret", "2"), ("x-kept", "3")];
        headers.extend(connection.iter().map(|value| ("connection", *value)));
        world.provider.will(Script::AnswerAndClose(answer("200 OK", &headers, "x")));
        let got = world.get("/api/vehicles").await;
        let of = |name| got.values(name);
        assert_eq!((of("x-secret"), of("keep-alive"), of("x-kept")), (vec![], vec![], vec!["3"]), "{connection:?}");
        assert_eq!((got.one("content-length"), got.text().as_str()), ("1", "x"), "{connection:?}");
    }
    // What frames the message stays, whoever names it.
    world.provider.will(Script::AnswerAndClose(answer("200 OK", &[("connection", "content-length, close")], "x")));
    assert_eq!(world.get("/api/vehicles").await.one("content-length"), "1");
}

#[tokio::test]
async fn addresses_of_the_provider_become_the_proxys_and_others_stay() {
    let world = World::with(&[("KEYFOB_PROXY_PUBLIC_URL", "https://proxy.example/base")], |_| {}).await;
    let own = format!("http://{}", world.provider.address);
    for (path, given, expected) in [
        (
            "/api/vehicles",
            format!("{own}/api/vehicle/x?a=%31#f"),
            "https://proxy.example/base/api/vehicle/x?a=%31#f".to_owned(),
        ),
        ("/api/vehicles", format!("//{}/api/x", world.provider.address), "https://proxy.example/base/api/x".to_owned()),
        ("/api/vehicles", "/api/x".to_owned(), "/api/x".to_owned()),
        ("/api/vehicles", "https://elsewhere.example/x".to_owned(), "https://elsewhere.example/x".to_owned()),
        (
            "/api/vehicles",
            format!("https://{}/x", world.provider.address),
            format!("https://{}/x", world.provider.address),
        ),
        ("/mcp", format!("{own}/ai/mcp/messages?s=1"), "https://proxy.example/base/mcp/messages?s=1".to_owned()),
        ("/mcp", "/ai/mcp/messages".to_owned(), "https://proxy.example/base/mcp/messages".to_owned()),
        ("/mcp", format!("{own}/api/x"), "https://proxy.example/base/api/x".to_owned()),
        // The MCP server is below the API's origin here.
        ("/api/vehicles", format!("{own}/ai/mcp"), "https://proxy.example/base/mcp".to_owned()),
        ("/api/vehicles", format!("{own}/ai/mcp/x?s=1"), "https://proxy.example/base/mcp/x?s=1".to_owned()),
        ("/api/vehicles", "/ai/mcp?s=1".to_owned(), "https://proxy.example/base/mcp?s=1".to_owned()),
        // What only begins like it is something else.
        ("/api/vehicles", "/ai/mcpx".to_owned(), "/ai/mcpx".to_owned()),
        ("/mcp", format!("{own}/ai/mcpx"), "https://proxy.example/base/ai/mcpx".to_owned()),
    ] {
        world.provider.will_answer(answer("201 Created", &[("location", &given), ("content-location", &given)], ""));
        let got = world.get(path).await;
        assert_eq!((got.one("location"), got.one("content-location")), (&*expected, &*expected), "{given}");
    }
    let link = format!("<{own}/api/x?page=2>; rel=\"next\", <https://elsewhere.example/>; rel=\"help\"");
    world.provider.will_answer(answer("200 OK", &[("link", &link)], ""));
    let got = world.get("/api/vehicles").await;
    assert_eq!(
        got.one("link"),
        "<https://proxy.example/base/api/x?page=2>; rel=\"next\", <https://elsewhere.example/>; rel=\"help\""
    );
}

#[tokio::test]
async fn a_token_that_the_provider_sends_back_never_reaches_the_app() {
    let world = World::new().await;
    for cut in [0, 1, 8, 20, TOKEN.len()] {
        let (first, second) = TOKEN.split_at(cut);
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len()).into_bytes();
        let first = [head, chunk(&format!("{{\"token\":\"{first}"))].concat();
        let second = [chunk(&format!("{second}\"}}")), b"0\r\n\r\n".to_vec()].concat();
        world.provider.will(Script::Pieces(vec![first, second]));
        let mut client = world.client().await;
        client.send(world.head("GET", "/api/vehicles", &[])).await;
        world.provider.until(|provider| !provider.seen().is_empty()).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.provider.nudge.notify_one();
        let (got, _) = client.rest().await;
        let got = String::from_utf8_lossy(&got).into_owned();
        assert!(!got.contains(&TOKEN[..8]) && !got.contains("0\r\n\r\n"), "{cut}: {got}");
        world.provider.forget();
    }
}

#[tokio::test]
async fn a_truncated_answer_is_seen_as_a_failure() {
    let world = World::new().await;
    world.provider.will(Script::AnswerAndClose(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort".to_vec()));
    let mut client = world.client().await;
    client.send(world.head("GET", "/api/vehicles", &[])).await;
    let (got, _) = client.rest().await;
    let got = String::from_utf8_lossy(&got).into_owned();
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && got.contains("content-length: 100"), "{got}");

    // An empty reply would not tell the app that the provider had begun to answer.
    for body in ["5\r\nshort\r\n", "5\r\nsho", "5\r", "", "5\r\nshort\r\n0\r\n", "zz\r\nshort\r\n"] {
        let bytes = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        world.provider.will(Script::AnswerAndClose(bytes.into_bytes()));
        let mut client = world.client().await;
        client.send(world.head("GET", "/api/vehicles", &[])).await;
        let (got, _) = client.rest().await;
        let got = String::from_utf8_lossy(&got).into_owned();
        assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && !got.contains("0\r\n\r\n"), "{body:?}: {got:?}");
        assert_eq!(got.contains("short"), body.starts_with("5\r\nshort"), "{body:?}: {got:?}");
    }

    // Where only the connection's end tells, it must not end in order.
    world
        .provider
        .will(Script::AnswerAndClose(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n".to_vec()));
    let mut client = world.client().await;
    client.send(world.head("GET", "/api/vehicles", &[]).replacen("HTTP/1.1", "HTTP/1.0", 1)).await;
    let (_, in_order) = client.rest().await;
    assert!(!in_order);
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_502() {
    let world = World::new().await;
    for bytes in [
        "garbage\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "SSH-2.0-x\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
    ] {
        world.provider.will(Script::AnswerAndClose(bytes.as_bytes().to_vec()));
        world.get("/api/vehicles").await.refuses(502, "upstream_protocol_error");
    }
    // What speaks another protocol now is not asked again.
    world.provider.will_answer(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n".to_vec());
    world.get("/api/vehicles").await.refuses(502, "upstream_protocol_error");
    assert_eq!(world.get("/api/vehicles").await.status, 200);
    let [.., switched, next] = &world.provider.seen()[..] else { panic!("two requests came") };
    assert_ne!(switched.connection, next.connection);
    let many = (0..200).fold(String::new(), |head, n| head + &format!("x-{n}: y\r\n"));
    world.provider.will(Script::AnswerAndClose(format!("HTTP/1.1 200 OK\r\n{many}\r\n").into_bytes()));
    world.get("/api/vehicles").await.refuses(502, "upstream_protocol_error");
}

#[tokio::test]
async fn odd_but_readable_answers_pass() {
    let world = World::new().await;
    world.provider.will_answer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\nHTTP/1.1 299 Odd Reason\r\ncontent-length: 2\r\n\r\nok".to_vec());
    let got = world.get("/api/vehicles").await;
    assert_eq!((got.status, got.text().as_str()), (299, "ok"));
    world.provider.will_answer(b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok".to_vec());
    assert_eq!(world.get("/api/vehicles").await.text(), "ok");
    world.provider.will(Script::AnswerAndClose(b"HTTP/1.0 200 OK\r\n\r\nuntil the end".to_vec()));
    let got = world.get("/api/vehicles").await;
    assert_eq!(got.text(), "until the end");
    assert!(got.head.starts_with("HTTP/1.1 200 "));
    for (status, method) in [
        ("304 Not Modified", "GET"),
        ("204 No Content", "GET"),
        ("206 Partial Content", "GET"),
        ("500 Oops", "GET"),
        ("429 Slow", "GET"),
    ] {
        world.provider.will_answer(answer(
            status,
            &[("retry-after", "3")],
            if status.starts_with("30") || status.starts_with("204") { "" } else { "x" },
        ));
        let got = world.call(method, "/api/vehicles", &[]).await;
        assert!(status.starts_with(&got.status.to_string()));
        assert!(got.values("keyfob-error").is_empty());
    }
    world.provider.will_answer(b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n".to_vec());
    let got = world.call("HEAD", "/api/vehicles", &[]).await;
    assert_eq!(got.one("content-length"), "1234");
}

#[tokio::test]
async fn a_missing_scope_at_the_provider_is_passed_on_with_the_scope_that_the_path_needs() {
    let world = World::new().await;
    let body = "{\"message\":\"Invalid scope(s) provided.\"}";
    world.provider.will_answer(answer("403 Forbidden", &[], body));
    let got = world.get("/api/account/tesla-accounts").await;
    assert_eq!((got.status, got.one("keyfob-required-scope"), got.text().as_str()), (403, "tesla-accounts", body));
    assert!(got.values("keyfob-error").is_empty());
    assert_eq!(world.provider.seen().len(), 1);
}

#[tokio::test]
async fn events_come_through_at_once_and_a_client_that_leaves_ends_them_at_the_provider() {
    let world = World::new().await;
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let event = |n: u8| format!("8\r\ndata:{n}\n\n\r\n").into_bytes();
    world.provider.will(Script::Pieces(vec![head, event(1), event(2), event(3)]));
    let mut client = world.client().await;
    client.send(world.head("GET", "/mcp", &["Accept: text/event-stream"])).await;
    assert_eq!(client.head().await.one("content-type"), "text/event-stream");
    for n in 1..=2 {
        let sent = Instant::now();
        world.provider.nudge.notify_one();
        assert_eq!(client.chunk().await.unwrap(), format!("data:{n}\n\n").into_bytes());
        assert!(sent.elapsed() < Duration::from_millis(200));
    }
    let before = world.provider.closed();
    let left = Instant::now();
    drop(client);
    world.provider.until(|provider| provider.closed() > before).await;
    assert!(left.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_ends_the_call_at_the_provider() {
    let world = World::new().await;
    world.provider.will(Script::Silence);
    let mut client = world.client().await;
    client.send(world.head("GET", "/api/vehicles", &[])).await;
    world.provider.until(|provider| provider.seen().len() == 1).await;
    let before = world.provider.closed();
    drop(client);
    world.provider.until(|provider| provider.closed() > before).await;
}

#[tokio::test]
async fn big_bodies_come_down_byte_for_byte_and_encodings_are_left_alone() {
    let world = World::new().await;
    let body: String = (0..400_000_u32).filter_map(|n| char::from_digit(10 + n % 23, 36)).collect();
    world.provider.will_answer(answer("200 OK", &[("content-encoding", "gzip")], &body));
    let got = world.get("/api/vehicles").await;
    assert_eq!(got.one("content-encoding"), "gzip");
    assert!(got.text() == body);
}

#[tokio::test]
async fn a_listed_page_may_read_answers_and_no_other() {
    let world = World::new().await;
    let page = "Origin: https://page.example";
    let got = world.call("GET", "/api/vehicles", &[page]).await;
    assert_eq!((got.status, got.one("access-control-allow-origin")), (200, "https://page.example"));
    assert!(got.values("vary").iter().any(|vary| vary.contains("origin")));
    let got = world.call("GET", "/api/nowhere", &[page]).await;
    assert_eq!(got.refuses(403, "unknown_endpoint").one("access-control-allow-origin"), "https://page.example");
    world.provider.forget();

    let host = world.proxy;
    let preflight = |origin: &str| {
        format!(
            "OPTIONS /api/vehicles HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization, x-evil, Content-Type\r\n\r\n"
        )
    };
    let got = world.raw("OPTIONS", &preflight("https://page.example")).await;
    assert_eq!((got.status, got.one("access-control-allow-headers")), (204, "authorization, content-type"));
    assert_eq!(got.one("access-control-allow-origin"), "https://page.example");
    assert!(got.values("access-control-allow-credentials").is_empty());
    let got = world.raw("OPTIONS", &preflight("https://evil.example")).await;
    got.refuses(403, "forbidden_origin");
    assert!(got.values("access-control-allow-origin").is_empty());
    world.unheard();
    let plain = world.get("/api/vehicles").await;
    assert!(plain.values("access-control-allow-origin").is_empty());
}
