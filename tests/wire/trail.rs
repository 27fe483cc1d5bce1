//! What the audit trail keeps of calls when the database takes nothing for a while.

use std::time::Duration;

use keyfob::domain::audit::{AuditEvent, kind};
use keyfob::domain::id::AppId;
use keyfob::store::AuditFilter;
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use super::client::Got;
use super::provider::{Script, ok};
use super::world::World;

/// Beyond so many waiting rows calls are refused.
const MOST_WAITING: usize = 65_536;

/// Holds the database so that nobody else can write.
async fn occupy(world: &World) -> SqliteConnection {
    let mut connection = SqliteConnection::connect(world.database().to_str().unwrap()).await.unwrap();
    connection.execute("BEGIN IMMEDIATE").await.unwrap();
    connection
}

async fn release(world: &World, mut connection: SqliteConnection) {
    connection.execute("ROLLBACK").await.unwrap();
    assert!(world.broker.trail().finish(Duration::from_secs(60)).await, "the rows were not written");
}

/// As many rows as may wait.
fn fill(world: &World) {
    let row = AuditEvent::change(world.clock.now(), kind::CALL, Some(world.user)).decided("allowed");
    while world.broker.trail().waiting() < MOST_WAITING {
        world.broker.trail().record(row.clone());
    }
}

async fn rows(world: &World, filter: AuditFilter) -> Vec<AuditEvent> {
    world.broker.list_audit(&AuditFilter { limit: 500, ..filter }).await.unwrap()
}

async fn app(world: &World) -> (AppId, String) {
    let made = world.app(keyfob::domain::scope::ScopeSet::ALL).await;
    world.broker.trail().catch_up(Duration::from_secs(10)).await;
    (made.app.id, made.key.expose().to_owned())
}

async fn call(world: &World, method: &str, target: &str, key: &str) -> Got {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nX-Keyfob-Key: {key}\r\n\r\n", world.proxy);
    world.raw(method, &head).await
}

#[tokio::test]
async fn beyond_so_many_waiting_rows_an_apps_calls_are_503_whatever_they_are_and_are_counted_as_its_own() {
    let world = World::new().await;
    let (app, key) = app(&world).await;
    let held = occupy(&world).await;
    fill(&world);
    let (good, nowhere, traced) = tokio::join!(
        call(&world, "GET", "/api/vehicles", &key),
        call(&world, "GET", "/api/nowhere", &key),
        call(&world, "TRACE", "/api/vehicles", &key),
    );
    for got in [good, nowhere, traced] {
        assert!(!got.refuses(503, "storage_unavailable").one("retry-after").is_empty());
    }
    call(&world, "GET", "/api/vehicles", "kf_x").await.refuses(401, "invalid_app_key");
    world.unheard();
    assert_eq!(world.broker.trail().waiting(), MOST_WAITING, "a refusal takes no more room");
    release(&world, held).await;

    let of_app = rows(&world, AuditFilter { app: Some(app), kind: Some(kind::CALL), ..AuditFilter::default() }).await;
    let told: Vec<_> = of_app.iter().map(|row| (&*row.decision, row.status, row.count, row.user)).collect();
    assert_eq!(told, [("storage_unavailable", Some(503), 3, Some(world.user))]);
    let unknown = rows(&world, AuditFilter { kind: Some(kind::UNKNOWN_CALLERS), ..AuditFilter::default() }).await;
    let told: Vec<_> = unknown.iter().map(|row| (&*row.decision, row.count)).collect();
    assert_eq!(told, [("invalid_app_key", 1)]);
    assert_eq!(call(&world, "GET", "/api/vehicles", &key).await.status, 200);
}

#[tokio::test]
async fn a_call_that_was_let_in_keeps_its_row_though_the_queue_has_filled_up_meanwhile() {
    let world = World::new().await;
    let (app, key) = app(&world).await;
    world.provider.will(Script::Pieces(vec![Vec::new(), ok("late")]));
    let (got, held) = tokio::join!(call(&world, "GET", "/api/vehicles", &key), async {
        world.provider.until(|provider| provider.seen().len() == 1).await;
        let held = occupy(&world).await;
        fill(&world);
        world.provider.nudge.notify_one();
        held
    });
    assert_eq!(got.text(), "late");
    release(&world, held).await;
    let of_app = rows(&world, AuditFilter { app: Some(app), kind: Some(kind::CALL), ..AuditFilter::default() }).await;
    let told: Vec<_> = of_app.iter().map(|row| (row.path.as_deref(), &*row.decision, row.count)).collect();
    assert_eq!(told, [(Some("/api/vehicles"), "allowed", 1)]);
}

#[tokio::test]
async fn a_method_that_is_not_listed_is_kept_as_other() {
    let world = World::new().await;
    let (app, key) = app(&world).await;
    let long = "M".repeat(2_000);
    for method in ["PROPFIND", "get", "OPTIONS", "X-Y", &long] {
        let got = call(&world, method, "/api/vehicles", &key).await;
        assert_eq!((got.status, got.one("keyfob-error")), (405, "method_not_allowed"), "{method}");
    }
    assert!(world.broker.trail().finish(Duration::from_secs(10)).await);
    let of_app = rows(&world, AuditFilter { app: Some(app), kind: Some(kind::CALL), ..AuditFilter::default() }).await;
    let told: Vec<_> = of_app.iter().map(|row| (row.method.as_deref(), &*row.decision, row.status)).collect();
    assert_eq!(told, [(Some("OTHER"), "method_not_allowed", Some(405)); 5]);
}

#[tokio::test]
async fn a_call_that_ends_while_the_writer_empties_its_queue_is_written_though_nothing_follows() {
    let world = World::new().await;
    let trail = world.broker.trail();
    assert!(trail.finish(Duration::from_secs(10)).await);
    let sheet = trail.sheet();
    // The writer finds who waits, and the word of a first call behind.
    let mut caught_up = Box::pin(trail.catch_up(Duration::from_secs(10)));
    assert!(futures_util::poll!(&mut caught_up).is_pending());
    sheet.record(AuditEvent::change(world.clock.now(), kind::CALL, Some(world.user)).decided("allowed"));
    assert!(caught_up.await);
    let written = async {
        while trail.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3), written).await.expect("the call is not written");
}
