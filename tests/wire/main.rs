//! The proxy on the wire: bytes in, bytes at the provider, bytes out. `README.md` says which test holds which rule.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "what is timed here is the program itself")]

mod answers;
#[path = "../world/broken_off.rs"]
mod broken_off;
mod client;
mod codings;
mod ends;
mod framing;
mod lanes;
mod memory;
mod provider;
mod refusals;
mod requests;
mod responses;
mod tls;
mod tokens;
mod trail;
mod wider;
mod world;
