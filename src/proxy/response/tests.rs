//! Heads, whole and in pieces, good and bad.

use super::*;
use proptest::prelude::*;

const GET: Method = Method::GET;

/// The head of these bytes, which is the same however they come, and what is left.
#[track_caller]
fn head_for(method: &Method, bytes: &[u8]) -> Result<Option<(Head, Vec<u8>)>, Malformed> {
    let mut unread = BytesMut::from(bytes);
    let at_once = take_head(&mut unread, method).map(|head| head.map(|head| (head, unread.to_vec())));
    let mut unread = BytesMut::new();
    for (at, byte) in bytes.iter().enumerate() {
        unread.extend_from_slice(&[*byte]);
        match (take_head(&mut unread, method), &at_once) {
            (Ok(None), _) => assert!(at + 1 < bytes.len() || matches!(at_once, Ok(None))),
            (Ok(Some(head)), Ok(Some((whole, left)))) => {
                assert_eq!((head.status, &head.headers), (whole.status, &whole.headers));
                assert_eq!((head.framing, head.lasts), (whole.framing, whole.lasts));
                assert!(unread.is_empty() && bytes[at + 1..] == left[..]);
                break;
            }
            (Err(Malformed), Err(Malformed)) => break,
            (Ok(Some(_)) | Err(Malformed), _) => panic!("byte by byte it is another: {bytes:?}"),
        }
    }
    at_once
}

/// How the body is framed, and whether the connection lasts.
#[track_caller]
fn framed(method: &Method, bytes: &str) -> Result<(Framing, bool), Malformed> {
    let (head, left) = head_for(method, bytes.as_bytes())?.expect("the head is whole");
    assert!(left.is_empty());
    Ok((head.framing, head.lasts))
}

#[track_caller]
fn length(lines: &str) -> Result<Framing, Malformed> {
    framed(&GET, &format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).map(|(framing, _)| framing)
}

const CHUNKED: Framing = Framing::Chunked(Chunked::Size);

#[test]
fn a_length_is_one_number_however_often_it_stands_there() {
    assert_eq!(length("content-length: 5\r\n"), Ok(Framing::Length(5)));
    assert_eq!(length("Content-Length:  005 \t\r\n"), Ok(Framing::Length(5)));
    assert_eq!(length("content-length: 5\r\nx: y\r\ncontent-length: 5\r\n"), Ok(Framing::Length(5)));
    assert_eq!(length("content-length: 18446744073709551615\r\n"), Ok(Framing::Length(u64::MAX)));
    assert_eq!(length("content-length: 0\r\n"), Ok(Framing::Length(0)));
    assert_eq!(length("x: y\r\n"), Ok(Framing::UntilClose));
    for value in
        ["", " ", "+5", "-5", "5,5", "5, 5", "5 5", "0x5", "5.0", "a", "18446744073709551616", "\u{665}", "5\u{a0}"]
    {
        assert_eq!(length(&format!("content-length: {value}\r\n")), Err(Malformed), "{value:?}");
        assert_eq!(length(&format!("content-length: 5\r\ncontent-length: {value}\r\n")), Err(Malformed), "{value:?}");
    }
    assert_eq!(length("content-length: 5\r\ncontent-length: 6\r\n"), Err(Malformed));
}

#[test]
fn chunks_are_the_only_transfer_coding_and_stand_above_a_length() {
    assert_eq!(length("transfer-encoding: chunked\r\n"), Ok(CHUNKED));
    assert_eq!(length("Transfer-Encoding:\tCHUNKED \r\n"), Ok(CHUNKED));
    for coding in [
        "",
        "gzip",
        "identity",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked;q=1",
        "xchunked",
        "chunked,",
    ] {
        assert_eq!(length(&format!("transfer-encoding: {coding}\r\n")), Err(Malformed), "{coding:?}");
    }
    for twice in [
        "chunked\r\ntransfer-encoding: chunked",
        "chunked\r\ntransfer-encoding: gzip",
        "gzip\r\ntransfer-encoding: chunked",
    ] {
        assert_eq!(length(&format!("transfer-encoding: {twice}\r\n")), Err(Malformed), "{twice:?}");
    }
    let both = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n";
    let (head, _) = head_for(&GET, both.as_bytes()).unwrap().unwrap();
    assert_eq!((head.framing, head.headers.get(CONTENT_LENGTH)), (CHUNKED, None));
    assert_eq!(length("content-length: x\r\ntransfer-encoding: chunked\r\n"), Err(Malformed));
    assert_eq!(framed(&GET, "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"), Err(Malformed));
}

#[test]
fn some_answers_have_no_body_whatever_they_say() {
    for lines in ["", "content-length: 5\r\n", "transfer-encoding: chunked\r\n"] {
        let none = |method, status| framed(method, &format!("HTTP/1.1 {status}\r\n{lines}\r\n")).unwrap();
        for (method, status) in [(&Method::HEAD, "200 OK"), (&Method::HEAD, "404 Gone"), (&GET, "304 Not Modified")] {
            assert_eq!(none(method, status), (Framing::Length(0), true), "{status} {lines}");
        }
        assert_eq!(none(&GET, "204 No Content"), (Framing::Length(0), lines.is_empty()), "{lines}");
        assert_eq!(none(&GET, "101 Switching Protocols"), (Framing::Length(0), false), "{lines}");
    }
    assert_eq!(framed(&GET, "HTTP/1.1 204 X\r\ncontent-length: 0\r\n\r\n"), Ok((Framing::Length(0), true)));
    assert_eq!(framed(&Method::POST, "HTTP/1.1 205 X\r\n\r\n"), Ok((Framing::UntilClose, true)));
}

#[test]
fn interim_answers_are_passed_over_and_the_switch_of_protocols_is_none() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\ncontent-length: 9\r\n\r\nHTTP/1.0 199 X\r\n\r\n";
    let bytes = format!("{interim}HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno");
    let (head, left) = head_for(&GET, bytes.as_bytes()).unwrap().unwrap();
    assert_eq!((head.status.as_u16(), head.headers.len(), &*left), (404, 1, &b"no"[..]));
    assert!(head_for(&GET, interim.as_bytes()).unwrap().is_none());
    assert!(head_for(&GET, (interim.to_owned() + "HTTP/1.1 20").as_bytes()).unwrap().is_none());
    assert!(head_for(&GET, (interim.to_owned() + "garbage\r\n\r\n").as_bytes()).is_err());
    let (head, left) = head_for(&GET, b"HTTP/1.1 101 X\r\nupgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n").unwrap().unwrap();
    assert_eq!((head.status.as_u16(), left.len(), head.lasts), (101, 19, false));
}

#[test]
fn a_connection_lasts_unless_it_is_old_or_somewhere_says_close() {
    let lasts = |head: &str| framed(&GET, &format!("{head}\r\ncontent-length: 0\r\n\r\n")).unwrap().1;
    for lines in
        ["", "\r\nconnection: keep-alive", "\r\nconnection: closed, x-close", "\r\nconnection:", "\r\nclose: close"]
    {
        assert!(lasts(&format!("HTTP/1.1 200 OK{lines}")), "{lines}");
    }
    for value in [
        "close",
        "CLOSE",
        " Close ",
        "keep-alive, close",
        "a,\tclose\t,b",
        ",close",
        "\u{e9}, close",
        "x\r\nconnection: close",
    ] {
        assert!(!lasts(&format!("HTTP/1.1 200 OK\r\nconnection: {value}")), "{value}");
    }
    assert!(!lasts("HTTP/1.1 200 OK\r\nconnection: close\r\nconnection: keep-alive"));
    assert!(!lasts("HTTP/1.0 200 OK"));
    assert!(!lasts("HTTP/1.0 200 OK\r\nconnection: keep-alive"));
    assert!(!lasts("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked"), "with a length beside chunks");
}

#[test]
fn headers_come_as_they_are_and_in_their_order() {
    let bytes = b"HTTP/1.1 200 OK\r\nX-Empty:\r\nx-blank: \t \r\nx-latin: \xe9\xff\r\nX-Twice: 1\r\nx-twice:2\r\nx-inner: a \t b\r\n\r\n";
    let (head, _) = head_for(&GET, bytes).unwrap().unwrap();
    let headers: Vec<_> = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let expected: [(&str, &[u8]); 6] = [
        ("x-empty", b""),
        ("x-blank", b""),
        ("x-latin", b"\xe9\xff"),
        ("x-twice", b"1"),
        ("x-twice", b"2"),
        ("x-inner", b"a \t b"),
    ];
    assert_eq!(headers, expected);
}

#[test]
fn what_is_of_this_hop_goes_no_further_and_the_length_stays_whoever_names_it() {
    let bytes = b"HTTP/1.1 200 OK\r\nx-hop: 1\r\nConnection: X-Hop, content-length,, b\xe9d\r\ncontent-length: 5\r\nx-hop: 2\r\nx: y\r\n\r\n";
    let (head, _) = head_for(&GET, bytes).unwrap().unwrap();
    let mut names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!((names, head.framing, head.lasts), (vec!["content-length", "x"], Framing::Length(5), true));
    let bytes = b"HTTP/1.1 200 OK\r\nconnection: transfer-encoding, close\r\ntransfer-encoding: chunked\r\n\r\n";
    let (head, _) = head_for(&GET, bytes).unwrap().unwrap();
    assert_eq!((head.headers.len(), head.framing, head.lasts), (0, CHUNKED, false));
}

#[test]
fn what_is_no_head_is_refused() {
    for bytes in [
        "garbage\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 099 X\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\n x: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: y\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx\u{e9}: y\r\n\r\n",
        "HTTP/1.1 200 O\0K\r\n\r\n",
    ] {
        assert!(head_for(&GET, bytes.as_bytes()).is_err(), "{bytes:?}");
    }
    for status in ["200", "200 ", "299 Any thing \u{e9}", "999 Odd"] {
        assert!(head_for(&GET, format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).unwrap().is_some(), "{status}");
    }
}

#[test]
fn a_head_has_at_most_a_hundred_headers_and_64_kilobytes() {
    let many = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(count));
    assert_eq!(head_for(&GET, many(100).as_bytes()).unwrap().unwrap().0.headers.len(), 100);
    assert!(head_for(&GET, many(101).as_bytes()).is_err());
    let long = |length: usize| {
        let head = "HTTP/1.1 200 OK\r\nx: ";
        format!("{head}{}\r\n\r\n", "y".repeat(length - head.len() - 4))
    };
    let taken = |bytes: &str| take_head(&mut BytesMut::from(bytes), &GET).map(|head| head.is_some());
    assert_eq!(taken(&long(LONGEST)), Ok(true));
    // However long the body that comes with it.
    assert_eq!(taken(&(long(LONGEST) + &"z".repeat(LONGEST))), Ok(true));
    assert_eq!(taken(&long(LONGEST + 1)), Err(Malformed));
    assert_eq!(taken(&long(LONGEST)[..LONGEST - 1]), Ok(false));
    assert_eq!(taken(&long(LONGEST + 1)[..LONGEST]), Err(Malformed));
    // Each of several.
    assert_eq!(taken(&(long(LONGEST).replacen("200", "103", 1) + &long(LONGEST))), Ok(true));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_head_is_taken_alike_at_once_and_byte_by_byte(
        interim in any::<bool>(),
        lines in prop::collection::vec("[a-cX-Z-]{1,6}: ?[ -~\t]{0,12}", 0..6),
        damage in prop::option::weighted(0.3, (0_usize..80, any::<u8>())),
        body in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let lines = lines.iter().fold(String::new(), |lines, line| lines + line + "\r\n");
        let interim = if interim { "HTTP/1.1 103 X\r\n\r\n" } else { "" };
        let mut bytes = format!("{interim}HTTP/1.1 200 OK\r\n{lines}\r\n").into_bytes();
        bytes.extend_from_slice(&body);
        let whole = damage.is_none();
        if let Some((at, byte)) = damage {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let taken = head_for(&GET, &bytes);
        if whole {
            let (head, left) = taken.expect("it is well-formed").expect("it is whole");
            prop_assert_eq!((head.headers.len(), left), (lines.matches("\r\n").count(), body));
        }
    }
}
