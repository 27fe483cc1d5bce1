//! A token that comes back in a compressed body is found as one that comes back in plain text (SECURITY PX-11, 61, 65).

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::provider::{Script, answer};
use super::world::{TOKEN, World};

fn coded(coding: &str, text: &str) -> Vec<u8> {
    let (text, level) = (text.as_bytes(), Compression::best());
    match coding {
        "gzip" | "x-gzip" => {
            let mut coder = GzEncoder::new(Vec::new(), level);
            coder.write_all(text).unwrap();
            coder.finish().unwrap()
        }
        "deflate" => {
            let mut coder = ZlibEncoder::new(Vec::new(), level);
            coder.write_all(text).unwrap();
            coder.finish().unwrap()
        }
        "raw deflate" => {
            let mut coder = DeflateEncoder::new(Vec::new(), level);
            coder.write_all(text).unwrap();
            coder.finish().unwrap()
        }
        // Nothing here writes it: this is what Node's zlib made of the text with the token.
        "br" => {
            let coded: Vec<u8> =
                (0..BR.len()).step_by(2).map(|at| u8::from_str_radix(&BR[at..at + 2], 16).unwrap()).collect();
            assert_eq!(opened("br", &coded), text);
            coded
        }
        other => panic!("{other}"),
    }
}

const BR: &str = "1bdf00a0c4e7bd46baf7798d67d9b4d34a4fa8c901ebb7c3a0ed31a39c5be092dbd8f238a6085637d02fd2342c0845fa7047ad1dbf85f011\
7e13970e9ce39dc8d1d82b77edc26e5ab6d364eaca7b7d5cdd19c8c12407288696c3ea07";

const CODINGS: [&str; 4] = ["gzip", "x-gzip", "deflate", "raw deflate"];

fn head(coding: &str) -> Vec<u8> {
    let name = coding.trim_start_matches("raw ").to_uppercase();
    format!("HTTP/1.1 200 OK\r\ncontent-encoding: {name}\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes()
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// What an app can make of what it got of a coded body.
fn opened(coding: &str, got: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut reader: Box<dyn std::io::Read> = match coding {
        "gzip" | "x-gzip" => Box::new(flate2::read::MultiGzDecoder::new(got)),
        "br" => Box::new(brotli_decompressor::Decompressor::new(got, 4096)),
        "deflate" => Box::new(flate2::read::ZlibDecoder::new(got)),
        _ => Box::new(flate2::read::DeflateDecoder::new(got)),
    };
    let mut byte = [0];
    while let Ok(1) = reader.read(&mut byte) {
        plain.push(byte[0]);
    }
    plain
}

/// The bytes of the chunks of a body that may have been cut off.
fn unchunked(got: &[u8]) -> Vec<u8> {
    let mut rest = &got[super::provider::find(got, b"\r\n\r\n").map_or(got.len(), |at| at + 4)..];
    let mut body = Vec::new();
    while let Some(line) = super::provider::find(rest, b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        let end = (line + 2 + size).min(rest.len());
        body.extend_from_slice(&rest[line + 2..end]);
        rest = rest.get(end + 2..).unwrap_or_default();
    }
    body
}

#[tokio::test]
async fn a_token_in_a_compressed_body_is_cut_off_wherever_its_chunks_are_cut() {
    let world = World::new().await;
    for coding in CODINGS.into_iter().chain(["br"]) {
        let text = "{\"some\":\"text before it that is said again and again\"}".repeat(3);
        let body = coded(coding, &format!("{text}{{\"token\":\"{TOKEN}\",\"more\":1}}"));
        assert!(super::provider::find(&body, &TOKEN.as_bytes()[..8]).is_none());
        for cut in (0..body.len()).step_by(9) {
            let (first, second) = body.split_at(cut);
            let first = if first.is_empty() { head(coding) } else { [head(coding), chunk(first)].concat() };
            let second = [chunk(second), b"0\r\n\r\n".to_vec()].concat();
            world.provider.forget();
            world.provider.will(Script::Pieces(vec![first, second]));
            let mut client = world.client().await;
            client.send(world.head("GET", "/api/vehicles", &[])).await;
            world.provider.until(|provider| provider.seen().len() == 1).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            world.provider.nudge.notify_one();
            let (got, _) = client.rest().await;
            let plain = opened(coding, &unchunked(&got));
            let plain = String::from_utf8_lossy(&plain);
            assert!(!plain.contains(&TOKEN[..8]) && !got.ends_with(b"0\r\n\r\n"), "{coding}, {cut}: {plain}");
        }
    }
}

#[tokio::test]
async fn compressed_bodies_without_it_pass_byte_for_byte_and_their_events_at_once() {
    let world = World::new().await;
    for coding in CODINGS {
        let line = |text: String, n: u32| text + "{\"n\":" + &n.wrapping_mul(2_654_435_761).to_string() + "}\n";
        let text = (0..60_000).fold(String::new(), line);
        let body = coded(coding, &text);
        let answer = [
            format!(
                "HTTP/1.1 200 OK\r\ncontent-encoding: {}\r\ncontent-length: {}\r\n\r\n",
                coding.trim_start_matches("raw "),
                body.len()
            )
            .into_bytes(),
            body.clone(),
        ]
        .concat();
        world.provider.will_answer(answer);
        let got = world.get("/api/vehicles").await;
        assert!(got.body == body, "{coding}");
        assert_eq!(got.one("content-length"), body.len().to_string());
    }
    // An event is flushed by itself; it is not held back for the next.
    let mut coder = GzEncoder::new(Vec::new(), Compression::best());
    let mut events = Vec::new();
    for n in 0..3 {
        write!(coder, "data:{n}\n\n").unwrap();
        coder.flush().unwrap();
        events.push(std::mem::take(coder.get_mut()));
    }
    let pieces = std::iter::once(head("gzip")).chain(events.iter().map(|event| chunk(event))).collect();
    world.provider.forget();
    world.provider.will(Script::Pieces(pieces));
    let mut client = world.client().await;
    client.send(world.head("GET", "/mcp", &[])).await;
    client.head().await;
    for event in &events {
        world.provider.nudge.notify_one();
        assert!(client.chunk().await.unwrap() == *event);
    }
}

/// Sends the pieces each as a chunk, and gives what the app got of the body and whether it came to its end.
async fn passed(world: &World, coding: &str, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let chunks = pieces.iter().map(|piece| chunk(piece));
    let last = b"0\r\n\r\n".to_vec();
    let script: Vec<Vec<u8>> = std::iter::once(head(coding)).chain(chunks).chain([last]).collect();
    let count = script.len();
    world.provider.forget();
    world.provider.will(Script::Pieces(script));
    let mut client = world.client().await;
    client.send(world.head("GET", "/api/vehicles", &["Connection: close"])).await;
    world.provider.until(|provider| provider.seen().len() == 1).await;
    for _ in 0..count {
        world.provider.nudge.notify_one();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (got, _) = client.rest().await;
    (unchunked(&got), got.ends_with(b"0\r\n\r\n"))
}

#[tokio::test]
async fn a_long_brotli_body_passes_only_without_the_token() {
    const BODIES: [(bool, &[u8]); 4] = [
        (false, include_bytes!("../data/token-none.br")),
        (true, include_bytes!("../data/token-start.br")),
        (true, include_bytes!("../data/token-middle.br")),
        (true, include_bytes!("../data/token-end.br")),
    ];
    let world = World::new().await;
    for (holds, body) in BODIES {
        let plain = String::from_utf8(opened("br", body)).unwrap();
        assert!(plain.len() > 65_536 && plain.contains(TOKEN) == holds);
        for cut in (1..body.len()).step_by(40).chain([body.len() - 1]) {
            let (got, to_its_end) = passed(&world, "br", &[&body[..cut], &body[cut..]]).await;
            assert!(got == body || holds, "{cut}");
            assert!(to_its_end != holds && !String::from_utf8_lossy(&opened("br", &got)).contains(TOKEN), "{cut}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_not_in_its_coding_is_cut_off_and_a_token_before_the_fault_kept_back() {
    let world = World::new().await;
    let mut coder = GzEncoder::new(Vec::new(), Compression::best());
    coder.write_all(format!("{{\"token\":\"{TOKEN}\"}}").as_bytes()).unwrap();
    coder.flush().unwrap();
    let (token, fault) = (coder.get_ref().clone(), vec![0xff; 300]);
    for pieces in [vec![&*[&*token, &*fault].concat()], vec![&token, &fault], vec![&token[..30], &token[30..], &fault]]
    {
        let (got, to_its_end) = passed(&world, "gzip", &pieces).await;
        assert!(!to_its_end && got.len() < token.len(), "{}", got.len());
    }
    let whole = coded("gzip", "{\"a\":1}");
    let (got, to_its_end) = passed(&world, "gzip", &[&whole, &fault]).await;
    assert!(!to_its_end && got == whole);
}

#[tokio::test]
async fn text_that_only_says_that_it_is_compressed_is_looked_into_as_it_is() {
    let world = World::new().await;
    for coding in ["gzip", "deflate", "br"] {
        for text in ["{\"a\":1}".to_owned(), "{\"some\":\"text before it\"}".repeat(9)] {
            let (first, second) = text.as_bytes().split_at(5);
            let (got, to_its_end) = passed(&world, coding, &[first, second]).await;
            assert!(to_its_end && got == text.as_bytes(), "{coding}");
            let (begin, end) = TOKEN.as_bytes().split_at(9);
            let (got, to_its_end) = passed(&world, coding, &[&[text.as_bytes(), begin].concat(), end, second]).await;
            assert!(!to_its_end && got == text.as_bytes(), "{coding}");
        }
    }
}

#[tokio::test]
async fn answers_without_a_body_pass_whatever_their_coding() {
    let world = World::new().await;
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let named = [("content-encoding", coding)];
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: 500\r\n\r\n");
        world.provider.will_answer(head);
        let got = world.call("HEAD", "/api/vehicles", &[]).await;
        assert_eq!((got.status, got.one("content-length"), got.one("content-encoding")), (200, "500", coding));
        for status in ["204 No Content", "304 Not Modified"] {
            world.provider.will_answer(format!("HTTP/1.1 {status}\r\ncontent-encoding: {coding}\r\n\r\n"));
            let got = world.get("/api/vehicles").await;
            assert_eq!((got.head.contains(status), got.body.len(), got.one("content-encoding")), (true, 0, coding));
        }
        world.provider.will_answer(answer("200 OK", &named, ""));
        let got = world.get("/api/vehicles").await;
        assert_eq!((got.status, got.one("content-length"), got.text().as_str()), (200, "0", ""));
        if coding != "zstd" {
            assert_eq!(passed(&world, coding, &[]).await, (Vec::new(), true), "{coding}");
        }
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_looked_into_is_not_passed_on_where_a_token_was_sent() {
    let world = World::new().await;
    for coding in ["zstd", "gzip, br", "compress", "x"] {
        world.provider.will_answer(answer("200 OK", &[("content-encoding", coding)], "body"));
        world.get("/api/vehicles").await.refuses(502, "upstream_protocol_error");
        // No token was sent with this one.
        world.provider.will_answer(answer("200 OK", &[("content-encoding", coding)], "body"));
        assert_eq!(world.get("/api/software").await.text(), "body");
        world.provider.will_answer(answer("304 Not Modified", &[("content-encoding", coding)], ""));
        assert_eq!(world.get("/api/vehicles").await.status, 304);
    }
    for coding in ["identity", "", "Identity"] {
        world.provider.will_answer(answer("200 OK", &[("content-encoding", coding)], "body"));
        assert_eq!(world.get("/api/vehicles").await.text(), "body");
    }
}

#[tokio::test]
async fn only_codings_that_can_be_looked_into_are_asked_for() {
    let world = World::new().await;
    for (asked, sent) in [
        ("gzip", "gzip"),
        ("gzip,  deflate;q=0.5", "gzip,  deflate;q=0.5"),
        ("identity;q=1, *;q=0", "identity;q=1, *;q=0"),
        ("gzip, deflate, br, zstd", "gzip, deflate, br"),
        ("zstd;q=1.0, GZIP;q=0.8, *;q=0.1", "GZIP;q=0.8"),
        ("zstd", "identity"),
        ("zstd;q=0, x-gzip", "zstd;q=0, x-gzip"),
        ("", ""),
    ] {
        world.provider.forget();
        world.call("GET", "/api/vehicles", &[&format!("Accept-Encoding: {asked}")]).await;
        assert_eq!(world.provider.one().values("accept-encoding").join("|"), sent, "{asked}");
        world.provider.forget();
        world.call("GET", "/api/software", &[&format!("Accept-Encoding: {asked}")]).await;
        assert_eq!(world.provider.one().values("accept-encoding").join("|"), asked);
    }
    world.provider.forget();
    world.get("/api/vehicles").await;
    assert!(!world.provider.one().names().contains(&"accept-encoding".to_owned()));
}

#[tokio::test]
async fn a_body_that_was_compressed_for_the_way_is_not_passed_on_where_a_token_was_sent() {
    let world = World::new().await;
    let token = coded("gzip", &format!("{{\"token\":\"{TOKEN}\"}}"));
    let ended = [chunk(&token), b"0\r\n\r\n".to_vec()].concat();
    for (codings, body) in [
        ("gzip, chunked", &ended),
        ("gzip\r\nTransfer-Encoding: chunked", &ended),
        ("Chunked, gzip", &token),
        ("gzip", &token),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: {codings}\r\n\r\n");
        world.provider.will(Script::AnswerAndClose([head.as_bytes(), body].concat()));
        world.get("/api/vehicles").await.refuses(502, "upstream_protocol_error");
    }
    for chunked in ["chunked", "Chunked"] {
        let head = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {chunked}\r\n\r\n");
        world.provider.will_answer(head + "2\r\n{}\r\n0\r\n\r\n");
        assert_eq!(world.get("/api/vehicles").await.text(), "{}");
    }
}

#[tokio::test]
async fn a_coding_that_is_said_to_be_of_this_hop_alone_is_looked_into_all_the_same() {
    let world = World::new().await;
    // Long enough not to be stored as it is.
    let body = coded("gzip", &format!("{}{TOKEN}", "no token yet ".repeat(99)));
    let head = "HTTP/1.1 200 OK\r\nconnection: Content-Encoding\r\ncontent-encoding: gzip\r\n";
    let head = format!("{head}transfer-encoding: chunked\r\n\r\n");
    world.provider.will_answer([head.as_bytes(), &chunk(&body), b"0\r\n\r\n"].concat());
    let mut client = world.client().await;
    client.send(world.head("GET", "/api/vehicles", &["Connection: close"])).await;
    let (got, _) = client.rest().await;
    assert!(!got.ends_with(b"0\r\n\r\n"));
    assert!(super::provider::find(&opened("gzip", &unchunked(&got)), TOKEN.as_bytes()).is_none());
}
