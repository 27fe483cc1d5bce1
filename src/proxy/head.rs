//! A look at the raw head of a request before hyper parses it.
//!
//! hyper settles some contradictions in silence: of `Content-Length` and `Transfer-Encoding` together it drops one, it keeps
//! two equal lengths as one, and what it refuses it answers in plain text. Here everything that could make two parsers
//! disagree on where a request ends is refused, and hyper never sees a head that it would refuse itself.
//! Bare LF as a line's end is taken, as hyper takes it; no other part of the framing depends on it.

use memchr::memchr;

/// The most bytes that a head may have, its blank line included.
pub(super) const MAX_HEAD: usize = 32 * 1024;
/// The most header lines, hyper's own limit.
const MAX_LINES: usize = 100;

/// Why a head is not one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadFault {
    /// 400: in a few words, what is wrong.
    Malformed(&'static str),
    /// 417: `Expect` has something else than `100-continue`.
    Expectation,
    /// 431.
    TooLarge,
}

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunked; only the parser of the body can say where it ends.
    Chunked,
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The head is not complete yet, and nothing is wrong with it so far.
    Partial,
    /// The head has so many bytes, and this body follows.
    Complete(usize, Framing),
    Fault(HeadFault),
}

const NAME: u8 = 1;
const TARGET: u8 = 2;

/// What each byte may be part of.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut at = 0;
    while at < 256 {
        if at > 0x20 && at < 0x7f && !matches!(at, 0x22 | 0x23 | 0x3c | 0x3e | 0x60) {
            classes[at] |= TARGET;
        }
        at += 1;
    }
    let name = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    at = 0;
    while at < name.len() {
        classes[name[at] as usize] |= NAME;
        at += 1;
    }
    // hyper's own reading of a target leaves these to the judge of paths.
    classes[b'"' as usize] |= TARGET;
    classes
};

fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().fold(class, |left, byte| left & CLASSES[usize::from(*byte)]) != 0
}

/// Whether a header's value has no control character but tabs. Without a way out before the end many bytes are looked at
/// at once.
fn is_value(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |bad, byte| bad | u8::from(byte.is_ascii_control() && *byte != b'\t')) == 0
}

/// Looks at what has come of a connection since the last request's end.
pub(super) fn look(bytes: &[u8]) -> Look {
    match Lines::start(bytes).and_then(Lines::read) {
        Ok(Some((length, _))) if length > MAX_HEAD => Look::Fault(HeadFault::TooLarge),
        Ok(Some((length, framing))) => Look::Complete(length, framing),
        Ok(None) if bytes.len() > MAX_HEAD => Look::Fault(HeadFault::TooLarge),
        Ok(None) => Look::Partial,
        Err(fault) => Look::Fault(fault),
    }
}

/// The lines of a head, and what of them decides the framing.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    old: bool,
    length: Option<u64>,
    chunked: bool,
    unmet: bool,
}

const fn malformed<T>(why: &'static str) -> Result<T, HeadFault> {
    Err(HeadFault::Malformed(why))
}

impl<'a> Lines<'a> {
    /// Skips blank lines, as hyper does (RFC 9112 2.2), and refuses at once what cannot become a request.
    fn start(bytes: &'a [u8]) -> Result<Self, HeadFault> {
        let mut at = 0;
        loop {
            match &bytes[at..] {
                [b'\n', ..] => at += 1,
                [b'\r', b'\n', ..] => at += 2,
                [] | [b'\r'] => break,
                [first, ..] if CLASSES[usize::from(*first)] & NAME != 0 => break,
                _ => return malformed("it does not start with a method"),
            }
        }
        Ok(Self { bytes, at, old: false, length: None, chunked: false, unmet: false })
    }

    /// The next line without its end; nothing when it is not complete.
    fn line(&mut self) -> Option<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let end = memchr(b'\n', rest)?;
        self.at += end + 1;
        let line = &rest[..end];
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }

    fn read(mut self) -> Result<Option<(usize, Framing)>, HeadFault> {
        let Some(first) = self.line() else { return Ok(None) };
        self.request_line(first)?;
        for _ in 0..=MAX_LINES {
            match self.line() {
                None => return Ok(None),
                Some([]) => return self.end().map(Some),
                Some(line) => self.header(line)?,
            }
        }
        Err(HeadFault::TooLarge)
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), HeadFault> {
        let method = memchr(b' ', line).map(|space| line.split_at(space));
        let Some((method, rest)) = method else { return malformed("its first line is no request line") };
        let rest = &rest[1..];
        let Some(space) = memchr(b' ', rest) else { return malformed("its first line is no request line") };
        let (target, version) = (&rest[..space], &rest[space + 1..]);
        match version {
            b"HTTP/1.1" => {}
            b"HTTP/1.0" => self.old = true,
            _ => return malformed("its version is not HTTP/1.1"),
        }
        if method.is_empty() || !all(method, NAME) {
            return malformed("its method is no token");
        }
        if method == b"CONNECT" {
            return malformed("CONNECT is not served here");
        }
        if target.first() != Some(&b'/') {
            return malformed("its target must be a path that starts with a slash");
        }
        if !all(target, TARGET) || target.iter().skip_while(|byte| **byte != b'?').any(|byte| *byte == b'"') {
            return malformed("its target has a character that must be percent-encoded");
        }
        Ok(())
    }

    fn header(&mut self, line: &[u8]) -> Result<(), HeadFault> {
        let Some(colon) = memchr(b':', line) else { return malformed("a header line has no colon") };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.is_empty() || !all(name, NAME) {
            return malformed("a header's name is no token, or a line is folded");
        }
        if !is_value(value) {
            return malformed("a header's value has a control character");
        }
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(value.trim_ascii()),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(value.trim_ascii()),
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.unmet |= !value.trim_ascii().eq_ignore_ascii_case(b"100-continue");
                Ok(())
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => malformed("Upgrade is not served here; leave the header out"),
            _ => Ok(()),
        }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), HeadFault> {
        if self.length.is_some() {
            return malformed("it has two Content-Length headers");
        }
        if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
            return malformed("its Content-Length is no number");
        }
        self.length = Some(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')));
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), HeadFault> {
        if self.chunked {
            return malformed("it has two Transfer-Encoding headers");
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return malformed("its Transfer-Encoding is not just chunked");
        }
        self.chunked = true;
        Ok(())
    }

    fn end(self) -> Result<(usize, Framing), HeadFault> {
        let framing = match (self.length, self.chunked) {
            (Some(_), true) => return malformed("it has both Content-Length and Transfer-Encoding"),
            (None, true) if self.old => return malformed("HTTP/1.0 has no Transfer-Encoding"),
            (None, true) => Framing::Chunked,
            (length, false) => Framing::Length(length.unwrap_or(0)),
        };
        if self.unmet {
            return Err(HeadFault::Expectation);
        }
        Ok((self.at, framing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(head: &str) -> HeadFault {
        match look(head.as_bytes()) {
            Look::Fault(fault) => fault,
            other => panic!("{head:?}: {other:?}"),
        }
    }

    #[test]
    fn a_head_ends_at_its_blank_line_and_tells_its_body() {
        let plain = "GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(look(plain.as_bytes()), Look::Complete(plain.len(), Framing::Length(0)));
        assert_eq!(look(b"\r\n\nGET / HTTP/1.0\n\nrest"), Look::Complete(19, Framing::Length(0)));
        assert_eq!(look(b"POST / HTTP/1.1\r\ncontent-LENGTH:  12 \r\n\r\n"), Look::Complete(41, Framing::Length(12)));
        assert_eq!(
            look(b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nExpect: 100-Continue\r\n\r\n"),
            Look::Complete(69, Framing::Chunked)
        );
    }

    #[test]
    fn every_prefix_of_a_good_head_is_only_partial() {
        let head = b"\r\nPOST /api/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n";
        for end in 0..head.len() {
            assert_eq!(look(&head[..end]), Look::Partial, "{end}");
        }
    }

    #[test]
    fn what_two_parsers_could_frame_differently_is_malformed() {
        for head in [
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 0x1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 9999999999999999999\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length : 1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            "POST / HTTP/1.1\r\n A: b\r\n\r\n",
            "POST / HTTP/1.1\r\nA: b\0\r\n\r\n",
            "POST / HTTP/1.1\r\nA: b\rc\r\n\r\n",
            "POST / HTTP/1.1\r\nA\r\n\r\n",
            "POST / HTTP/1.1\r\n: b\r\n\r\n",
            "POST / HTTP/1.1\r\nÄ: b\r\n\r\n",
            "GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n",
            "GET http://localhost/api/vehicles HTTP/1.1\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\n\r\n",
            "CONNECT teslascope.com:443 HTTP/1.1\r\n\r\n",
            "CONNECT /api HTTP/1.1\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET /  HTTP/1.1\r\n\r\n",
            "GET /a b HTTP/1.1\r\n\r\n",
            "GET\t/ HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1 \r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET / http/1.1\r\n\r\n",
            "GET /\r\n\r\n",
            "GET /#x HTTP/1.1\r\n\r\n",
            "GET /é HTTP/1.1\r\n\r\n",
            "GET /<x> HTTP/1.1\r\n\r\n",
            "GET /?a=\"x\" HTTP/1.1\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "SSH-2.0-OpenSSH_9.6\r\n",
            "\x16\x03\x01",
            " GET / HTTP/1.1\r\n\r\n",
            "\rGET / HTTP/1.1\r\n\r\n",
        ] {
            assert!(matches!(fault(head), HeadFault::Malformed(_)), "{head:?}");
        }
    }

    #[test]
    fn an_expectation_that_is_not_met_comes_after_what_is_malformed() {
        assert_eq!(fault("GET / HTTP/1.1\r\nExpect: 200-ok\r\n\r\n"), HeadFault::Expectation);
        assert_eq!(fault("GET / HTTP/1.1\r\nExpect: 100-continue, x\r\n\r\n"), HeadFault::Expectation);
        let both = fault("GET / HTTP/1.1\r\nExpect: x\r\nUpgrade: y\r\n\r\n");
        assert!(matches!(both, HeadFault::Malformed(_)));
    }

    #[test]
    fn a_head_has_its_limits() {
        let line = |n: usize| format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(n));
        assert!(matches!(look(line(MAX_HEAD - 23).as_bytes()), Look::Complete(MAX_HEAD, _)));
        assert_eq!(fault(&line(MAX_HEAD - 22)), HeadFault::TooLarge);
        assert_eq!(fault(&line(MAX_HEAD)[..=MAX_HEAD]), HeadFault::TooLarge);
        let many = |n: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(n));
        assert!(matches!(look(many(100).as_bytes()), Look::Complete(..)));
        assert_eq!(fault(&many(101)), HeadFault::TooLarge);
    }
}
