//! Where bodies end, however their bytes come.

use super::*;
use proptest::prelude::*;

const CHUNKED: Framing = Framing::Chunked(Chunked::Size);

/// What is taken of a body that comes in these pieces, what is left, and whether it is still fine.
fn take(mut framing: Framing, pieces: &[&[u8]]) -> (Vec<u8>, Vec<u8>, Result<Framing, Malformed>) {
    let (mut unread, mut body) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        unread.extend_from_slice(piece);
        loop {
            match framing.take(&mut unread) {
                Ok(Some(chunk)) => {
                    assert!(!chunk.is_empty());
                    body.extend_from_slice(&chunk);
                }
                Ok(None) => break,
                Err(Malformed) => {
                    // And so it is whatever comes.
                    let left = unread.to_vec();
                    unread.extend_from_slice(b"\r\n0\r\n\r\n");
                    assert_eq!(framing.take(&mut unread), Err(Malformed));
                    return (body, left, Err(Malformed));
                }
            }
        }
    }
    (body, unread.to_vec(), Ok(framing))
}

/// Whole, in one piece and byte by byte.
#[track_caller]
fn is(bytes: &str, body: &str, left: &str) {
    let over = Ok(Framing::Chunked(Chunked::Over));
    let expected = (body.as_bytes().to_vec(), left.as_bytes().to_vec(), over);
    assert_eq!(take(CHUNKED, &[bytes.as_bytes()]), expected, "{bytes:?}");
    assert_eq!(take(CHUNKED, &bytes.as_bytes().chunks(1).collect::<Vec<_>>()), expected, "{bytes:?}");
}

/// Malformed after this much of a body.
#[track_caller]
fn breaks(bytes: &str, body: &str) {
    for pieces in [vec![bytes.as_bytes()], bytes.as_bytes().chunks(1).collect()] {
        let (taken, _, end) = take(CHUNKED, &pieces);
        assert_eq!((String::from_utf8_lossy(&taken).as_ref(), end), (body, Err(Malformed)), "{bytes:?}");
    }
}

#[test]
fn chunks_are_taken_apart_and_their_extensions_and_trailers_thrown_away() {
    is("0\r\n\r\n", "", "");
    is("5\r\nhello\r\n0\r\n\r\n", "hello", "");
    is("5\r\nhello\r\n0\r\n\r\nHTTP/1.1", "hello", "HTTP/1.1");
    is("00005\r\nhello\r\n1 \t;x=\"y\"\r\n!\r\n000;last\r\nA: b\r\nc:\r\n\r\n\r\n", "hello!", "\r\n");
    is("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", "");
    is("0000000000000001\r\nx\r\n0000000000000000\r\n\r\n", "x", "");
    is("2\r\n\r\n\r\n4\r\n0\r\n\r\r\n0\r\n\r\n", "\r\n0\r\n\r", "");
}

#[test]
fn a_size_that_is_none_ends_it_after_what_was_good() {
    for size in [
        "",
        " ",
        "+5",
        "-5",
        "0x5",
        " 5",
        "5 5",
        "5,",
        "g",
        "5h",
        "\u{665}",
        "5\r",
        "5\u{c}",
        "5\0",
        "5;a\rb",
        ";5",
        "\t5",
        "00000000000000005",
        "10000000000000000",
    ] {
        breaks(&format!("{size}\r\nhello\r\n0\r\n\r\n"), "");
        breaks(&format!("5\r\nhello\r\n{size}\r\nagain\r\n0\r\n\r\n"), "hello");
    }
    // The largest there is.
    let (body, left, framing) = take(CHUNKED, &[b"ffffffffffffffff\r\nhello"]);
    assert_eq!((&*body, &*left), (&b"hello"[..], &b""[..]));
    assert_eq!(framing, Ok(Framing::Chunked(Chunked::Data(u64::MAX - 5))));
}

#[test]
fn lines_end_with_crlf_and_nothing_else() {
    breaks("5\nhello\r\n0\r\n\r\n", "");
    breaks("5;a\nhello\r\n0\r\n\r\n", "");
    breaks("5\r\nhello\n0\r\n\r\n", "hello");
    breaks("5\r\nhello\r0\r\n\r\n", "hello");
    breaks("5\r\nhello0\r\n\r\n", "hello");
    breaks("5\r\nhello!\r\n0\r\n\r\n", "hello");
    breaks("5\r\nhello\r\n0\n\r\n", "hello");
    breaks("5\r\nhello\r\n0\r\n\n", "hello");
    breaks("5\r\nhello\r\n0\r\na: b\n\r\n", "hello");
    breaks("5\r\nhello\r\n0\r\na: b\rc: d\r\n\r\n", "hello");
}

#[test]
fn trailers_are_headers_and_not_more_than_a_hundred() {
    for trailer in ["a", ": b", " a: b", "a : b", "a b: c", "HTTP/1.1 200 OK", "a: \0"] {
        breaks(&format!("1\r\nx\r\n0\r\n{trailer}\r\n\r\n"), "x");
    }
    is(&format!("0\r\n{}\r\n", "a: b\r\n".repeat(100)), "", "");
    breaks(&format!("0\r\n{}\r\n", "a: b\r\n".repeat(101)), "");
}

#[test]
fn a_line_is_not_waited_for_beyond_sixteen_kilobytes() {
    let padded = |before: &str, length: usize| before.to_owned() + &"x".repeat(length - before.len() - 2) + "\r\n";
    is(&(padded("1;", LONGEST_LINE) + "x\r\n0\r\n" + &padded("a: ", LONGEST_LINE) + "\r\n"), "x", "");
    breaks(&(padded("1;", LONGEST_LINE + 1) + "x\r\n0\r\n\r\n"), "");
    breaks(&("0\r\n".to_owned() + &padded("a: ", LONGEST_LINE + 1) + "\r\n"), "");
    // Without an end it is not kept either.
    breaks(&("1;".to_owned() + &"x".repeat(LONGEST_LINE - 2)), "");
    let (.., framing) = take(CHUNKED, &[("1;".to_owned() + &"x".repeat(LONGEST_LINE - 3)).as_bytes()]);
    assert_eq!(framing, Ok(CHUNKED));
}

#[test]
fn a_length_takes_so_many_bytes_and_leaves_the_rest() {
    let taken = |length, bytes: &'static [u8]| take(Framing::Length(length), &[bytes]);
    assert_eq!(taken(3, b"hello"), (b"hel".to_vec(), b"lo".to_vec(), Ok(Framing::Length(0))));
    assert_eq!(taken(5, b"hello"), (b"hello".to_vec(), vec![], Ok(Framing::Length(0))));
    assert_eq!(taken(6, b"hello"), (b"hello".to_vec(), vec![], Ok(Framing::Length(1))));
    assert_eq!(taken(0, b"hello"), (vec![], b"hello".to_vec(), Ok(Framing::Length(0))));
    assert_eq!(taken(u64::MAX, b"hello"), (b"hello".to_vec(), vec![], Ok(Framing::Length(u64::MAX - 5))));
    assert_eq!(take(Framing::UntilClose, &[b"hel", b"lo"]), (b"hello".to_vec(), vec![], Ok(Framing::UntilClose)));
    let ends = [Framing::Length(0), Framing::Chunked(Chunked::Over)].map(|framing| framing.is_end());
    let goes_on = [Framing::Length(1), Framing::UntilClose, CHUNKED, Framing::Chunked(Chunked::Trailers(0))];
    assert_eq!((ends, goes_on.map(|framing| framing.is_end())), ([true; 2], [false; 4]));
}

#[test]
fn the_end_is_known_with_the_last_byte_of_the_body_when_it_is_here() {
    let mut unread = BytesMut::from(&b"1\r\nx\r\n0\r\na: b\r\n\r\n"[..]);
    let mut framing = CHUNKED;
    assert_eq!(framing.take(&mut unread), Ok(Some(Bytes::from_static(b"x"))));
    assert!(framing.is_end() && unread.is_empty());
    // And what is malformed right after it does not take it away.
    let mut unread = BytesMut::from(&b"1\r\nx\r\nzz\r\n"[..]);
    let mut framing = CHUNKED;
    assert_eq!(framing.take(&mut unread), Ok(Some(Bytes::from_static(b"x"))));
    assert_eq!([framing.take(&mut unread), framing.take(&mut unread)], [Err(Malformed), Err(Malformed)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_bytes_are_the_same_body_however_they_are_cut(
        bytes in "([0-2]{0,2}[+; a]?(\r\n|\r|\n)[x\r\n]{0,3}){0,6}",
        chunks in prop::collection::vec(1_usize..6, 1..12),
        framing in prop_oneof![
            6 => Just(CHUNKED),
            1 => (0_u64..20).prop_map(Framing::Length),
            1 => Just(Framing::UntilClose),
        ],
    ) {
        let mut rest = bytes.as_bytes();
        let mut pieces = Vec::new();
        for size in chunks.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, more) = rest.split_at(size.min(rest.len()));
            pieces.push(piece);
            rest = more;
        }
        let (cut, uncut) = (take(framing, &pieces), take(framing, &[bytes.as_bytes()]));
        prop_assert_eq!(&cut.0, &uncut.0);
        prop_assert_eq!(cut.2, uncut.2);
        if uncut.2.is_ok() {
            prop_assert_eq!(&cut.1, &uncut.1);
        }
    }

    #[test]
    fn any_body_in_any_chunks_comes_out_as_it_went_in(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
        reads in 1_usize..60,
        upper in any::<bool>(),
    ) {
        let encoded = chunks.iter().map(|chunk| {
            let size = if upper { format!("{:X};x\r\n", chunk.len()) } else { format!("{:x}\r\n", chunk.len()) };
            [size.as_bytes(), chunk, b"\r\n"].concat()
        });
        let bytes = [encoded.collect::<Vec<_>>().concat(), b"0\r\n\r\nmore".to_vec()].concat();
        let (body, left, end) = take(CHUNKED, &bytes.chunks(reads).collect::<Vec<_>>());
        prop_assert_eq!(body, chunks.concat());
        prop_assert_eq!((&*left, end), (&b"more"[..], Ok(Framing::Chunked(Chunked::Over))));
    }
}
