//! Any answer that can be put together from what providers say, well and badly, is taken as hyper's client takes it.

use super::*;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;

/// One of these, which `|` parts.
fn any_of(all: &'static str) -> impl Strategy<Value = &'static str> {
    select(all.split('|').collect::<Vec<_>>())
}

fn line() -> impl Strategy<Value = String> {
    let framing = any_of(
        "content-length: 5|Content-Length:5|content-length: 5 |content-length: 05|content-length: 0|\
            content-length: 6|content-length: +5|content-length: 5,5|content-length: 5, 5|content-length: |\
            content-length: -1|content-length: 0x5|content-length: 18446744073709551615|\
            content-length: 18446744073709551616|transfer-encoding: chunked|Transfer-Encoding: Chunked|\
            transfer-encoding: gzip, chunked|transfer-encoding: chunked, gzip|transfer-encoding: identity|\
            transfer-encoding: chunked, chunked|transfer-encoding: |transfer-encoding : chunked",
    );
    let other = any_of(
        "connection: close|connection: keep-alive|connection: x, CLOSE|connection: closed|x: y|x:|x: \u{e9}|\
            no colon|: no name|x y: z| folded|x\0: y|x: a\rb|upgrade: h2c",
    );
    let good = any_of("content-length: 5|transfer-encoding: chunked|x: y|connection: keep-alive");
    prop_oneof![6 => good, 2 => framing, 1 => other].prop_map(str::to_owned)
}

/// A head's end of line, now and then a wrong one.
fn newline() -> impl Strategy<Value = &'static str> {
    prop_oneof![150 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("\r\r\n")]
}

fn head() -> impl Strategy<Value = String> {
    let first = prop_oneof![
        12 => Just("HTTP/1.1 200 OK"),
        4 => any_of("HTTP/1.0 200 OK|HTTP/1.1 204 No Content|HTTP/1.1 304 Not Modified|HTTP/1.1 100 Continue|\
            HTTP/1.1 103 Early Hints|HTTP/1.1 101 Switching Protocols|HTTP/1.1 200|HTTP/1.1 999 Odd|\
            HTTP/1.1 099 Odd|HTTP/2.0 200 OK|http/1.1 200 OK|HTTP/1.1  200 OK|HTTP/1.0 100 Continue"),
    ];
    let lines = prop::collection::vec((line(), newline()), 0..4);
    (first, newline(), lines, newline()).prop_map(|(first, end, lines, blank)| {
        let lines = lines.into_iter().fold(String::new(), |head, (line, end)| head + &line + end);
        format!("{first}{end}{lines}{blank}")
    })
}

fn chunk() -> impl Strategy<Value = String> {
    let size = any_of(
        "5|05|5 |5\t| 5|5;a=b|5 ;a|5;a\rb|5;\u{e9}|+5|0x5|-5||;|5 5|5\r|5\u{c}|0000000000000005|\
            00000000000000005|ffffffffffffffff|10000000000000000|4|6",
    );
    let good = prop_oneof![7 => Just("5"), 1 => size];
    (good, newline(), newline()).prop_map(|(size, begin, end)| format!("{size}{begin}hello{end}"))
}

/// A body and the header that frames it.
fn body() -> impl Strategy<Value = (&'static str, String)> {
    let trailer = any_of("|a: b|a:|a|: b| a: b|a : b|a: b\rc|a: b\nc: d|HTTP/1.1 200 OK|content-length: 5|a\0: b");
    let last = prop_oneof![6 => Just("0"), 1 => Just("00"), 1 => Just("0;x"), 1 => Just("0 "), 1 => Just("")];
    let trailers = prop::collection::vec((trailer, newline()), 0..2);
    let chunks = (prop::collection::vec(chunk(), 0..3), last, newline(), trailers, newline());
    let chunked = chunks.prop_map(|(chunks, last, end, trailers, blank)| {
        let trailers = trailers.into_iter().fold(String::new(), |all, (line, end)| all + line + end);
        format!("{}{last}{end}{trailers}{blank}", chunks.concat())
    });
    let with = |framing: &'static str| move |body: String| (framing, body);
    prop_oneof![
        4 => chunked.prop_map(with("transfer-encoding: chunked\r\n")),
        2 => Just("hello".to_owned()).prop_map(with("content-length: 5\r\n")),
        1 => "[a-z\r\n]{0,12}".prop_map(with("")),
        1 => Just(String::new()).prop_map(with("")),
    ]
}

fn answer() -> impl Strategy<Value = String> {
    let begun = prop::collection::vec(head(), 0..2);
    let interim = prop_oneof![4 => Just(vec![]), 1 => begun];
    let more = prop_oneof![8 => Just(String::new()), 1 => Just("x".to_owned()), 1 => head()];
    (interim, head(), body(), any::<bool>(), more).prop_map(|(interim, mut head, (framing, body), fits, more)| {
        if fits {
            head = head.replacen("\r\n", &format!("\r\n{framing}"), 1);
        }
        interim.concat() + &head + &body + &more
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6_000))]

    #[test]
    fn any_answer_is_taken_as_hypers_client_takes_it_or_more_strictly(
        answer in answer(),
        reads in prop_oneof![Just(usize::MAX), 1_usize..40],
        cut in prop_oneof![4 => Just(usize::MAX), 1 => 0_usize..200],
        asks_for_the_head in prop::bool::weighted(0.15),
        after in select(vec![After::End, After::Reset, After::Nothing]),
    ) {
        let method = if asks_for_the_head { Method::HEAD } else { Method::GET };
        let bytes = &answer.as_bytes()[..answer.len().min(cut)];
        let _ = agree(&method, bytes, reads, after);
    }
}

/// Otherwise the property above might hold of answers that nobody can read.
#[test]
fn many_of_these_answers_are_whole_and_many_are_not() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut whole, mut cut, mut stricter, mut again) = (0, 0, 0, 0);
    for _ in 0..1_000 {
        let answer = answer().new_tree(&mut runner).unwrap().current();
        let [ours, hypers] = agree(&Method::GET, answer.as_bytes(), usize::MAX, After::Nothing);
        match (ours.outcome, hypers.outcome) {
            (Outcome::Whole, _) => whole += 1,
            (_, Outcome::Whole) => stricter += 1,
            _ => cut += 1,
        }
        again += usize::from(ours.again);
    }
    assert!(whole > 100 && cut > 100 && stricter > 10 && again > 50, "{whole} {cut} {stricter} {again}");
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

#[test]
fn where_the_two_differ_it_is_on_purpose() {
    let whole = |method, bytes: &str, after| {
        let taken = agree(method, bytes.as_bytes(), usize::MAX, after);
        taken.map(|taken| (taken.outcome == Outcome::Whole, taken.again))
    };
    let (get, head) = (&Method::GET, &Method::HEAD);
    for (method, after, bytes) in [
        (get, After::End, "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nx".to_owned()),
        (get, After::End, "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nx".to_owned()),
        (get, After::End, "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned()),
        (get, After::End, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n".to_owned()),
        (get, After::End, CHUNKED.replace("\r\n\r\n", "\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")),
        (head, After::End, "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned()),
        (head, After::End, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".to_owned()),
        (get, After::End, "HTTP/1.1 304 Not Modified\r\ncontent-length: x\r\n\r\n".to_owned()),
        (get, After::End, CHUNKED.replace("\r\n\r\n", "\r\ncontent-length: x\r\n\r\n0\r\n\r\n")),
        (get, After::End, "HTTP/1.1 200 OK\r\ncontent-length: 1, 1\r\n\r\nx".to_owned()),
        (get, After::End, CHUNKED.to_owned() + "00000000000000001\r\nx\r\n0\r\n\r\n"),
        (get, After::End, CHUNKED.to_owned() + "0\r\na: b\n\r\n\r\n"),
        (get, After::End, format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(65 * 1024))),
    ] {
        assert_eq!(whole(method, &bytes, after).map(|(whole, _)| whole), [false, true], "{bytes:.120}");
    }
    // A line may be longer than hyper thinks, and a connection ends sooner.
    let extensions = format!("1;{}\r\nx\r\n", "y".repeat(12 * 1024)).repeat(2);
    assert!(whole(get, &format!("{CHUNKED}{extensions}0\r\n\r\n"), After::End)[0].0);
    for bytes in [
        "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n",
        "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n",
    ] {
        assert_eq!(whole(get, bytes, After::Nothing), [(true, false), (true, true)], "{bytes}");
    }
}
