//! The audit trail through the management API, and what calls of the API leave in it.

use std::time::Duration;

use http::Method;
use keyfob::domain::audit::{AuditEvent, kind};
use keyfob::domain::id::Id;
use keyfob::domain::scope::Scope;
use keyfob::store::AuditFilter;
use serde_json::{Value, json};

use super::browser::{House, PASSWORD};

const MEMBERS: [&str; 12] =
    ["app", "at", "decision", "duration_ms", "grant", "id", "kind", "method", "path", "scope", "status", "user"];

#[tokio::test]
async fn every_change_by_the_api_is_one_row_that_names_the_admin_key() {
    let house = House::with_admin().await;
    let program = house.program().await;
    house.broker.trail().finish(Duration::from_secs(5)).await;
    let before = program.all("/audit", 500).await.len();
    let bob = program.made("/users", json!({"name": "bob", "password": PASSWORD, "role": "admin"})).await;
    let app = program.made("/apps", json!({"name": "Dash", "user": "ada", "scopes": ["vehicles"]})).await;
    let app_path = format!("/apps/{}", app["id"].as_str().unwrap());
    program.post(&format!("{app_path}/roll"), &json!({})).await;
    program.delete(&app_path).await;
    let secret = house.sandbox.issue_personal_access_token(1, Scope::ALL.into_iter().collect());
    let grant = json!({"user": "ada", "kind": "personal_access_token", "scopes": ["account"], "secret": secret});
    let grant = program.made("/grants", grant).await;
    program.delete(&format!("/grants/{}", grant["id"].as_str().unwrap())).await;
    program.delete(&format!("/users/{}", bob["id"].as_str().unwrap())).await;
    // Refusals change nothing and leave no row.
    program.delete(&app_path).await;
    program.post("/users", &json!({})).await;

    let rows = program.all("/audit", 3).await;
    assert_eq!(rows.len(), before + 7);
    let mut rows: Vec<_> = rows.into_iter().take(7).collect();
    rows.reverse();
    let kinds: Vec<_> = rows.iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["user.made", "app.made", "app.rolled", "app.revoked", "grant.made", "grant.disconnected", "user.removed"]
    );
    for row in &rows {
        assert_eq!(row.as_object().unwrap().keys().collect::<Vec<_>>(), MEMBERS);
        assert!(row["path"].as_str().unwrap().ends_with("by admin key robot CANARY"), "{row}");
        assert!(!row.to_string().contains(&secret) && !row.to_string().contains("kf_"));
    }
    assert_eq!((&rows[1]["user"], &rows[1]["app"]), (&json!("ada"), &app["id"]));
    assert_eq!(rows[1]["path"], "Dash; by admin key robot CANARY");
    assert_eq!(rows[4]["grant"], grant["id"]);
}

#[tokio::test]
async fn events_are_filtered_and_come_newest_first() {
    let house = House::with_admin().await;
    house.add_user("bob", keyfob::domain::user::Role::Member).await;
    let program = house.program().await;
    let ada = house.broker.find_user("ada").await.unwrap().id;
    let app = program.made("/apps", json!({"name": "Dash", "user": "ada", "scopes": ["vehicles"]})).await;
    for n in 0..10_i64 {
        house.clock.advance(Duration::from_secs(3_600));
        let event = AuditEvent {
            app: (n % 2 == 0).then(|| app["id"].as_str().unwrap().parse().unwrap()),
            method: Some("GET".into()),
            template: Some("/api/vehicles".into()),
            path: Some("/api/vehicles".into()),
            scope: Some(Scope::Vehicles),
            decision: "allowed".into(),
            status: Some(200),
            duration_ms: Some(n),
            ..AuditEvent::change(house.clock.now(), kind::CALL, Some(ada))
        };
        house.broker.trail().record(event);
    }
    house.broker.trail().finish(Duration::from_secs(5)).await;
    let durations = |rows: &[Value]| rows.iter().filter_map(|row| row["duration_ms"].as_i64()).collect::<Vec<_>>();
    let calls = program.all("/audit?kind=call", 3).await;
    assert_eq!(durations(&calls), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(
        (&calls[0]["user"], &calls[0]["scope"], &calls[0]["status"]),
        (&json!("ada"), &json!("vehicles"), &json!(200))
    );
    assert!(calls.windows(2).all(|two| two[0]["id"].as_i64() > two[1]["id"].as_i64()));
    let of_app = program.all(&format!("/audit?app={}&kind=call", app["id"].as_str().unwrap()), 2).await;
    assert_eq!(durations(&of_app), [8, 6, 4, 2, 0]);
    assert_eq!(durations(&program.all("/audit?since=2h&kind=call&user=ada", 1).await), [9, 8, 7]);
    let moment = house.clock.now().minus(Duration::from_secs(3_600));
    assert_eq!(durations(&program.all(&format!("/audit?since={moment}&kind=call"), 500).await), [9, 8]);
    assert_eq!(program.all("/audit?user=bob", 500).await.len(), 1, "that bob was made");
    assert_eq!(program.all("/audit?user=nobody", 500).await.len(), 0);
    for (query, bad) in [
        ("since=yesterday&app=x&kind=y&z=1", vec!["app", "kind", "since", "z"]),
        ("since=-1h", vec!["since"]),
        ("since=2026-13-01T00:00:00Z", vec!["since"]),
        ("limit=0&cursor=AAAA", vec!["cursor", "limit"]),
    ] {
        assert_eq!(program.call(Method::GET, &format!("/audit?{query}")).await.bad(), bad, "{query}");
    }
}

#[tokio::test]
async fn calls_of_several_lanes_are_kept_whole_and_in_order_with_what_changed_meanwhile() {
    let house = House::with_admin().await;
    let trail = house.broker.trail();
    let user = house.broker.find_user("ada").await.unwrap().id;
    let sheets = [trail.sheet(), trail.sheet()];
    let of_lane = |lane: usize| Id::from_bytes([u8::try_from(lane).unwrap(); 16]);
    // One lane fills sheet after sheet while the other has a call now and then.
    let is_others = |n: i64| n % 10 == 9;
    for n in 0..700 {
        house.clock.advance(Duration::from_millis(1));
        let lane = usize::from(is_others(n));
        let call = AuditEvent::change(house.clock.now(), kind::CALL, Some(user)).of_app(of_lane(lane));
        sheets[lane].record(AuditEvent { bytes_up: n, ..call.decided("allowed") });
        if n == 350 {
            trail.record(AuditEvent::change(house.clock.now(), kind::APP_CHANGED, Some(user)));
        }
    }
    assert!(trail.catch_up(Duration::from_secs(10)).await);
    assert_eq!(trail.waiting(), 0);
    let filter = AuditFilter { limit: 701, ..AuditFilter::default() };
    let mut found = house.broker.store.list_audit(&filter).await.unwrap();
    found.reverse();
    for lane in 0..2 {
        let kept = found.iter().filter(|event| event.app == Some(of_lane(lane))).map(|event| event.bytes_up);
        assert!(kept.eq((0..700).filter(|n| is_others(*n) == (lane == 1))), "lane {lane}");
    }
    // The change stands among the calls of its moment, not before or after them all.
    let change = found.iter().position(|event| event.kind == kind::APP_CHANGED).unwrap();
    assert!((200..500).contains(&change), "{change}");
}

#[tokio::test]
async fn who_waits_for_what_was_written_waits_for_the_sheets_too_however_much_follows() {
    let house = House::with_admin().await;
    let trail = house.broker.trail();
    let user = house.broker.find_user("ada").await.unwrap().id;
    let row = |kind| AuditEvent::change(house.clock.now(), kind, Some(user));
    let sheet = trail.sheet();
    sheet.record(row(kind::CALL).decided("allowed"));
    let waits = async {
        assert!(trail.catch_up(Duration::from_secs(10)).await);
        let filter = AuditFilter { limit: 10_000, ..AuditFilter::default() };
        house.broker.store.list_audit(&filter).await.unwrap().iter().any(|event| event.kind == kind::CALL)
    };
    // More than one batch of them, before the writer has its turn.
    let follows = async { (0..5_000).for_each(|_| trail.record(row(kind::APP_CHANGED))) };
    assert!(tokio::join!(waits, follows).0);
}
