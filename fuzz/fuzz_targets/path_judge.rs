#![no_main]
//! The judge's decision on any raw path is the decision on what each other reader makes of it.

use keyfob::domain::route::{RouteRefusal, RouteTable, oracle};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|raw: &[u8]| {
    let judged = match RouteTable::built_in().judge("GET", raw) {
        Ok(route) => Some(route.need),
        Err(RouteRefusal::Unknown) => None,
        Err(RouteRefusal::Ambiguous(_)) => return,
        Err(RouteRefusal::Method { .. }) => panic!("every row takes GET"),
    };
    for (reader, reading) in oracle::readings(raw) {
        assert_eq!(judged, oracle::need(&reading), "{reader} reads {raw:?}");
    }
});
