#![no_main]
//! The judge's decision on any raw path is the decision on what each other reader makes of it.

use std::sync::LazyLock;

use keyfob_fuzz::domain::route::{RouteRefusal, RouteTable, oracle};
use libfuzzer_sys::fuzz_target;

static TABLE: LazyLock<RouteTable> = LazyLock::new(RouteTable::built_in);

fuzz_target!(|raw: &[u8]| {
    let judged = match TABLE.judge("GET", raw) {
        Ok(route) => Some(route.need),
        Err(RouteRefusal::Unknown) => None,
        Err(RouteRefusal::Ambiguous(_)) => return,
        Err(RouteRefusal::Method { .. }) => panic!("every row takes GET"),
    };
    for (reader, reading) in oracle::readings(raw) {
        assert_eq!(judged, oracle::need(&reading), "{reader} reads {raw:?}");
    }
});
