//! Several threads of calls.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::time::Duration;

use keyfob::domain::scope::ScopeSet;

use super::provider::Script;
use super::world::{World, tokens, unauthenticated};

async fn of_two_lanes(drain: &str) -> World {
    World::with(&[("KEYFOB_DRAIN", drain)], |settings| settings.lanes = NonZeroUsize::new(2).unwrap()).await
}

#[tokio::test]
async fn each_lane_has_its_share_of_connections_and_keeps_its_own_to_the_provider() {
    let world = of_two_lanes("1s").await;
    let mut clients = [world.client().await, world.client().await, world.client().await, world.client().await];
    for _ in 0..2 {
        for client in &mut clients {
            client.send(world.head("GET", "/api/vehicles", &[])).await;
            assert_eq!(client.response().await.status, 200);
        }
    }
    let used: Vec<_> = world.provider.seen().iter().map(|seen| seen.connection).collect();
    let (one, other) = (used[0], used[1]);
    assert_ne!(one, other);
    assert_eq!(used.iter().filter(|used| **used == one).count(), 4, "{used:?}");
    assert_eq!(used.iter().filter(|used| **used == other).count(), 4, "{used:?}");
}

#[tokio::test]
async fn a_stop_waits_for_calls_on_every_lane_and_cuts_them_off_at_the_deadline() {
    let world = of_two_lanes("1s").await;
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let mut streams = Vec::new();
    for _ in 0..2 {
        world.provider.will(Script::Pieces(vec![head.clone(), b"2\r\nhi\r\n".to_vec()]));
        let mut stream = world.client().await;
        stream.send(world.head("GET", "/mcp", &[])).await;
        stream.head().await;
        streams.push(stream);
    }
    world.stop.send(true).unwrap();
    for stream in &mut streams {
        assert!(!stream.rest().await.1, "it looks as if it ended in order");
    }
    tokio::time::timeout(Duration::from_secs(2), world.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_refresh_that_a_call_began_goes_on_when_the_calls_thread_has_ended() {
    let mut world = World::bare(&[("KEYFOB_DRAIN", "1s")], |_| {}).await;
    let grant = world.authorize(None, ScopeSet::ALL, tokens("old-token")).await;
    world.app(ScopeSet::ALL).await.key.expose().clone_into(&mut world.key);
    world.provider.will_answer(unauthenticated());
    world.provider.will(Script::Pieces(vec![Vec::new(), tokens("new-token")]));
    let mut client = world.client().await;
    client.send(world.head("GET", "/api/vehicles", &[])).await;
    world.provider.until(|provider| provider.seen().len() == 2).await;
    world.stop.send(true).unwrap();
    client.rest().await;
    world.serving.await.unwrap();

    world.provider.nudge.notify_one();
    assert!(world.broker.finish_refreshes(Duration::from_secs(5)).await);
    let kept = world.broker.store.find_grant(grant.id, None).await.unwrap().unwrap();
    assert_eq!(kept.grant.token_version, grant.token_version + 1);
}

#[tokio::test]
async fn a_call_is_answered_while_the_threads_of_all_else_are_busy() {
    let world = World::new().await;
    let (proxy, head) = (world.proxy, world.head("GET", "/api/nothing", &[]));
    let ask = move |client: &mut TcpStream| {
        client.write_all(head.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"}") {
            let mut space = [0; 1_024];
            let count = client.read(&mut space).expect("nobody answered");
            bytes.extend_from_slice(&space[..count]);
        }
        assert!(bytes.starts_with(b"HTTP/1.1 403 "), "{}", String::from_utf8_lossy(&bytes));
    };
    let first = ask.clone();
    let connect = tokio::task::spawn_blocking(move || {
        let mut client = TcpStream::connect(proxy).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        first(&mut client);
        client
    });
    let mut client = connect.await.unwrap();
    // This test's one thread is the only one that the rest of the program has, and now it waits for the answer.
    ask(&mut client);
}
