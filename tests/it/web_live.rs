//! Calls as they happen: whose are told to whom, for how long, and what becomes of a reader who is too slow.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use futures_util::StreamExt as _;
use http::{Request, StatusCode};
use keyfob::domain::audit::{AuditEvent, kind};
use keyfob::domain::id::UserId;
use keyfob::domain::scope::Scope;
use keyfob::domain::user::Role;

use super::browser::{Browser, House, PASSWORD};

/// What a browser does with a stream of events.
pub(crate) struct Events {
    body: BodyDataStream,
    pub(crate) heard: String,
}

impl Events {
    pub(crate) async fn of(browser: &mut Browser<'_>, path: &str) -> Self {
        let request = Request::get(path).header("accept", "text/event-stream").body(Body::empty()).unwrap();
        let answer = browser.answer(request).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        Self { body: answer.into_body().into_data_stream(), heard: String::new() }
    }

    /// Listens until a text was heard, or the stream has ended. Whether it was heard.
    pub(crate) async fn hear(&mut self, text: &str) -> bool {
        let listening = async {
            while !self.heard.contains(text) {
                let Some(bytes) = self.body.next().await else { return false };
                self.heard.push_str(str::from_utf8(&bytes.unwrap()).unwrap());
            }
            true
        };
        tokio::time::timeout(Duration::from_secs(20), listening)
            .await
            .unwrap_or_else(|_| panic!("“{text}” was not heard"))
    }
}

impl Events {
    /// Listens until the stream has ended.
    pub(crate) async fn end(&mut self) {
        assert!(!self.hear("no event has this in it").await);
    }
}

fn call(house: &House, user: UserId, path: &str, decision: &'static str) -> AuditEvent {
    AuditEvent {
        method: Some("GET".into()),
        status: Some(if decision == "allowed" { 200 } else { 403 }),
        scope: Some(Scope::Vehicles),
        ..AuditEvent::change(house.clock.now(), kind::CALL, Some(user)).decided(decision).about(path)
    }
}

async fn id_of(house: &House, name: &str) -> UserId {
    house.broker.find_user(name).await.unwrap().id
}

#[tokio::test]
async fn a_call_is_told_as_it_happens_with_why_and_only_to_its_user_and_administrators() {
    let house = House::with_admin().await;
    house.add_user("bob", Role::Member).await;
    let (mut ada, mut bob) = (house.signed_in("ada").await, house.signed_in("bob").await);
    ada.connect(&["vehicles"]).await;
    let made = ada.fill("/apps/new", "/apps/new", &[("name", "<b>Dash"), ("scope", "vehicles")]).await;
    let id = made.body.split("/apps/").filter_map(|rest| rest.split('"').next()).find(|id| id.len() == 36).unwrap();
    let mut own = Events::of(&mut ada, "/live/events").await;
    let mut all = Events::of(&mut ada, "/admin/live/events").await;
    let mut bobs = Events::of(&mut bob, "/live/events").await;
    for path in ["/api/vehicles", "/api/account"] {
        ada.fill(&format!("/apps/{id}"), &format!("/apps/{id}/try"), &[("path", path)]).await;
    }
    assert!(own.hear("The app may use vehicles; the grant “vehicles” served it.").await, "{}", own.heard);
    assert!(own.hear("The app may not use account.").await);
    assert!(own.heard.contains("\"app\":\"<b>Dash\"") && own.heard.contains("?scope=account&next=/live\""));
    assert!(all.hear("The app may not use account.").await);
    assert!(!all.heard.contains("?scope=account"), "an administrator is not sent to mend what is another's");
    house.broker.trail().record(call(&house, id_of(&house, "bob").await, "/api/bobs", "allowed"));
    assert!(bobs.hear("/api/bobs").await);
    assert!(all.hear("/api/bobs").await);
    assert!(!bobs.heard.contains("/api/vehicles"), "nothing of another user: {}", bobs.heard);

    ada.open("/live")
        .await
        .shows("The app may not use account.")
        .shows("&#60;b&#62;Dash")
        .shows("href=\"/live\">Refresh");
    let page = bob.open("/live").await;
    assert!(page.has(">bobs<") && !page.has("Dash") && !page.has(">vehicles<"));
    ada.open("/admin/live").await.shows(">bobs<").shows("Dash");
    for path in ["/admin/live", "/admin/live/events"] {
        assert_eq!(bob.open(path).await.status, StatusCode::FORBIDDEN, "{path}");
        assert!(house.browser().open(path).await.location().starts_with("/sign-in"), "{path}");
    }
    assert!(house.browser().open("/live/events").await.location().starts_with("/sign-in"));
}

#[tokio::test]
async fn a_stream_ends_with_its_session_its_user_and_the_role_that_it_needs() {
    let house = House::with_admin().await;
    house.add_user("bob", Role::Admin).await;
    let (mut first, mut second) = (house.signed_in("bob").await, house.signed_in("bob").await);
    let mut out = Events::of(&mut first, "/live/events").await;
    let mut all = Events::of(&mut second, "/admin/live/events").await;
    let mut own = Events::of(&mut second, "/live/events").await;
    let later = || house.clock.advance(Duration::from_secs(3));
    first.fill("/", "/sign-out", &[]).await;
    later();
    out.end().await;

    let bob = id_of(&house, "bob").await;
    house.broker.set_role(bob, Role::Member).await.unwrap();
    later();
    all.end().await;
    // Another role is another session.
    own.end().await;

    let mut third = house.signed_in("bob").await;
    let mut own = Events::of(&mut third, "/live/events").await;
    house.broker.trail().record(call(&house, bob, "/api/still", "allowed"));
    assert!(own.hear("/api/still").await);
    house.broker.set_disabled(bob, true).await.unwrap();
    later();
    own.end().await;
}

#[tokio::test]
async fn a_stream_ends_with_its_session_s_id_and_goes_on_for_whoever_comes_again_with_the_new_one() {
    let house = House::with_admin().await;
    let me = id_of(&house, "ada").await;
    let (mut here, mut there) = (house.signed_in("ada").await, house.signed_in("ada").await);
    let later = || house.clock.advance(Duration::from_secs(3));
    let password = ("password", PASSWORD);
    let words = "another CANARY passphrase";
    for (page, action, fields) in [
        ("/confirm", "/confirm", vec![password]),
        ("/account", "/account/password", vec![("old", PASSWORD), ("password", words)]),
    ] {
        let mut before = Events::of(&mut here, "/live/events").await;
        let done = here.fill(page, action, &fields).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{action}: {}", done.body);
        later();
        before.end().await;
        let mut again = Events::of(&mut here, "/live/events").await;
        house.broker.trail().record(call(&house, me, "/api/again", "allowed"));
        assert!(again.hear("/api/again").await, "{action}");
    }
    // The new password has ended the other session; a browser that comes again is sent to sign in.
    assert!(there.open("/live/events").await.location().starts_with("/sign-in"));
}

#[tokio::test]
async fn a_stream_ends_with_a_new_password_elsewhere_and_with_signing_out_everywhere_else() {
    let house = House::with_admin().await;
    let mut here = house.signed_in("ada").await;
    let acts = [
        ("/account/sessions", vec![]),
        ("/account/password", vec![("old", PASSWORD), ("password", "another CANARY passphrase")]),
    ];
    for (action, fields) in acts {
        let mut there = house.signed_in("ada").await;
        let mut told = Events::of(&mut there, "/live/events").await;
        assert_eq!(here.fill("/account", action, &fields).await.status, StatusCode::SEE_OTHER);
        house.clock.advance(Duration::from_secs(3));
        told.end().await;
    }
}

#[tokio::test]
async fn a_stream_keeps_no_session_alive_however_often_it_comes_again() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    for _ in 0..4 {
        house.clock.advance(Duration::from_secs(2 * 3_600 + 3_000));
        let mut told = Events::of(&mut ada, "/live/events").await;
        let me = id_of(&house, "ada").await;
        house.broker.trail().record(call(&house, me, "/api/seen", "allowed"));
        assert!(told.hear("/api/seen").await);
    }
    let mut told = Events::of(&mut ada, "/live/events").await;
    house.clock.advance(Duration::from_secs(3_600));
    told.end().await;
    assert!(ada.open("/").await.location().starts_with("/sign-in"), "it was idle for 12 hours");
}

#[tokio::test]
async fn one_user_holds_few_streams_and_a_closed_one_makes_room() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(Events::of(&mut ada, "/live/events").await);
    }
    let mut fifth = Events::of(&mut ada, "/live/events").await;
    assert!(fifth.hear("event: full").await && !fifth.hear("never").await);
    held.pop();
    let mut again = Events::of(&mut ada, "/live/events").await;
    house.broker.trail().record(call(&house, id_of(&house, "ada").await, "/api/room", "allowed"));
    assert!(again.hear("/api/room").await);
}

#[tokio::test]
async fn a_reader_who_is_too_slow_misses_calls_is_told_how_many_and_keeps_nobody_waiting() {
    let house = House::with_admin().await;
    house.add_user("bob", Role::Member).await;
    let (mut ada, mut bob) = (house.signed_in("ada").await, house.signed_in("bob").await);
    let (me, other) = (id_of(&house, "ada").await, id_of(&house, "bob").await);
    let mut all = Events::of(&mut ada, "/admin/live/events").await;
    let mut own = Events::of(&mut ada, "/live/events").await;
    let mut bobs = Events::of(&mut bob, "/live/events").await;
    // Nobody reads meanwhile.
    for n in 0..100 {
        house.broker.trail().record(call(&house, me, &format!("/api/n{n}"), "allowed"));
    }
    assert!(own.hear("event: missed\ndata: 60\n").await, "{}", own.heard);
    assert!(own.hear("/api/n99").await && own.heard.contains("/api/n60\"") && !own.heard.contains("/api/n59\""));
    for _ in 0..6_000 {
        house.broker.trail().record(call(&house, other, "/api/flood", "allowed"));
    }
    house.broker.trail().record(call(&house, me, "/api/last", "allowed"));
    assert!(all.hear("/api/last").await);
    let missed: usize = all
        .heard
        .split("event: missed\ndata: ")
        .skip(1)
        .filter_map(|rest| rest.split('\n').next()?.parse::<usize>().ok())
        .sum();
    let told = all.heard.matches("event: call").count();
    assert_eq!(missed + told, 6_101, "every call is told or counted");
    assert!(own.hear("/api/last").await && own.heard.contains("data: Some\n"), "how much others call is not told");
    assert!(bobs.hear("/api/flood").await);
}

#[tokio::test]
async fn a_stream_leaves_the_message_for_the_next_page() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let page = ada.fill("/admin/users", "/admin/users", &[("username", "eve"), ("password", PASSWORD)]).await;
    assert_eq!(page.location(), "/admin/users");
    Events::of(&mut ada, "/live/events").await;
    ada.open("/admin/users").await.shows("“eve” can sign in now.");
}
