//! What administrators are told of the service itself: its settings, how a rotation of its keys gets on, its calls by hour.

use std::time::Duration;

use http::StatusCode;
use keyfob::domain::audit::{AuditEvent, kind};
use keyfob::domain::id::Id;
use keyfob::domain::user::Role;

use super::browser::House;
use super::grants::put_grant;
use super::web_live::Events;

#[tokio::test]
async fn settings_stand_with_their_source_and_no_secret_among_them() {
    let house = House::with_admin().await;
    house.add_user("bob", Role::Member).await;
    let mut ada = house.signed_in("ada").await;
    let page = ada.open("/admin/settings").await;
    for name in keyfob::config::keys::ALL {
        page.shows(&format!("<code>{}</code>", name.env()));
    }
    page.shows(&house.sandbox.url()).shows("<strong>environment</strong>").shows("default");
    let secret = page.body.split("KEYFOB_OAUTH_CLIENT_SECRET</code>").nth(1).unwrap();
    assert!(secret.split("</tr>").next().unwrap().contains(">hidden<"));
    assert!(!page.has("CANARY"));
    page.shows(env!("CARGO_PKG_VERSION"));
    let mut bob = house.signed_in("bob").await;
    for seen in [bob.open("/").await, bob.open("/account").await, house.browser().open("/sign-in").await] {
        assert!(!seen.has(env!("CARGO_PKG_VERSION")), "the version is for administrators");
    }
    for path in ["/admin/settings", "/admin/rotation/events"] {
        assert_eq!(bob.open(path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test]
async fn a_rotation_is_told_as_it_gets_on() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    for n in 0..3 {
        put_grant(&house, &format!("car {n}")).await;
    }
    // The canary is the fourth.
    ada.open("/admin/keys").await.shows("Everything is sealed under the first key.").shows(">4 of 4</span>");
    let mut told = Events::of(&mut ada, "/admin/rotation/events").await;
    assert!(told.hear("event: keys\ndata: {\"all\":4,\"done\":4}").await, "{}", told.heard);
    // As a rotation that was killed before its first step leaves it.
    house.broker.vault.add_key().unwrap();
    house.clock.advance(Duration::from_secs(2));
    assert!(told.hear("{\"all\":4,\"done\":0}").await, "{}", told.heard);
    ada.open("/admin/keys").await.shows("A rotation is under way").shows("value=\"0\"").shows(">0 of 4</span>");
    house.broker.rotate_keys(|_| {}).await.unwrap();
    told.heard.clear();
    house.clock.advance(Duration::from_secs(2));
    assert!(told.hear("{\"all\":4,\"done\":4}").await);
    assert_eq!(told.heard.matches("event: keys").count(), 1, "only what is new is told: {}", told.heard);
}

#[tokio::test]
async fn the_audit_trail_has_a_chart_of_calls_by_decision_under_the_same_filter() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    ada.open("/admin/audit").await.shows("No call in this time.");
    let (one, other) = (Id::from_bytes([1; 16]), Id::from_bytes([2; 16]));
    let call = |hours: i64, app, decision| {
        let at = house.clock.now().plus_millis(-hours * 3_600_000);
        AuditEvent::change(at, kind::CALL, None).of_app(app).decided(decision)
    };
    let calls = [
        call(100, one, "allowed"),
        call(3, one, "allowed"),
        call(3, one, "no_grant"),
        call(3, one, "no_grant"),
        call(1, other, "allowed"),
    ];
    house.broker.store.record(&calls).await.unwrap();
    let day = ada.open("/admin/audit").await;
    day.shows("4 calls, 2 of them refused; at most 3 in one hour").shows("no_grant 2, allowed 1").shows("By decision");
    day.shows("href=\"/admin/audit?span=week\"");
    ada.open("/admin/audit?span=week").await.shows("5 calls, 2 of them refused").shows("in one day");
    let of_other = ada.open(&format!("/admin/audit?app={other}")).await;
    of_other.shows("1 calls, 0 of them refused").shows(&format!("/admin/audit?app={other}&#38;span=week"));
    assert!(!ada.open("/admin/audit?kind=app.made").await.has("Calls of the last day"));
}
