use std::io::{BufReader, Read, Write as _};
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;

use super::*;

const TOKEN: &str = "eyJ0eXAi.CANARY-access-token.c2lnbmF0dXJl";

/// 64 KB without the token, and with it at three places. Nothing here writes brotli: these were made by Node's zlib.
const BROTLI: [(&str, &[u8]); 4] = [
    ("none", include_bytes!("../../../tests/data/token-none.br")),
    ("start", include_bytes!("../../../tests/data/token-start.br")),
    ("middle", include_bytes!("../../../tests/data/token-middle.br")),
    ("end", include_bytes!("../../../tests/data/token-end.br")),
];

fn text(place: &str) -> String {
    let lines = |count: u32| {
        let line = |n: u32| format!("{{\"n\":{},\"s\":\"closed\"}}\n", n * n % 97);
        (0..count).map(line).collect::<String>()
    };
    let token = format!("{{\"token\":\"{TOKEN}\"}}\n");
    match place {
        "none" => lines(3_000),
        "start" => token + &lines(3_000),
        "middle" => lines(1_500) + &token + &lines(1_500),
        _ => lines(3_000) + &token,
    }
}

/// Flushed at its end, but not ended.
fn begun(coding: &str, text: &str) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut coder = GzEncoder::new(Vec::new(), Compression::best());
            coder.write_all(text.as_bytes()).unwrap();
            coder.flush().unwrap();
            coder.get_ref().clone()
        }
        "deflate" => {
            let mut coder = ZlibEncoder::new(Vec::new(), Compression::best());
            coder.write_all(text.as_bytes()).unwrap();
            coder.flush().unwrap();
            coder.get_ref().clone()
        }
        "raw deflate" => {
            let mut coder = DeflateEncoder::new(Vec::new(), Compression::best());
            coder.write_all(text.as_bytes()).unwrap();
            coder.flush().unwrap();
            coder.get_ref().clone()
        }
        other => panic!("{other}"),
    }
}

fn whole(coding: &str, text: &str) -> Vec<u8> {
    let (text, level) = (text.as_bytes(), Compression::best());
    let mut coded = Vec::new();
    match coding {
        "gzip" => flate2::read::GzEncoder::new(text, level).read_to_end(&mut coded).unwrap(),
        "deflate" => flate2::read::ZlibEncoder::new(text, level).read_to_end(&mut coded).unwrap(),
        "raw deflate" => flate2::read::DeflateEncoder::new(text, level).read_to_end(&mut coded).unwrap(),
        other => panic!("{other}"),
    };
    coded
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

const CODINGS: [&str; 3] = ["gzip", "deflate", "raw deflate"];

fn coded(coding: &str) -> Coded {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_str(coding.trim_start_matches("raw ")).unwrap());
    Coded::of(&headers, TOKEN.as_bytes()).unwrap().unwrap()
}

/// What was passed on, and whether to the end.
fn pass<'a>(coding: &str, chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, bool) {
    let mut coded = coded(coding);
    let mut passed = Vec::new();
    for chunk in chunks {
        match coded.guard(Bytes::copy_from_slice(chunk)) {
            Guarded::Clean(chunk) => passed.extend_from_slice(&chunk),
            Guarded::Echo | Guarded::Broken => return (passed, false),
        }
    }
    passed.extend_from_slice(&coded.rest());
    (passed, true)
}

/// What an app can make of it that takes it in byte by byte, though it ends early or in a fault.
fn opened(coding: &str, passed: &[u8]) -> String {
    let bytes = BufReader::with_capacity(1, passed);
    let mut reader: Box<dyn Read> = match coding {
        "gzip" => Box::new(flate2::bufread::MultiGzDecoder::new(bytes)),
        "deflate" => Box::new(flate2::bufread::ZlibDecoder::new(bytes)),
        "raw deflate" => Box::new(flate2::bufread::DeflateDecoder::new(bytes)),
        "br" => Box::new(brotli_decompressor::Decompressor::new(passed, 1)),
        other => panic!("{other}"),
    };
    let (mut plain, mut some) = (Vec::new(), [0; 4_096]);
    while let Ok(length @ 1..) = reader.read(&mut some) {
        plain.extend_from_slice(&some[..length]);
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// In two at every place that a step leads to, and in pieces of one byte and of some.
fn cuts(body: &[u8], step: usize) -> Vec<Vec<&[u8]>> {
    let in_two = (0..=body.len()).step_by(step).map(|cut| vec![&body[..cut], &body[cut..]]);
    in_two.chain([1, 2, 7, 64, 4_096].map(|size| body.chunks(size).collect())).collect()
}

fn is_kept_back(coding: &str, body: &[u8], step: usize) {
    for chunks in cuts(body, step) {
        let first = chunks.first().map_or(0, |chunk| chunk.len());
        let (passed, to_the_end) = pass(coding, chunks);
        assert!(!to_the_end, "{coding}, {first}");
        assert!(!opened(coding, &passed).contains(&TOKEN[..8]), "{coding}, {first}");
    }
}

fn passes(coding: &str, body: &[u8], step: usize) {
    for chunks in cuts(body, step) {
        let first = chunks.first().map_or(0, |chunk| chunk.len());
        assert!(pass(coding, chunks) == (body.to_vec(), true), "{coding}, {first}");
    }
}

fn is_cut_off(coding: &str, body: &[u8]) {
    for chunks in cuts(body, 1 + body.len() / 60) {
        let first = chunks.first().map_or(0, |chunk| chunk.len());
        let (passed, to_the_end) = pass(coding, chunks);
        assert!(!to_the_end && passed.len() < body.len(), "{coding}, {first}");
    }
}

#[test]
fn a_token_anywhere_in_a_long_brotli_body_is_kept_back_wherever_it_is_cut() {
    for (place, body) in BROTLI {
        assert!(opened("br", body) == text(place), "{place}");
        if place == "none" {
            passes("br", body, 5);
        } else {
            is_kept_back("br", body, 2);
        }
    }
}

#[test]
fn a_token_anywhere_in_a_long_deflated_body_is_kept_back_wherever_it_is_cut() {
    for coding in CODINGS {
        passes(coding, &whole(coding, &text("none")), 17);
        for place in ["start", "middle", "end"] {
            is_kept_back(coding, &whole(coding, &text(place)), 17);
        }
    }
}

#[test]
fn events_in_brotli_pass_as_they_come() {
    let mut coded = coded("br");
    for event in ["8b0380646174613a300a0a", "3800805f4a21a606d1241c30", "3800805f4a41a606d0240030"] {
        let event = bytes(event);
        assert_eq!(coded.guard(event.clone().into()), Guarded::Clean(event.into()));
    }
}

#[test]
fn a_token_before_a_fault_is_kept_back_and_the_body_cut_off() {
    for coding in CODINGS {
        for place in ["start", "middle", "end"] {
            // A last block of a kind that there is not.
            let body = [begun(coding, &text(place)), vec![0xff; 40]].concat();
            assert!(opened(coding, &body).contains(TOKEN), "{coding}, {place}");
            is_kept_back(coding, &body, 19);
            assert_eq!(self::coded(coding).guard(body.into()), Guarded::Echo, "{coding}, {place}");
        }
        is_cut_off(
            coding,
            &[begun(coding, "no token, but text that is longer than one is said to be"), vec![0xff; 40]].concat(),
        );
    }
    is_cut_off("br", &[&BROTLI[0].1[..100], &[0xff; 400]].concat());
}

#[test]
fn what_only_says_that_it_is_compressed_passes_as_it_is() {
    let html = b"<html>not compressed at all, and long enough to hold a token of some length</html>";
    let json = "\u{feff}{\"name\":\"Z\u{fc}rich\",\"x\":[\r\n\t1]}".repeat(3);
    for coding in ["gzip", "deflate", "br"] {
        passes(coding, html, 1);
        passes(coding, json.as_bytes(), 1);
        // One that brotli takes for an empty body, and what is too short to say what it is.
        for text in ["3\n4\n5\n", "x", ""] {
            passes(coding, text.as_bytes(), 1);
        }
    }
    let image = [&[0xff, 0xd8, 0xff, 0xe0, 0, 16][..], &html[..]].concat();
    passes("gzip", &image, 1);
    for coding in ["deflate", "br"] {
        is_cut_off(coding, &image);
        // Wherever a chunk ends: what begins as a text must go on as one.
        is_cut_off(coding, &[&html[..], &image].concat());
    }
    // What begins as it should does not only say so.
    let endless_name = [&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3][..], &vec![b'-'; 70_000]].concat();
    assert!(!pass("gzip", endless_name.chunks(1_000)).1);
    // This is with a window of 1 GB, larger than RFC 7932 has it; some read such ones.
    is_cut_off("br", &bytes("111e0c00027b2261223a317d03"));
}

#[test]
fn every_member_is_looked_into_and_what_follows_the_end_is_not_passed_on() {
    let named = {
        let mut coded = Vec::new();
        let builder = flate2::GzBuilder::new().extra(&b"some"[..]).filename("a name").comment("a comment");
        builder.read(text("none").as_bytes(), Compression::best()).read_to_end(&mut coded).unwrap();
        coded
    };
    // The same with a checksum of its header too, of which no coder here writes one.
    let checked = {
        let header = named.len() - whole("gzip", &text("none")).len() + 10;
        let mut checked = named[..header].to_vec();
        checked[3] |= 2;
        let mut sum = flate2::Crc::new();
        sum.update(&checked);
        checked.extend_from_slice(&sum.sum().to_le_bytes()[..2]);
        [&checked, &named[header..]].concat()
    };
    let (clean, token) = (whole("gzip", "{\"a\":1}"), whole("gzip", &text("middle")));
    assert_eq!(checked.len(), named.len() + 2);
    for header in [&named, &checked] {
        assert!(opened("gzip", header) == text("none"));
        passes("gzip", header, 1);
        passes("gzip", &[&clean[..], header, &clean].concat(), 13);
        is_kept_back("gzip", &[&header[..], &clean, &token].concat(), 13);
    }
    let apart = text("start").replace(TOKEN, &TOKEN[..20]);
    let at = apart.find(&TOKEN[..20]).unwrap() + 20;
    is_kept_back(
        "gzip",
        &[whole("gzip", &apart[..at]), whole("gzip", &(TOKEN[20..].to_owned() + &apart[at..]))].concat(),
        13,
    );
    // Some read on after a member that is followed by zeros, or that has not the checksum it says.
    for between in [&b"\0\0"[..], b"x"] {
        is_cut_off("gzip", &[&clean[..], between, &token].concat());
    }
    for coding in ["deflate", "raw deflate"] {
        let clean = whole(coding, "{\"a\":1}");
        is_cut_off(coding, &[clean, whole(coding, &text("middle"))].concat());
    }
    is_cut_off("br", &[BROTLI[0].1, BROTLI[2].1].concat());
}

#[test]
fn a_raw_deflated_body_that_begins_like_a_zlib_one_is_looked_into_all_the_same() {
    // A stored block of which the unused bits make a zlib header of it: 0x78 0x01, and not 0x00 0x01.
    let stored = |text: &[u8]| {
        let length = u16::try_from(text.len()).unwrap();
        [&[0x78][..], &length.to_le_bytes(), &(!length).to_le_bytes(), text].concat()
    };
    let filler = vec![b'-'; 0x0101];
    let clean = [stored(&filler), whole("raw deflate", &text("none"))].concat();
    assert_eq!(clean[..2], [0x78, 0x01]);
    passes("raw deflate", &clean, 23);
    is_kept_back("raw deflate", &[stored(&filler), whole("raw deflate", &text("middle"))].concat(), 23);
}

#[test]
fn bodies_of_any_size_pass_byte_for_byte() {
    let line = |n: u32| format!("{{\"n\":{}}}\n", n.wrapping_mul(2_654_435_761));
    let large: String = (0..200_000).map(line).collect();
    assert!(large.len() > 3_000_000);
    for coding in CODINGS {
        for body in [whole(coding, ""), whole(coding, "{"), whole(coding, &large)] {
            for size in [16_384, 400_000] {
                assert!(pass(coding, body.chunks(size)) == (body.clone(), true), "{coding}, {size}");
            }
        }
    }
    for coding in ["gzip", "deflate", "br"] {
        assert_eq!(pass(coding, []), (Vec::new(), true));
    }
    // An empty body in brotli.
    passes("br", &[0x06], 1);
}

/// Zeros, as Node's zlib writes them: some 16 MB every dozen bytes.
const ZEROS: &str = "cfffff7f002400e2b14072effff9ffff0f8004401c1680eefd3fffffff01900088c302d0bdffe7ffff3f001200715800baf7fffcff\
ff074002200e0b40f7fe9fffffff004800c46101e8defff3ffff1f000980382c00ddfb7ffeffff032001108705a07b";

#[test]
fn a_brotli_body_that_would_decode_to_gigabytes_is_cut_off_and_one_of_deflates_passes() {
    assert_eq!(coded("br").guard(bytes(ZEROS).into()), Guarded::Broken);
    let member = whole("gzip", &"\0".repeat(1_000_000));
    assert!(member.len() < 1_100);
    assert!(pass("gzip", [&*member.repeat(80)]) == (member.repeat(80), true));
}

/// A block of deflate's that holds nothing.
const EMPTY: [u8; 5] = [0, 0, 0, 0xff, 0xff];

#[test]
fn what_is_held_while_nothing_is_decoded_is_bounded() {
    for coding in CODINGS {
        let mut coded = coded(coding);
        let begun = begun(coding, &format!("{{\"token\":\"{}", &TOKEN[..9]));
        assert_eq!(coded.guard(begun.into()), Guarded::Clean(Bytes::new()));
        let is_bounded = (0..100_000).any(|_| !matches!(coded.guard(EMPTY.to_vec().into()), Guarded::Clean(_)));
        assert!(is_bounded, "{coding}");
    }
}

#[test]
fn chunks_that_all_end_in_the_tokens_first_letter_are_not_gathered() {
    let mut coder = GzEncoder::new(Vec::new(), Compression::none());
    let mut body = coded("gzip");
    let (mut sent, mut passed) = (0, 0);
    for _ in 0..50 {
        coder.write_all(&[b'e'; 5_000]).unwrap();
        coder.flush().unwrap();
        // And what says nothing more of it for a while, but not for too long.
        for chunk in [std::mem::take(coder.get_mut()), EMPTY.repeat(400)] {
            sent += chunk.len();
            let Guarded::Clean(clean) = body.guard(chunk.into()) else { panic!("cut off after {sent}") };
            passed += clean.len();
            assert!(sent - passed < 8_000, "{sent}, {passed}");
        }
    }
    assert_eq!(passed + body.rest().len(), sent);
}

/// The texts in every coding.
static BODIES: LazyLock<Vec<(&str, Vec<u8>)>> = LazyLock::new(|| {
    let deflated = |place| CODINGS.map(|coding| (coding, whole(coding, &text(place))));
    BROTLI.iter().flat_map(|(place, brotli)| deflated(place).into_iter().chain([("br", brotli.to_vec())])).collect()
});

proptest! {
    #[test]
    fn of_a_damaged_body_no_token_passes_and_nothing_else_than_came(
        which in prop::sample::select(&BODIES[..]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        size in 1..400_usize,
    ) {
        let (coding, mut body) = which;
        for (at, byte) in damage {
            let at = at.index(body.len());
            body[at] = byte;
        }
        let (passed, to_the_end) = pass(coding, body.chunks(size));
        prop_assert!(body.starts_with(&passed) && to_the_end == (passed.len() == body.len()));
        prop_assert!(!opened(coding, &passed).contains(TOKEN));
    }

    #[test]
    fn the_token_is_found_in_a_text_however_it_comes(pieces in prop::collection::vec("(ey|J0|eXAi|\\.CANARY-access|-token\\.c2|lnbmF0dXJl|x|eyJ0){0,4}", 0..9)) {
        let token = TOKEN.as_bytes();
        let mut plain = Plain::new(token);
        let mut whole = Vec::new();
        for piece in &pieces {
            plain.write_all(piece.as_bytes()).unwrap();
            whole.extend_from_slice(piece.as_bytes());
            prop_assert_eq!(plain.found, memchr::memmem::find(&whole, token).is_some());
            let begun = (0..token.len()).rev().find(|length| whole.ends_with(&token[..*length]));
            prop_assert_eq!(Some(plain.begun()), begun);
            prop_assert_eq!(plain.fresh, whole.len());
        }
    }
}

#[test]
fn what_is_accepted_stays_as_it_is_unless_it_cannot_be_looked_into() {
    for (accepted, left) in [
        ("gzip, br;q=0.9", None),
        ("zstd;q=0, gzip", None),
        ("zstd;q=0.0, gzip", None),
        ("zstd; q=0.01 , gzip", Some("gzip")),
        ("*", Some("identity")),
        ("*;q=0", None),
    ] {
        let given = HeaderValue::from_static(accepted);
        assert_eq!(openable(&given), left.map(HeaderValue::from_static), "{accepted}");
    }
}
