//! Whether every reader understands a raw path alike.
//!
//! RFC 3986, WHATWG, nginx with `merge_slashes`, and a Laravel router behind `rawurldecode` must see the same segments.
//! What survives [`check`] has only `pchar` bytes and single slashes, no dot segments, and percent-encodings that decode to
//! valid UTF-8 and to nothing that would have meant something else unencoded.

/// What a byte may be in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stands for itself: unreserved, or a delimiter that no reader takes for more.
    Plain,
    Slash,
    Percent,
    Refused,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Refused; 256];
    let plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,=:@";
    let mut at = 0;
    while at < plain.len() {
        classes[plain[at] as usize] = Class::Plain;
        at += 1;
    }
    classes[b'/' as usize] = Class::Slash;
    classes[b'%' as usize] = Class::Percent;
    classes
};

/// Finds out why a path could be read in two ways; `Ok` when it cannot.
pub(super) fn check(path: &[u8]) -> Result<(), &'static str> {
    if path.first() != Some(&b'/') {
        return Err("it does not start with a slash");
    }
    let mut at = 1;
    let mut segment = 1;
    let mut encoded = false;
    while let Some(&byte) = path.get(at) {
        match CLASSES[usize::from(byte)] {
            Class::Plain => at += 1,
            Class::Slash => {
                if at == segment {
                    return Err("it has two slashes in a row");
                }
                dots(&path[segment..at])?;
                at += 1;
                segment = at;
            }
            Class::Percent => {
                encoding(&path[at..])?;
                encoded = true;
                at += 3;
            }
            Class::Refused => return Err(refused(byte)),
        }
    }
    dots(&path[segment..])?;
    if encoded && !decodes_to_text(path) {
        return Err("its percent-encoding is not UTF-8");
    }
    Ok(())
}

fn dots(segment: &[u8]) -> Result<(), &'static str> {
    match segment {
        b"." | b".." => Err("it has a dot segment"),
        _ => Ok(()),
    }
}

const fn refused(byte: u8) -> &'static str {
    match byte {
        b'\\' => "it has a backslash",
        b';' => "it has a semicolon",
        b'#' => "it has a fragment",
        0..=0x1f | 0x7f => "it has a control character",
        0x80..=0xff => "it has a byte that is not ASCII",
        _ => "it has a character that must be percent-encoded",
    }
}

fn encoding(rest: &[u8]) -> Result<(), &'static str> {
    let decoded = decode(rest).ok_or("it has a percent sign without two hexadecimal digits")?;
    match decoded {
        b'-' | b'.' | b'_' | b'~' => Err("it has an encoded character that needs no encoding"),
        _ if decoded.is_ascii_alphanumeric() => Err("it has an encoded character that needs no encoding"),
        b'/' | b'\\' | b';' => Err("it has an encoded separator"),
        0..=0x1f | 0x7f => Err("it has an encoded control character"),
        b'%' if looks_hexadecimal(rest.get(3..).unwrap_or_default()) => Err("it is encoded twice"),
        _ => Ok(()),
    }
}

/// Whether the text after an encoded percent sign makes another encoding, be it only after one more decoding.
fn looks_hexadecimal(rest: &[u8]) -> bool {
    match rest {
        [b'%', ..] | [_, b'%', ..] => true,
        [first, second, ..] => first.is_ascii_hexdigit() && second.is_ascii_hexdigit(),
        _ => false,
    }
}

/// The byte that `%xx` at the start stands for.
pub(in crate::domain) fn decode(rest: &[u8]) -> Option<u8> {
    let &[b'%', high, low, ..] = rest else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// Overlong forms of `.` and `/` are not UTF-8, and some decoders take them for what they imitate.
fn decodes_to_text(path: &[u8]) -> bool {
    let mut text = Vec::with_capacity(path.len());
    let mut at = 0;
    while at < path.len() {
        if let Some(byte) = decode(&path[at..]) {
            text.push(byte);
            at += 3;
        } else {
            text.push(path[at]);
            at += 1;
        }
    }
    std::str::from_utf8(&text).is_ok()
}
