//! What the provider may say and when, and which connection the next call goes out on (SECURITY PX-12, 28, 37, 61).

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::client::{Got, SOON};
use super::provider::{Script, answer, ok};
use super::world::World;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// A call on its own, and whether it went out on the connection of the one before.
async fn next(world: &World) -> (Got, bool) {
    let got = world.get("/api/vehicles").await;
    let seen = world.provider.seen();
    let [.., before, last] = &seen[..] else { panic!("{seen:?}") };
    (got, before.connection == last.connection)
}

/// Sends these bytes while it reads what comes, up to `no`.
async fn exchange(world: &World, bytes: &[u8]) -> String {
    let mut client = world.client().await;
    let (mut read, mut write) = client.stream.split();
    let mut got = Vec::new();
    let answered = async { while !got.ends_with(b"no") && read.read_buf(&mut got).await.unwrap() > 0 {} };
    // What is sent may find the connection closed before it is through.
    let both = async { tokio::join!(write.write_all(bytes), answered) };
    let _ = timeout(SOON, both).await.expect("it hangs");
    String::from_utf8(got).unwrap()
}

#[tokio::test]
async fn interim_answers_come_before_the_answer_and_in_pieces() {
    let world = World::new().await;
    let early = b"HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\ncontent-length: 5\r\n\r\n".to_vec();
    let go_on = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
    for pieces in [
        vec![go_on.clone(), early.clone(), ok("1")],
        vec![[go_on.clone(), early.clone()].concat(), ok("1")],
        vec![early[..9].to_vec(), [&early[9..], &ok("1")[..20]].concat(), ok("1")[20..].to_vec()],
    ] {
        world.provider.will(Script::Pieces(pieces));
        let mut client = world.client().await;
        let before = world.provider.seen().len();
        client.send(world.head("GET", "/api/vehicles", &[])).await;
        world.provider.until(|provider| provider.seen().len() > before).await;
        let nudged = async {
            loop {
                world.provider.nudge.notify_one();
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let got = tokio::select! { got = client.response() => got, () = nudged => unreachable!() };
        assert_eq!((got.status, got.text().as_str(), got.values("link").len()), (200, "1", 0));
    }
    // An upload is not held back for a 100, and not shown one that nobody asked for.
    world.provider.will_answer([go_on, ok("2")].concat());
    let got = world.raw("POST", &(world.head("POST", "/api/account", &["Content-Length: 5"]) + "hello")).await;
    assert_eq!((got.status, got.text().as_str()), (200, "2"));
}

#[tokio::test]
async fn an_answer_that_comes_before_the_whole_request_ends_both_connections() {
    let world = World::new().await;
    for lines in ["Content-Length: 100000", "Transfer-Encoding: chunked"] {
        world.provider.will(Script::Early(answer("413 Too Large", &[], "too much")));
        let mut client = world.client().await;
        client.send(world.head("POST", "/api/account", &[lines]) + "3e8\r\n" + &"x".repeat(1_000)).await;
        let got = client.response().await;
        assert_eq!((got.status, got.text().as_str()), (413, "too much"), "{lines}");
        client.rest().await;
        let (got, same) = next(&world).await;
        assert_eq!((got.status, same), (200, false), "{lines}");
        // It went out once.
        assert_eq!(world.provider.seen().len(), 2, "{lines}");
        world.provider.forget();
    }
}

#[tokio::test]
async fn a_provider_that_takes_half_a_body_and_closes_is_still_heard() {
    let world = World::new().await;
    let body = "x".repeat(3_000_000);
    for (half, status) in [(0, "413 Too Large"), (1, "400 Bad"), (700_000, "422 No")] {
        world.provider.will(Script::HalfAndClose(half, answer(status, &[], "no")));
        let request = world.head("POST", "/api/account", &["Content-Length: 3000000"]) + &body;
        let got = exchange(&world, request.as_bytes()).await;
        assert!(got.starts_with(&format!("HTTP/1.1 {}", &status[..3])) && got.ends_with("\r\n\r\nno"), "{half}: {got}");
        assert!(!next(&world).await.1);
        assert_eq!(world.provider.seen().len(), 2, "it was sent twice");
        world.provider.forget();
    }
}

#[tokio::test]
async fn a_fresh_connection_that_closes_without_an_answer_is_502_after_one_request() {
    for (script, method) in [
        (Script::Close, "GET"),
        (Script::Close, "POST"),
        (Script::AnswerAndClose(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()), "GET"),
        (Script::AnswerAndClose(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()), "GET"),
    ] {
        let world = World::new().await;
        let before = world.provider.connections();
        world.provider.will(script);
        world.call(method, "/api/account", &["Content-Length: 0"]).await.refuses(502, "upstream_protocol_error");
        assert_eq!((world.provider.seen().len(), world.provider.connections()), (1, before + 1));
    }
}

#[tokio::test]
async fn what_follows_an_answer_is_nobodys() {
    let world = World::new().await;
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    for (method, bytes) in [
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1".to_owned() + poison),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1\r\n".to_owned()),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned() + poison),
        ("GET", format!("{CHUNKED}1\r\n1\r\n0\r\n\r\n{poison}")),
        ("GET", format!("{CHUNKED}0\r\n\r\nx")),
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 47\r\n\r\n".to_owned() + poison),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n".to_owned() + poison),
        ("GET", "HTTP/1.1 204 No Content\r\ncontent-length: 47\r\n\r\n".to_owned()),
        ("GET", "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n".to_owned()),
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 47\r\n\r\n".to_owned() + poison),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: x, Close\r\n\r\n1".to_owned()),
        ("GET", "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\n1".to_owned()),
    ] {
        world.provider.will_answer(bytes.clone());
        let got = world.call(method, "/api/vehicles", &[]).await;
        assert!(got.status < 305 && !got.text().contains("poison"), "{bytes:?}");
        assert!(got.status != 204 || !got.head.contains("content-length"), "{}", got.head);
        let (got, same) = next(&world).await;
        assert_eq!((got.text().as_str(), same), ("{}", false), "{bytes:?}");
    }
}

#[tokio::test]
async fn a_connection_serves_one_call_after_the_other_as_long_as_each_was_whole() {
    let world = World::new().await;
    let upload = world.head("POST", "/api/account", &["Transfer-Encoding: chunked"]) + "5\r\nhello\r\n0\r\n\r\n";
    for (n, bytes) in [
        ok("0"),
        ok(""),
        (CHUNKED.to_owned() + "1;a=b\r\n2\r\n0;c\r\nx-trailer: y\r\nz: \r\n\r\n").into_bytes(),
        b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n".to_vec(),
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n6".to_vec(),
    ]
    .into_iter()
    .enumerate()
    {
        world.provider.will_answer(bytes);
        let got = if n % 2 == 0 { world.get("/api/vehicles").await } else { world.raw("POST", &upload).await };
        assert!(got.status < 305 && got.values("x-trailer").is_empty(), "{n}: {}", got.head);
    }
    let seen = world.provider.seen();
    assert_eq!(seen.len(), 6);
    assert!(seen.iter().all(|one| one.connection == seen[0].connection), "{seen:?}");
}

#[tokio::test]
async fn answers_end_where_their_framing_says() {
    let world = World::new().await;
    for (script, body) in [
        (Script::AnswerAndClose(b"HTTP/1.0 200 OK\r\n\r\nold".to_vec()), "old"),
        (Script::AnswerAndClose(b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nold and more".to_vec()), "old"),
        (Script::AnswerAndClose(b"HTTP/1.1 200 OK\r\n\r\nuntil the end".to_vec()), "until the end"),
        (Script::AnswerAndClose(b"HTTP/1.1 200 OK\r\nconnection: keep-alive\r\n\r\n".to_vec()), ""),
        (Script::Answer((CHUNKED.to_owned() + "3 ;x=\"y\"\r\nabc\r\n0\r\nx-t: u\r\n\r\n").into_bytes()), "abc"),
        (Script::Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc".to_vec()), "abc"),
        (
            Script::Answer(
                b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
                    .to_vec(),
            ),
            "x",
        ),
    ] {
        world.provider.will(script.clone());
        let got = world.get("/api/vehicles").await;
        assert_eq!((got.status, got.text().as_str()), (200, body), "{script:?}");
        assert!(got.values("content-length").len() + got.values("transfer-encoding").len() <= 1, "{}", got.head);
        assert!(got.values("x-t").is_empty());
    }
}

#[tokio::test]
async fn an_upload_of_megabytes_in_chunks_goes_out_before_its_answer_comes() {
    let world = World::new().await;
    let body: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    world.provider.will_answer(ok("done"));
    let mut client = world.client().await;
    client.send(world.head("POST", "/api/account", &["Transfer-Encoding: chunked"])).await;
    for chunk in body.chunks(77_777) {
        client.send([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()).await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.response().await.text(), "done");
    assert!(world.provider.one().body == body);
    assert!(next(&world).await.1);
}

#[tokio::test]
async fn interim_answers_without_end_are_waited_for_no_longer_than_an_answer() {
    let world = World::with(&[("KEYFOB_UPSTREAM_TIMEOUT", "1s")], |_| {}).await;
    world.provider.will(Script::Flood(b"HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n".repeat(500)));
    let mut flooded = world.client().await;
    flooded.send(world.head("GET", "/api/vehicles", &[])).await;
    world.provider.until(|provider| provider.seen().len() == 1).await;
    assert_eq!(world.get("/api/vehicles").await.status, 200);
    flooded.response().await.refuses(504, "upstream_timeout");
}

#[tokio::test]
async fn an_answer_passes_down_while_its_request_still_passes_up() {
    let world = World::new().await;
    let body = "a".repeat(6_000_000) + "no";
    world.provider.will(Script::Meanwhile(answer("200 OK", &[], &body)));
    let upload = world.head("POST", "/api/account", &["Content-Length: 60000000"]) + &"x".repeat(60_000_000);
    let got = exchange(&world, upload.as_bytes()).await;
    assert!(got.starts_with("HTTP/1.1 200 OK") && got.ends_with(&("\r\n\r\n".to_owned() + &body)));
}
