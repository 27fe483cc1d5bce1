//! Stories: what people and programs do with Keyfob, told from outside over its real routers.
#![allow(missing_docs, unreachable_pub, reason = "tests")]

mod browser;
mod web_connect;
mod web_guard;
mod web_sign_in;
