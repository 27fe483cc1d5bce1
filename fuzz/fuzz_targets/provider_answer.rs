#![no_main]
//! Whatever the provider answers: our client takes it as hyper's client does, or more strictly, in pieces of any size.
//!
//! The first byte says what was asked for and how the connection goes on, the second how much is read at once.

use http::Method;
use keyfob_fuzz::proxy::oracle::{After, agree};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [how, size, bytes @ ..] = input else { return };
    let method = if how & 1 == 0 { Method::GET } else { Method::HEAD };
    let after = [After::End, After::Reset, After::Nothing][usize::from(how >> 1) % 3];
    let size = if *size == 0 { usize::MAX } else { usize::from(*size) };
    let _ = agree(&method, bytes, size, after);
});
