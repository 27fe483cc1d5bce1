#![no_main]
//! What is left of a query after one look is clean at a second.

use keyfob_fuzz::domain::query::{QueryVerdict, judge_query};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|raw: &str| {
    if let QueryVerdict::Stripped(left) = judge_query(raw) {
        assert_eq!(judge_query(&left), QueryVerdict::Clean);
    }
});
