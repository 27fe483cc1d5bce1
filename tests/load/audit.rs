//! Every call leaves its row, also at many calls a second, and also when the program is told to stop.

use std::time::{Duration, Instant};

use super::driver::refused;
use super::figures::{alone, at_most, is_release, limit, of};
use super::house::House;

#[tokio::test(flavor = "multi_thread")]
async fn at_many_calls_a_second_every_row_is_there_soon_and_after_a_stop() {
    let _alone = alone().await;
    let house = House::new().await;
    let key = house.app("vehicles", &[]);
    let mut running = house.serve().await;
    let wanted = if is_release() { 10_000 } else { 2_000 };
    let calls = wanted * of(10, 1);
    let took = refused(running.proxy, &key, 20, calls, wanted).await;
    let ended = Instant::now();
    let mut rows = house.rows().await;
    while rows < i64::try_from(calls).unwrap() && ended.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        rows = house.rows().await;
    }
    let rate = calls as f64 / took.as_secs_f64();
    eprintln!("figure: {calls} calls at {rate:.0} a second");
    at_most("time until every row was there", ended.elapsed().as_secs_f64(), limit(2.0, 15.0), "s");
    assert_eq!(rows, i64::try_from(calls).unwrap());
    assert!(rate > 0.9 * wanted as f64 || !is_release(), "the load itself was slower than it should be");

    // And at the end, with the rows of the last moment not yet written.
    refused(running.proxy, &key, 20, calls, wanted).await;
    running.stop();
    assert_eq!(house.rows().await, i64::try_from(2 * calls).unwrap());
}
