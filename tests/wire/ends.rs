//! How connections and calls end: impatience, caps, drain, revocation, and the row that each leaves (SECURITY PX-26, 62, 63,
//! 67, 68).

use std::time::{Duration, Instant};

use keyfob::domain::audit::AuditEvent;
use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::domain::user::Role;
use keyfob::proxy::{Patience, ProxySettings};
use keyfob::store::AuditFilter;

use super::client::Client;
use super::provider::Script;
use super::world::World;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn impatient(settings: &mut ProxySettings) {
    settings.patience = Patience {
        head: MS(300),
        idle: MS(400),
        body: MS(300),
        write: MS(400),
        linger: MS(300),
        first_byte: MS(600),
        upstream_idle: MS(300),
        stream_idle: MS(900),
    };
}

async fn closes_within(client: &mut Client, least: Duration, most: Duration) {
    let began = Instant::now();
    client.rest().await;
    let took = began.elapsed();
    assert!(took >= least && took <= most, "{took:?}");
}

#[tokio::test]
async fn silent_and_slow_clients_are_let_go_and_others_are_served_meanwhile() {
    let world = World::with(&[], impatient).await;
    let mut silent = world.client().await;
    let mut half = world.client().await;
    half.send("GET /api/vehicles HTTP/1.1\r\nHost: loc").await;
    let mut idle = world.client().await;
    idle.send(world.head("GET", "/api/vehicles", &[])).await;
    assert_eq!(idle.response().await.status, 200);
    let mut body = world.client().await;
    body.send(world.head("POST", "/api/account", &["Content-Length: 10"]) + "hel").await;
    for _ in 0..5 {
        let began = Instant::now();
        assert_eq!(world.get("/api/vehicles").await.status, 200);
        assert!(began.elapsed() < MS(200));
    }
    for client in [&mut silent, &mut half, &mut idle, &mut body] {
        closes_within(client, MS(0), MS(1_500)).await;
    }
}

#[tokio::test]
async fn a_head_that_trickles_in_does_not_live_on_its_trickle() {
    let world = World::with(&[], impatient).await;
    let mut client = world.client().await;
    let began = Instant::now();
    let mut sent = 0;
    for byte in world.head("GET", "/api/vehicles", &[]).bytes() {
        if tokio::io::AsyncWriteExt::write_all(&mut client.stream, &[byte]).await.is_err() {
            break;
        }
        sent += 1;
        tokio::time::sleep(MS(20)).await;
        if began.elapsed() > Duration::from_secs(2) {
            break;
        }
    }
    assert!(sent < 100, "{sent}");
    world.unheard();
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_and_the_provider_with_it() {
    let world = World::with(&[], impatient).await;
    let big = super::provider::answer("200 OK", &[], &"x".repeat(20_000_000));
    world.provider.will(Script::AnswerAndClose(big));
    let mut client = world.client().await;
    client.send(world.head("GET", "/api/vehicles", &[])).await;
    let before = world.provider.closed();
    world.provider.until(|provider| provider.closed() > before).await;
    let (got, in_order) = client.rest().await;
    assert!(got.len() < 20_000_000 && !in_order);
}

#[tokio::test]
async fn an_answer_that_stops_in_the_middle_is_cut_off() {
    let world = World::with(&[], impatient).await;
    world.provider.will(Script::Early(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort".to_vec()));
    let mut client = world.client().await;
    client.send(world.head("GET", "/api/vehicles", &[])).await;
    closes_within(&mut client, MS(200), MS(1_500)).await;
}

#[tokio::test]
async fn an_early_answer_to_a_body_that_is_not_read_is_passed_on() {
    let world = World::new().await;
    world.provider.will(Script::Early(super::provider::answer("413 Too Large", &[], "no")));
    let mut client = world.client().await;
    client.send(world.head("POST", "/api/account", &["Content-Length: 1000"]) + "only a part").await;
    let got = client.response().await;
    assert_eq!((got.status, got.text().as_str()), (413, "no"));
}

#[tokio::test]
async fn no_more_connections_are_held_than_there_are_places() {
    let world = World::with(&[("KEYFOB_MAX_CONNECTIONS", "3")], |_| {}).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = world.client().await;
        client.send(world.head("GET", "/api/vehicles", &[])).await;
        assert_eq!(client.response().await.status, 200);
        held.push(client);
    }
    let mut fourth = world.client().await;
    fourth.send(world.head("GET", "/api/vehicles", &[])).await;
    let waits = tokio::time::timeout(MS(200), fourth.stream.readable()).await;
    assert!(waits.is_err(), "the fourth waits in the system's queue");
    held.pop();
    assert_eq!(fourth.response().await.status, 200);
}

#[tokio::test]
async fn a_stop_lets_calls_end_closes_idle_connections_and_cuts_streams_at_the_deadline() {
    let world = World::with(&[("KEYFOB_DRAIN", "1s")], |_| {}).await;
    let mut idle = world.client().await;
    idle.send(world.head("GET", "/api/vehicles", &[])).await;
    assert_eq!(idle.response().await.status, 200);
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    world.provider.will(Script::Pieces(vec![head, b"2\r\nhi\r\n".to_vec()]));
    let mut stream = world.client().await;
    stream.send(world.head("GET", "/mcp", &[])).await;
    stream.head().await;
    world.provider.will(Script::Pieces(vec![b"HTTP/1.1 200 OK\r\n".to_vec(), b"content-length: 2\r\n\r\nok".to_vec()]));
    let mut slow = world.client().await;
    slow.send(world.head("GET", "/api/vehicles", &[])).await;
    world.provider.until(|provider| provider.seen().len() == 3).await;

    let began = Instant::now();
    world.stop.send(true).unwrap();
    idle.is_closed().await;
    assert!(began.elapsed() < MS(500));
    assert!(tokio::net::TcpStream::connect(world.proxy).await.is_err(), "nobody listens any more");
    world.provider.nudge.notify_waiters();
    assert_eq!(slow.response().await.text(), "ok");
    slow.is_closed().await;
    let (_, in_order) = stream.rest().await;
    assert!(!in_order && began.elapsed() >= MS(900));
    world.serving.await.unwrap();
    assert!(began.elapsed() < MS(2_500));
}

#[tokio::test]
async fn a_running_stream_ends_soon_after_its_app_its_key_or_its_scope_is_taken_away() {
    for what in ["revoked", "rolled", "narrowed", "disabled"] {
        let world = World::with(&[], |settings| settings.patience.head = MS(800)).await;
        let app = world.app(ScopeSet::ALL).await;
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        world.provider.will(Script::Pieces(vec![head, b"2\r\nhi\r\n".to_vec()]));
        let mut client = world.client().await;
        let line = format!("GET /mcp HTTP/1.1\r\nHost: localhost\r\nX-Keyfob-Key: {}\r\n\r\n", app.key.expose());
        client.send(line).await;
        client.head().await;
        let (broker, id) = (&world.broker, app.app.id);
        match what {
            "revoked" => broker.revoke_app(id, None).await.unwrap(),
            "rolled" => drop(broker.roll_app(id, None, Duration::ZERO).await.unwrap()),
            "narrowed" => broker.set_app_scopes(id, None, ScopeSet::of(Scope::Vehicles)).await.unwrap(),
            _ => {
                broker.add_user("other-admin", Role::Admin, None).await.unwrap();
                broker.set_disabled(world.user, true).await.unwrap();
            }
        }
        let began = Instant::now();
        let (_, in_order) = client.rest().await;
        assert!(!in_order && began.elapsed() < Duration::from_secs(5), "{what}");
    }
}

async fn rows(world: &World) -> Vec<AuditEvent> {
    world.broker.trail().finish(Duration::from_secs(5)).await;
    let filter = AuditFilter { kind: Some("call"), limit: 100, ..AuditFilter::default() };
    let mut events = world.broker.list_audit(&filter).await.unwrap();
    events.sort_by_key(|event| event.id);
    events
}

#[tokio::test]
async fn every_call_of_a_known_app_leaves_one_row_and_no_secret() {
    let world = World::new().await;
    world.provider.will_answer(super::provider::ok("12345"));
    let mut client = world.client().await;
    client.send(world.head("POST", "/api/account?token=CANARY", &["Content-Length: 3"]) + "abc").await;
    assert_eq!(client.response().await.status, 200);
    drop(client);
    assert_eq!(world.get("/api/vehicle/c/command/honkHorn?x=CANARY").await.status, 200);
    world.get("/api/nowhere").await.refuses(403, "unknown_endpoint");
    world
        .raw("GET", &format!("GET /api/vehicles HTTP/1.1\r\nHost: {}\r\n\r\n", world.proxy))
        .await
        .refuses(401, "missing_app_key");
    let rows = rows(&world).await;
    assert_eq!(rows.len(), 3, "{rows:?}");
    let row = |path: &str| rows.iter().find(|row| row.path.as_deref() == Some(path)).unwrap().clone();
    let post = row("/api/account");
    assert_eq!((post.method.as_deref(), post.template.as_deref()), (Some("POST"), Some("/api/account")));
    assert_eq!((post.scope, &*post.decision, post.status), (Some(Scope::Account), "allowed", Some(200)));
    assert_eq!((post.bytes_up, post.bytes_down), (3, 5));
    assert!(post.user == Some(world.user) && post.app.is_some() && post.grant.is_some() && post.duration_ms.is_some());
    let command = row("/api/vehicle/c/command/honkHorn");
    assert_eq!((command.scope, &*command.decision, command.status), (Some(Scope::Controls), "allowed", Some(200)));
    assert_eq!(command.template.as_deref(), Some("/api/vehicle/{id}/command/{name}"));
    let refused = row("/api/nowhere");
    assert_eq!((&*refused.decision, refused.status, refused.template), ("unknown_endpoint", Some(403), None));
    assert!(!format!("{rows:?}").contains("CANARY"));
}

#[tokio::test]
async fn a_command_whose_client_leaves_before_its_row_is_on_disk_is_not_sent_and_leaves_its_row() {
    use sqlx::Connection as _;
    let world = World::new().await;
    let address = format!("sqlite://{}", world.database().display());
    let mut writer = sqlx::SqliteConnection::connect(&address).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut writer).await.unwrap();
    let mut client = world.client().await;
    client.send(world.head("POST", "/api/vehicle/c/command/unlock", &["Content-Length: 0"])).await;
    // It waits for its row meanwhile.
    assert_eq!(world.get("/api/vehicles").await.status, 200);
    drop(client);
    while !world.broker.metrics.render().contains("status=\"499\"") {
        tokio::task::yield_now().await;
    }
    sqlx::query("ROLLBACK").execute(&mut writer).await.unwrap();
    let told = async {
        loop {
            let mut command = rows(&world).await;
            command.retain(|row| &*row.decision == "aborted");
            if !command.is_empty() {
                return command;
            }
            tokio::task::yield_now().await;
        }
    };
    let command = tokio::time::timeout(Duration::from_secs(10), told).await.expect("its row");
    assert_eq!((command.len(), command[0].status), (1, None), "{command:?}");
    let seen = world.provider.seen();
    assert!(seen.len() == 1 && seen[0].target() == "/api/vehicles", "the command was not sent");
}

#[tokio::test]
async fn a_command_is_on_disk_with_its_outcome_open_before_it_is_sent() {
    let world = World::new().await;
    world.provider.will(Script::Silence);
    let mut client = world.client().await;
    client.send(world.head("POST", "/api/vehicle/c/command/unlock", &["Content-Length: 0"])).await;
    world.provider.until(|provider| provider.seen().len() == 1).await;
    let open = rows(&world).await;
    assert_eq!((open.len(), open[0].status, open[0].duration_ms), (1, None, None));
    drop(client);
    let mut completed = rows(&world).await;
    while completed[0].duration_ms.is_none() {
        completed = rows(&world).await;
    }
    assert_eq!((completed.len(), completed[0].id, completed[0].status), (1, open[0].id, None));
    assert_eq!(&*completed[0].decision, "aborted");
}
