//! What is in memory follows the database, whatever state its rows are in and whoever breaks a look at it off.

use std::time::{Duration, Instant};

use keyfob::broker::{AppWish, AuditFilter};
use keyfob::domain::audit::kind;
use keyfob::domain::grant::GrantKind;
use keyfob::domain::scope::ScopeSet;
use keyfob::domain::user::Role;
use sqlx::Connection as _;

use super::broken_off::broken_off_after;
use super::world::World;

async fn status(world: &World, key: &str) -> u16 {
    let head = format!("GET /api/vehicles HTTP/1.1\r\nHost: {}\r\nX-Keyfob-Key: {key}\r\n\r\n", world.proxy);
    world.raw("GET", &head).await.status
}

/// Another user of the world, with a grant and an app; the app's key.
async fn user_with_an_app(world: &World, name: &str) -> String {
    let user = world.broker.add_user(name, Role::Member, None).await.unwrap().id;
    world.grant_of(user, name, ScopeSet::ALL, GrantKind::PersonalAccessToken, &format!("pat-of-{name}")).await;
    let app = world.app_with(AppWish { user, ..world.wish(ScopeSet::ALL) }).await;
    app.key.expose().to_owned()
}

/// Changes the database as no Keyfob does.
async fn tamper(world: &World, statements: &str) {
    let address = format!("sqlite:{}", world.database().display());
    let mut connection = sqlx::SqliteConnection::connect(&address).await.unwrap();
    sqlx::raw_sql("PRAGMA ignore_check_constraints = ON").execute(&mut connection).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Forgets which rows changed, as housekeeping does with those of long ago: whoever looks must read everything.
const FORGET_CHANGES: &str = "; DELETE FROM changes";

#[tokio::test]
async fn a_user_whose_row_is_damaged_is_not_served_with_anything_of_theirs() {
    let world = World::new().await;
    let key = user_with_an_app(&world, "bob").await;
    world.broker.look_again().await;
    assert_eq!(status(&world, &key).await, 200);
    tamper(&world, "UPDATE users SET role = 'nobody' WHERE name = 'bob'").await;
    world.broker.look_again().await;
    assert_eq!(status(&world, &key).await, 401);
    assert_eq!(world.get("/api/vehicles").await.status, 200, "others are served");
}

#[tokio::test]
async fn a_whole_reading_passes_over_damaged_rows_and_sees_every_other_change() {
    for damage in [
        "UPDATE users SET role = 'nobody' WHERE name = 'bob'",
        "UPDATE grants SET status = 'no such' WHERE label = 'bob'",
        "UPDATE apps SET scopes = 999 WHERE user = (SELECT id FROM users WHERE name = 'bob')",
    ] {
        let world = World::new().await;
        let (bobs, cyds) = (user_with_an_app(&world, "bob").await, user_with_an_app(&world, "cyd").await);
        let disable = "; UPDATE users SET disabled_at = 1 WHERE name = 'cyd'";
        tamper(&world, &[damage, disable, FORGET_CHANGES].concat()).await;
        world.broker.look_again().await;
        assert!([401, 409].contains(&status(&world, &bobs).await), "{damage}");
        assert_eq!(status(&world, &cyds).await, 401, "{damage}");
        assert_eq!(world.get("/api/vehicles").await.status, 200, "{damage}");
    }
}

#[tokio::test]
async fn a_whole_reading_that_is_broken_off_is_done_again() {
    let world = World::new().await;
    let mut ended = Vec::new();
    for polls in 0..16 {
        let key = user_with_an_app(&world, &format!("user{polls}")).await;
        world.broker.look_again().await;
        let disable = format!("UPDATE users SET disabled_at = 1 WHERE name = 'user{polls}'");
        tamper(&world, &[disable.as_str(), FORGET_CHANGES].concat()).await;
        ended.push(broken_off_after(polls, world.broker.look_again()).await);
        world.broker.look_again().await;
        assert_eq!(status(&world, &key).await, 401, "broken off after {polls} polls");
    }
    assert!(ended.contains(&false) && ended.contains(&true), "{ended:?}");
}

#[tokio::test]
async fn a_look_that_was_broken_off_counts_for_nobody_who_waited_for_it() {
    let world = World::new().await;
    // How often a look waits is up to the threads of the database, too: it is tried until some were broken off.
    let deadline = Instant::now() + Duration::from_secs(60);
    let (mut turn, mut broken_off) = (0, 0);
    while turn < 16 || broken_off < 3 {
        assert!(Instant::now() < deadline, "{broken_off} of {turn} were broken off");
        let (polls, name) = (turn % 8, format!("user{turn}"));
        turn += 1;
        let key = user_with_an_app(&world, &name).await;
        world.broker.look_again().await;
        // One looks and sees nothing yet; two ask while it does; the first of them is gone in the middle of its own look.
        let mut before = Box::pin(world.broker.look_again());
        if futures_util::poll!(before.as_mut()).is_ready() {
            continue;
        }
        tamper(&world, &format!("UPDATE users SET disabled_at = 1 WHERE name = '{name}'")).await;
        let (mut first, mut second) = (Box::pin(world.broker.look_again()), Box::pin(world.broker.look_again()));
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        before.await;
        broken_off += usize::from(!broken_off_after(polls, first).await);
        second.await;
        assert_eq!(status(&world, &key).await, 401, "after {polls} polls");
    }
}

#[tokio::test]
async fn a_user_with_a_damaged_grant_can_be_removed() {
    let world = World::new().await;
    let key = user_with_an_app(&world, "bob").await;
    let bob = world.broker.find_user("bob").await.unwrap().id;
    tamper(&world, "UPDATE grants SET status = 'no such' WHERE label = 'bob'").await;
    world.broker.remove_user(bob).await.unwrap();
    assert_eq!(status(&world, &key).await, 401);
    assert!(world.broker.find_user("bob").await.is_err());
    let filter = AuditFilter { kind: Some(kind::USER_REMOVED), limit: 1, ..AuditFilter::default() };
    assert_eq!(world.broker.list_audit(&filter).await.unwrap().len(), 1);
}
