//! The same through TLS (SECURITY PX-28, 34, 37, 39).

use super::provider::{Script, answer, ok};
use super::world::{TOKEN, World};

fn megabyte() -> String {
    (0..1_000_000_u32).filter_map(|n| char::from_digit(n % 36, 36)).collect()
}

#[tokio::test]
async fn calls_pass_through_tls_on_a_connection_that_is_kept() {
    let world = World::tls().await;
    let before = world.provider.connections();
    for n in 0..3 {
        world.provider.will_answer(ok(&n.to_string()));
        assert_eq!(world.get("/api/vehicles").await.text(), n.to_string());
    }
    assert_eq!(world.provider.connections(), before + 1);
    assert_eq!(world.provider.seen()[2].values("authorization"), [format!("Bearer {TOKEN}")]);
}

#[tokio::test]
async fn a_megabyte_passes_up_and_down_through_tls() {
    let world = World::tls().await;
    let body = megabyte();
    for lines in [&format!("Content-Length: {}", body.len()), "Transfer-Encoding: chunked"] {
        let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let sent = if lines.starts_with('T') { &chunked } else { &body };
        world.provider.forget();
        world.provider.will_answer(answer("200 OK", &[], &body));
        let got = world.raw("POST", &(world.head("POST", "/api/account", &[lines]) + sent)).await;
        assert!(got.text() == body && world.provider.one().body == body.as_bytes(), "{lines}");
    }
    assert_eq!(world.provider.seen()[0].values("transfer-encoding"), ["chunked"]);
}

#[tokio::test]
async fn a_body_that_only_the_connection_ends_is_whole_when_tls_says_so_and_cut_when_not() {
    let world = World::tls().await;
    let bytes = b"HTTP/1.1 200 OK\r\nx-length: none\r\n\r\nuntil the end".to_vec();
    world.provider.will(Script::AnswerAndEnd(bytes.clone()));
    assert_eq!(world.get("/api/vehicles").await.text(), "until the end");
    world.provider.will(Script::AnswerAndClose(bytes));
    let mut client = world.client().await;
    client.send(world.head("GET", "/api/vehicles", &[])).await;
    let (got, _) = client.rest().await;
    let got = String::from_utf8_lossy(&got).into_owned();
    assert!(got.contains("x-length: none\r\n") && got.contains("until the end"), "{got}");
    assert!(!got.ends_with("0\r\n\r\n"), "{got}");
    // With a length it is whole whatever follows.
    world.provider.will(Script::AnswerAndClose(ok("whole")));
    assert_eq!(world.get("/api/vehicles").await.text(), "whole");
    world.provider.will(Script::Close);
    world.get("/api/vehicles").await.refuses(502, "upstream_protocol_error");
}

#[tokio::test]
async fn several_calls_at_once_that_expect_to_be_told_to_go_on_pass_through_tls() {
    let world = World::tls().await;
    let body = megabyte();
    let call = async |n: usize| {
        let mut client = world.client().await;
        let (mine, length) = (&body[n..], format!("Content-Length: {}", body.len() - n));
        let target = format!("/api/account?n={n}");
        client.send(world.head("POST", &target, &[&length, "Expect: 100-continue"])).await;
        assert_eq!(client.head().await.status, 100);
        client.send(mine).await;
        let got = client.response().await;
        assert_eq!((got.status, got.text().as_str()), (200, "{}"));
    };
    let calls = (0..8).map(call);
    futures_util::future::join_all(calls).await;
    let seen = world.provider.seen();
    assert_eq!(seen.len(), 8);
    for n in 0..8 {
        let mine = seen.iter().find(|seen| seen.target().ends_with(&format!("n={n}"))).unwrap();
        assert!(mine.body == body.as_bytes()[n..] && mine.values("expect").is_empty(), "{n}");
    }
}

#[tokio::test]
async fn a_provider_whose_certificate_nobody_vouches_for_hears_nothing() {
    let stranger = super::provider::Provider::start_tls().await;
    let url = format!("https://{}", stranger.address);
    let world = World::with(&[("KEYFOB_TESLASCOPE_MCP_URL", &url)], |_| {}).await;
    world.get("/mcp").await.refuses(502, "upstream_unreachable");
    assert_eq!((stranger.connections(), stranger.raw().len()), (1, 0));
}
