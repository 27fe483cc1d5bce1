//! The proxy on the wire: bytes in, bytes at the provider, bytes out. `README.md` says which test holds which rule.
#![allow(missing_docs, unreachable_pub, reason = "tests")]

mod client;
mod ends;
mod framing;
mod provider;
mod refusals;
mod requests;
mod responses;
mod tokens;
mod world;
