//! Killed at every point of a refresh: the token is kept, or its loss has a name. Never anything else.

use std::time::Duration;

use keyfob::ambient::Entropy;
use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::sandbox::{Moment, SandboxConfig};
use serde_json::Value;

use crate::town::{Connected, Running, TIMEOUT, Town, number};

/// Where the kill falls.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// Somewhere between a call's arrival and the sending: before or after the journal row.
    Begun,
    /// The request has arrived at the provider, which has not rotated.
    Sent,
    /// The provider has rotated, and has not answered.
    Rotated,
    /// The answer is on its way, or is being written, or is written.
    Answered,
}

const POINTS: [Point; 4] = [Point::Begun, Point::Sent, Point::Rotated, Point::Answered];

#[derive(Default, Debug)]
struct Tally {
    kept: u32,
    named: u32,
    lost: Vec<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_point_keeps_the_token_or_names_its_loss() {
    let kills = number("KEYFOB_TEST_KILLS", 20);
    let town = Town::new(SandboxConfig::default()).await;
    let ada = town.connect().await;
    let mut tally = Tally::default();
    for kill in 0..kills {
        let point = POINTS[usize::try_from(kill).unwrap() % POINTS.len()];
        town.faults.expire_access_tokens();
        kill_at(&town, &ada, point).await;
        assert_eq!(town.integrity().await, "ok", "after kill {kill} {point:?}");
        let named = town.grant(ada.grant).await["status"].clone();
        let known = ["active", "refreshing", "uncertain", "needs_consent"];
        assert!(known.contains(&named.as_str().unwrap()), "{named}");
        settle(&town, &ada, point, &mut tally).await;
    }
    println!("kills: {kills}, kept: {}, named: {}, lost: {}", tally.kept, tally.named, tally.lost.len());
    assert!(tally.lost.is_empty(), "{tally:#?}");
    assert!(tally.kept > 0 && tally.named > 0, "{tally:?}");
}

/// Starts the program, makes a call that needs a refresh, and kills the program at that point.
async fn kill_at(town: &Town, ada: &Connected, point: Point) {
    let mut running = town.serve().await;
    let moment = match point {
        Point::Begun | Point::Sent => Moment::BeforeRotate,
        Point::Rotated => Moment::AfterRotate,
        Point::Answered => Moment::BeforeAnswer,
    };
    let hold = matches!(point, Point::Sent | Point::Rotated).then(|| town.faults.hold(moment));
    let reached = town.faults.reached(moment);
    let micros = u64::from(u16::from_be_bytes(Entropy::system().bytes()));
    {
        let call = town.vehicles(&running, &ada.key);
        let killed = async {
            match point {
                // A call takes some ten milliseconds to its refresh.
                Point::Begun => tokio::time::sleep(Duration::from_micros(micros / 2)).await,
                Point::Sent | Point::Rotated => reached.await,
                Point::Answered => {
                    reached.await;
                    tokio::time::sleep(Duration::from_micros(micros / 4)).await;
                }
            }
        };
        tokio::select! {
            () = killed => {}
            // The call may have ended before: then the kill falls after the writing.
            _ = call => {}
        }
    }
    running.kill();
    drop(hold);
}

/// Starts the program again and sees what it makes of it.
async fn settle(town: &Town, ada: &Connected, point: Point, tally: &mut Tally) {
    town.faults.forget_received();
    let running = town.serve().await;
    let (got, grant) = end_of(town, ada, &running).await;
    let requests = town.faults.token_requests_of("refresh_token");
    let status = grant["status"].as_str().unwrap().to_owned();
    match (got.as_str(), status.as_str(), grant["reason"].as_str()) {
        ("200", "active" | "refreshing" | "uncertain", _) => tally.kept += 1,
        ("needs_consent", "needs_consent", Some("rotation_lost")) => {
            tally.named += 1;
            drop(running);
            let broker = town.broker().await;
            town.consent(&broker, ada.user, Some(ada.grant), ScopeSet::of(Scope::Vehicles)).await;
            broker.store.close().await;
        }
        _ => tally.lost.push(format!("{point:?}: {got} {grant}\n{}", town.said())),
    }
    assert!(requests <= 2, "{point:?}: {requests} token requests after a restart");
}

/// Calls until the answer is a final one.
async fn end_of(town: &Town, ada: &Connected, running: &Running) -> (String, Value) {
    let mut last = String::new();
    for _ in 0..20 {
        let got = town.vehicles(running, &ada.key).await.unwrap();
        last = if got.code.is_empty() { got.status.to_string() } else { got.code };
        if last == "200" || last == "needs_consent" {
            break;
        }
        tokio::time::sleep(TIMEOUT / 4).await;
    }
    (last, town.grant(ada.grant).await)
}
