//! One request in is one request out, or none (SECURITY PX-05, 10, 21, 27, 33, 34, 90, 92).

use super::provider::{Script, ok};
use super::world::World;

/// A request with the app's key that is refused for its framing, with a second request behind it that must not be heard.
async fn refused_with_what_follows(world: &World, head: &str, status: u16, code: &str) {
    let smuggled = world.head("GET", "/api/vehicle/smuggled", &[]);
    let mut client = world.client().await;
    client.send(format!("{head}{smuggled}")).await;
    let got = client.response().await;
    got.refuses(status, code);
    assert_eq!(got.one("connection"), "close", "{head:?}");
    client.is_closed().await;
    world.unheard();
}

#[tokio::test]
async fn a_request_that_two_parsers_could_frame_differently_is_400_and_ends_the_connection() {
    let world = World::new().await;
    let post = |lines: &[&str]| world.head("POST", "/api/account", lines);
    let heads: Vec<String> = vec![
        post(&["Content-Length: 4", "Transfer-Encoding: chunked"]) + "0\r\n\r\n",
        post(&["Transfer-Encoding: chunked", "Content-Length: 4"]) + "0\r\n\r\n",
        post(&["Content-Length: 0", "Content-Length: 0"]),
        post(&["Content-Length: 0", "Content-Length: 5"]) + "hello",
        post(&["Content-Length: 0, 0"]),
        post(&["Content-Length: +0"]),
        post(&["Content-Length: -1"]),
        post(&["Content-Length: 0x0"]),
        post(&["Content-Length: "]),
        post(&["Content-Length: 99999999999999999999"]),
        post(&["Content-Length : 0"]),
        post(&["Transfer-Encoding: chunked, identity"]) + "0\r\n\r\n",
        post(&["Transfer-Encoding: identity, chunked"]) + "0\r\n\r\n",
        post(&["Transfer-Encoding: xchunked"]) + "0\r\n\r\n",
        post(&["Transfer-Encoding: \"chunked\""]) + "0\r\n\r\n",
        post(&["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]) + "0\r\n\r\n",
        post(&["Transfer-Encoding : chunked"]) + "0\r\n\r\n",
        post(&["Transfer-Encoding: \x0bchunked"]) + "0\r\n\r\n",
        post(&["X: y", " Transfer-Encoding: chunked"]) + "0\r\n\r\n",
        post(&["X: y\r\n\tz"]),
        post(&["X: a\0b"]),
        post(&["X: a\rb"]),
        post(&["X\0: a"]),
        post(&["X y: a"]),
        post(&["no colon"]),
        post(&[": no name"]),
        post(&["Transfer-Encoding: chunked"]).replacen("HTTP/1.1", "HTTP/1.0", 1) + "0\r\n\r\n",
        post(&[]).replacen("HTTP/1.1", "HTTP/1.2", 1),
        post(&[]).replacen("HTTP/1.1", "HTTP/2.0", 1),
        post(&[]).replacen("HTTP/1.1", "HTTP/1.1 ", 1),
        post(&[]).replacen("POST ", "POST  ", 1),
        post(&[]).replacen("POST /api", "POST\t/api", 1),
        world.head("CONNECT", "/api/vehicles", &[]),
        world.head("CONNECT", "teslascope.com:443", &[]),
        world.head("GET", "http://127.0.0.1/api/vehicles", &[]),
        world.head("GET", "https://evil.example/api/vehicles", &[]),
        world.head("GET", "evil.example/api/vehicles", &[]),
        world.head("OPTIONS", "*", &[]),
        world.head("GET", "/api/vehicles#x", &[]),
        world.head("GET", "/api/vehicles", &["Upgrade: websocket", "Connection: upgrade"]),
        world.head(
            "GET",
            "/api/vehicles",
            &["Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQ"],
        ),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "GET /api/vehicles\r\n".to_owned(),
        "\x16\x03\x01\x02\x00\x01\x00\x01\x7c".to_owned(),
        "SSH-2.0-OpenSSH_9.6\r\n".to_owned(),
        "{\"jsonrpc\":\"2.0\"}".to_owned(),
    ];
    for head in heads {
        refused_with_what_follows(&world, &head, 400, "bad_request_target").await;
    }
}

#[tokio::test]
async fn an_expectation_other_than_100_continue_is_417() {
    let world = World::new().await;
    for expectation in ["200-ok", "100-continue, 200-ok", "100-continue; x"] {
        let head = world.head("POST", "/api/account", &["Content-Length: 5", &format!("Expect: {expectation}")]);
        refused_with_what_follows(&world, &head, 417, "expectation_failed").await;
    }
}

#[tokio::test]
async fn a_head_over_32_kib_or_100_lines_is_431() {
    let world = World::new().await;
    let long = format!("X: {}", "x".repeat(33 * 1024));
    refused_with_what_follows(&world, &world.head("GET", "/api/vehicles", &[&long]), 431, "request_head_too_large")
        .await;
    let many = vec!["X: y"; 101];
    refused_with_what_follows(&world, &world.head("GET", "/api/vehicles", &many), 431, "request_head_too_large").await;
    let target = format!("/api/vehicles?{}", "x".repeat(33 * 1024));
    refused_with_what_follows(&world, &world.head("GET", &target, &[]), 431, "request_head_too_large").await;

    let mut endless = world.client().await;
    endless.send(format!("GET /api/vehicles HTTP/1.1\r\nX: {}", "x".repeat(40 * 1024))).await;
    endless.response().await.refuses(431, "request_head_too_large");

    let fits = format!("X: {}", "x".repeat(31 * 1024));
    assert_eq!(world.call("GET", "/api/vehicles", &[&fits]).await.status, 200);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_each_goes_out_once() {
    let world = World::new().await;
    world.provider.will_answer(ok("1"));
    world.provider.will_answer(ok("2"));
    let mut client = world.client().await;
    let first = world.head("GET", "/api/vehicle/one", &[]);
    let refused = world.head("GET", "/api/nowhere", &[]);
    let second = world.head("POST", "/api/account", &["Content-Length: 5"]) + "hello";
    let bad = world.head("GET", "/api/vehicle/bad", &["Content-Length: x"]);
    let never = world.head("GET", "/api/vehicle/never", &[]);
    client.send(format!("{first}{refused}{second}{bad}{never}")).await;
    assert_eq!(client.response().await.text(), "1");
    client.response().await.refuses(403, "unknown_endpoint");
    assert_eq!(client.response().await.text(), "2");
    client.response().await.refuses(400, "bad_request_target");
    client.is_closed().await;
    let seen = world.provider.seen();
    let targets: Vec<_> = seen.iter().map(super::provider::Seen::target).collect();
    assert_eq!(targets, ["/api/vehicle/one", "/api/account"]);
    assert_eq!(seen[1].body, b"hello");
}

#[tokio::test]
async fn a_head_may_come_in_pieces_of_any_size() {
    let world = World::new().await;
    let bytes =
        world.head("POST", "/api/account", &["Content-Length: 5"]) + "hello" + &world.head("GET", "/api/vehicles", &[]);
    for size in [1, 7, 64, bytes.len() - 1] {
        world.provider.forget();
        let mut client = world.client().await;
        for piece in bytes.as_bytes().chunks(size) {
            client.send(piece).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.response().await.status, 200, "{size}");
        assert_eq!(client.response().await.status, 200, "{size}");
        let seen = world.provider.seen();
        assert_eq!((seen[0].body.as_slice(), seen[1].target()), (b"hello".as_slice(), "/api/vehicles"));
    }
}

#[tokio::test]
async fn bytes_of_an_unread_body_are_never_the_next_request() {
    let world = World::new().await;
    let inner = world.head("GET", "/api/vehicle/smuggled", &[]);
    let length = format!("Content-Length: {}", inner.len());
    for (target, status) in [("/api/nowhere", 403), ("/api/vehicles", 405)] {
        let mut client = world.client().await;
        client.send(world.head("POST", target, &[&length]) + &inner).await;
        assert_eq!(client.response().await.status, status);
        // A connection that goes on has skipped the body.
        client.send(world.head("POST", "/api/nowhere", &["Content-Length: 0"])).await;
        client.response().await.refuses(403, "unknown_endpoint");
        world.unheard();
    }
    // A body with GET is part of the message too (CL.0).
    let mut client = world.client().await;
    client.send(world.head("GET", "/api/vehicles", &[&length]) + &inner).await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(world.provider.one().body, inner.as_bytes());
}

#[tokio::test]
async fn nothing_after_a_chunked_body_is_read_as_a_request() {
    let world = World::new().await;
    let head = world.head("POST", "/api/account", &["Transfer-Encoding: chunked"]);
    let smuggled = world.head("GET", "/api/vehicle/smuggled", &[]);
    let mut client = world.client().await;
    client.send(format!("{head}5;ext=\"x\"\r\nhello\r\n0\r\nX-Trailer: y\r\n\r\n{smuggled}")).await;
    let got = client.response().await;
    assert_eq!((got.status, got.one("connection")), (200, "close"));
    client.is_closed().await;
    let seen = world.provider.one();
    assert_eq!(seen.body, b"hello");
    assert!(!String::from_utf8_lossy(&world.provider.raw()).to_lowercase().contains("trailer"));
}

#[tokio::test]
async fn a_chunked_body_that_is_broken_is_refused_and_the_provider_gets_no_whole_one() {
    let world = World::new().await;
    for body in [
        "xyz\r\nhello\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\n",
        "5\nhello\r\n0\r\n\r\n",
    ] {
        world.provider.forget();
        let mut client = world.client().await;
        client.send(world.head("POST", "/api/account", &["Transfer-Encoding: chunked"]) + body).await;
        let got = client.response().await;
        got.refuses(400, "bad_request_target");
        assert_eq!(got.one("connection"), "close");
        client.is_closed().await;
        assert!(!String::from_utf8_lossy(&world.provider.raw()).contains("0\r\n\r\n"), "{body:?}");
    }
}

#[tokio::test]
async fn expect_100_continue_is_met_here_and_only_when_the_body_is_wanted() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.send(world.head("POST", "/api/account", &["Content-Length: 5", "Expect: 100-continue"])).await;
    assert_eq!(client.head().await.status, 100);
    client.send("hello").await;
    assert_eq!(client.response().await.status, 200);
    let seen = world.provider.one();
    assert_eq!((seen.body.as_slice(), seen.values("expect").len()), (b"hello".as_slice(), 0));

    world.provider.forget();
    let mut client = world.client().await;
    client.send(world.head("POST", "/api/nowhere", &["Content-Length: 5", "Expect: 100-continue"])).await;
    client.response().await.refuses(403, "unknown_endpoint");
    client.is_closed().await;
    world.unheard();
}

#[tokio::test]
async fn bare_lf_ends_a_line_as_hyper_has_it_and_leading_blank_lines_are_skipped() {
    let world = World::new().await;
    let head = world.head("GET", "/api/vehicle/lf", &[]).replace("\r\n", "\n");
    assert_eq!(world.raw("GET", &head).await.status, 200);
    assert_eq!(world.raw("GET", &format!("\r\n\n{head}")).await.status, 200);
    assert_eq!(world.provider.seen().len(), 2);
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed_and_goes_out_as_1_1() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.send(world.head("GET", "/api/vehicles", &[]).replacen("HTTP/1.1", "HTTP/1.0", 1)).await;
    assert_eq!(client.response().await.status, 200);
    client.is_closed().await;
    assert!(world.provider.one().head.starts_with("GET /api/vehicles HTTP/1.1\r\n"));
}

#[tokio::test]
async fn every_response_belongs_to_its_request_and_leftover_bytes_end_a_connection() {
    let world = World::new().await;
    let poison = [ok("1"), b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison".to_vec()].concat();
    world.provider.will(Script::Answer(poison));
    world.provider.will_answer(ok("2"));
    assert_eq!(world.get("/api/vehicle/one").await.text(), "1");
    assert_eq!(world.get("/api/vehicle/two").await.text(), "2");
    let seen = world.provider.seen();
    assert_ne!(seen[0].connection, seen[1].connection);
}

#[tokio::test]
async fn connections_to_the_provider_are_used_again() {
    let world = World::new().await;
    for body in [
        ok("{}"),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".to_vec(),
        b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        ok(""),
    ] {
        world.provider.will_answer(body);
        assert!(world.get("/api/vehicles").await.status < 300);
    }
    assert_eq!(world.call("HEAD", "/api/vehicles", &[]).await.status, 200);
    let seen = world.provider.seen();
    let connections: std::collections::BTreeSet<_> = seen.iter().map(|seen| seen.connection).collect();
    assert_eq!(connections.len(), 1, "{connections:?}");
}
