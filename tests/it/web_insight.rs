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
    house.broker.store.record(&keyfob::store::AuditRow::of(&calls)).await.unwrap();
    let day = ada.open("/admin/audit").await;
    day.shows("4 calls, 2 of them refused; at most 3 in one hour").shows("no_grant 2, allowed 1").shows("By decision");
    day.shows("href=\"/admin/audit?span=week\"");
    ada.open("/admin/audit?span=week").await.shows("5 calls, 2 of them refused").shows("in one day");
    let of_other = ada.open(&format!("/admin/audit?app={other}")).await;
    of_other.shows("1 calls, 0 of them refused").shows(&format!("/admin/audit?app={other}&#38;span=week"));
    assert!(!ada.open("/admin/audit?kind=app.made").await.has("Calls of the last day"));
}

#[tokio::test]
async fn refusals_of_unknown_callers_are_shown_with_how_many_there_were() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    for _ in 0..7 {
        house.broker.trail().count_unknown("invalid_app_key");
    }
    house.broker.trail().finish(Duration::from_secs(5)).await;
    ada.open("/admin/audit?kind=unknown_callers").await.shows("invalid_app_key, 7 times");
}

#[tokio::test]
async fn a_disconnected_grant_serves_no_app_and_an_app_tied_to_it_says_so() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let grant = ada.connect(&["vehicles"]).await;
    let id = grant.trim_start_matches("/grants/");
    let made = ada.fill("/apps/new", "/apps/new", &[("name", "Tied"), ("scope", "vehicles"), ("grant", id)]).await;
    let app = made.body.split("/apps/").filter_map(|rest| rest.split('"').next()).find(|id| id.len() == 36).unwrap();
    let page = format!("/apps/{app}");
    assert!(!ada.open(&page).await.has("Its grant is gone"));
    ada.open(&grant).await.shows(&format!("href=\"{page}\">Tied</a>"));
    ada.fill(&grant, &format!("{grant}/disconnect"), &[]).await;
    ada.open("/").await.shows("The grant of “Tied” is gone");
    ada.open(&page).await.shows("Its grant is gone");
    assert!(!ada.open(&grant).await.has(">Tied</a>"));
    let listed = ada.open("/admin/grants").await;
    assert!(!listed.has(&format!("/admin/apps?grant={id}")), "no app can reach it");
    let json: serde_json::Value = serde_json::from_str(&ada.open("/admin/grants.json").await.body).unwrap();
    assert_eq!((json[0]["status"].as_str(), json[0]["expires_at"].is_null()), (Some("disconnected"), true));
}

#[tokio::test]
async fn a_filter_that_names_nothing_says_so() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    put_grant(&house, "car").await;
    for (query, words) in [("scope=bogus", "There is no such scope."), ("status=zz", "There is no such status.")] {
        let page = ada.open(&format!("/admin/grants?{query}")).await;
        page.shows(words);
        assert!(!page.has(">car<"), "{query}");
        assert_eq!(ada.open(&format!("/admin/grants.csv?{query}")).await.status, StatusCode::NOT_FOUND);
    }
    let house = House::new().await;
    let token = house.broker.issue_setup_token().await.unwrap().unwrap();
    let mut first = house.browser();
    let token = token.expose_str().unwrap();
    let page = first.fill(&format!("/setup?token={token}"), "/setup", &[("token", token)]).await;
    page.shows("id=\"username-error\"").shows("id=\"password-error\"");
}
