//! What administrators see and do, and what nobody else can (SECURITY AD-02, 20 to 22, 42; SE-24).

use std::time::Duration;

use http::StatusCode;
use keyfob::broker::PastedWish;
use keyfob::domain::grant::GrantKind;
use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::domain::secret::Secret;
use keyfob::domain::user::Role;
use keyfob::sandbox::{Moment, SandboxConfig};

use super::browser::{House, PASSWORD};
use super::grants::put_grant;
use super::refresh_world::until;

const PAGES: [&str; 7] = [
    "/admin/keys",
    "/admin/grants",
    "/admin/users",
    "/admin/apps",
    "/admin/audit",
    "/admin/grants.csv",
    "/admin/grants.json",
];

#[tokio::test]
async fn only_administrators_reach_the_administration() {
    let house = House::with_admin().await;
    house.add_user("bob", Role::Member).await;
    let mut bob = house.signed_in("bob").await;
    for path in PAGES {
        assert_eq!(bob.open(path).await.status, StatusCode::FORBIDDEN, "{path}");
        assert!(house.browser().open(path).await.location().starts_with("/sign-in?next="), "{path}");
    }
    assert!(!bob.open("/").await.has("/admin/"), "a member is not shown the way either");
    let ada = house.broker.find_user("ada").await.unwrap().id;
    for (path, fields) in [
        (format!("/admin/users/{ada}"), [("act", "remove")]),
        ("/admin/users".to_owned(), [("username", "eve")]),
        ("/admin/grants/revoke".to_owned(), [("grant", "x")]),
    ] {
        assert_eq!(bob.fill("/apps/new", &path, &fields).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    let page = bob
        .fill(
            "/apps/new",
            "/apps/new",
            &[("name", "x"), ("scope", "vehicles"), ("user", &ada.to_string()), ("role", "admin")],
        )
        .await;
    page.shows("kf_");
    assert!(
        !house.signed_in("ada").await.open("/apps").await.has(">x</a>"),
        "fields that a form does not have count for nothing"
    );
    assert_eq!(house.broker.find_user("bob").await.unwrap().role, Role::Member);
    let mut ada = house.signed_in("ada").await;
    for path in PAGES {
        assert_eq!(ada.open(path).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn the_listing_is_filtered_and_sorted_by_the_status_that_it_shows() {
    let house = House::with_admin().await;
    let user = house.broker.find_user("ada").await.unwrap().id;
    let scopes = ScopeSet::of(Scope::Vehicles);
    let secret = Secret::new(house.sandbox.issue_personal_access_token(1, scopes));
    let kind = GrantKind::PersonalAccessToken;
    let wish = PastedWish { user, kind, scopes, label: "The aged one".to_owned(), secret };
    house.broker.add_pasted_token(wish).await.unwrap();
    // A token that is past its expiry needs its user, though nothing was written anywhere.
    house.clock.advance(Duration::from_secs(20 * 366 * 86_400));
    put_grant(&house, "The young one").await;
    let mut ada = house.signed_in("ada").await;
    for (status, shown, hidden) in
        [("needs_consent", "The aged one", "The young one"), ("active", "The young one", "The aged one")]
    {
        let page = ada.open(&format!("/admin/grants?status={status}")).await;
        assert!(!page.shows("1 grant.").shows(shown).has(hidden), "{status}");
        let csv = ada.open(&format!("/admin/grants.csv?status={status}")).await;
        assert!(csv.body.lines().count() == 2 && csv.has(shown) && csv.has(status), "{}", csv.body);
    }
    for path in ["/", "/admin/grants"] {
        let body = ada.open(path).await.body;
        assert!(body.find("The aged one").unwrap() < body.find("The young one").unwrap(), "it comes first: {path}");
    }
}

#[tokio::test]
async fn chosen_grants_are_all_ended_though_the_browser_hangs_up() {
    let config = SandboxConfig { revoke_endpoint: true, ..SandboxConfig::default() };
    let house = House::with("http://localhost:8700", config, true).await;
    house.add_user("ada", Role::Admin).await;
    let mut ada = house.signed_in("ada").await;
    let pages = [ada.connect(&["vehicles"]).await, ada.connect(&["vehicles"]).await];
    let [one, two] = pages.map(|page| page.trim_start_matches("/grants/").to_owned());
    let token = ada.open("/admin/grants").await.token();
    let fields = [("csrf_token", &*token), ("grant", &*one), ("grant", &*two), ("back", "")];
    let faults = house.sandbox.faults();
    let (asked, hold) = (faults.reached(Moment::BeforeRevoke), faults.hold(Moment::BeforeRevoke));
    tokio::select! {
        () = asked => {}
        // The losing branch is dropped in the middle of the first one's end.
        page = ada.post("/admin/grants/revoke", &fields) => panic!("{page:?}"),
    }
    hold.release();
    until("both are dead, there and here", async || {
        let alive = faults.tokens_alive(1);
        let ended = ada.open("/admin/grants?status=disconnected").await.has("2 grants.");
        (ended && alive.access + alive.refresh == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_listing_shows_who_granted_what_and_revokes_it() {
    let house = House::with_admin().await;
    house.add_user("bob", Role::Member).await;
    let mut bob = house.signed_in("bob").await;
    let token = house.sandbox.issue_personal_access_token(1, ScopeSet::of(Scope::Vehicles));
    let fields = [
        ("kind", "personal_access_token"),
        ("token", token.as_str()),
        ("scope", "vehicles"),
        ("label", "=Bob's \"cars\""),
    ];
    let own = bob.fill("/connect/token", "/connect/token", &fields).await.location().to_owned();
    bob.fill("/apps/new", "/apps/new", &[("name", "Dashboard"), ("scope", "vehicles")]).await;
    bob.connect(&["vehicles", "controls"]).await;

    let mut ada = house.signed_in("ada").await;
    ada.open("/admin/grants").await.shows("2 grants.").shows("bob").shows("active").shows("=Bob&#39;s");
    ada.open("/admin/grants?scope=controls").await.shows("1 grant.");
    ada.open("/admin/grants?user=ada").await.shows("No grant matches");
    ada.open("/admin/grants?user=nobody").await.shows("There is no such user.");
    ada.open("/admin/grants?status=disconnected").await.shows("No grant matches");
    ada.open("/admin/grants?q=cars&sort=expires").await.shows("1 grant.");
    let id = own.trim_start_matches("/grants/");
    ada.open(&format!("/admin/apps?grant={id}")).await.shows("Dashboard").shows("can reach the grant");

    let csv = ada.open("/admin/grants.csv").await;
    assert_eq!(csv.headers["content-disposition"], "attachment; filename=\"keyfob-grants.csv\"");
    assert_eq!(csv.body.lines().count(), 3);
    csv.shows("id,user,label,kind,status").shows("\"'=Bob's \"\"cars\"\"\"");
    let json: serde_json::Value =
        serde_json::from_str(&ada.open("/admin/grants.json?scope=controls").await.body).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 1);
    assert_eq!(json[0]["user"], "bob");
    assert_eq!(json[0]["scopes_granted"], serde_json::json!(["vehicles", "controls"]));
    let none: serde_json::Value = serde_json::from_str(&ada.open("/admin/grants.json?user=ada").await.body).unwrap();
    assert_eq!(none, serde_json::json!([]));
    for page in [csv, ada.open("/admin/grants").await] {
        assert!(!page.has(&token));
    }

    let page = ada.fill("/admin/grants", "/admin/grants/revoke", &[("grant", id), ("back", "?q=cars")]).await;
    assert_eq!(page.location(), "/admin/grants?q=cars");
    ada.open("/admin/grants?q=cars").await.shows("is revoked").shows("disconnected");
    bob.open(&own).await.shows("disconnected");
}

#[tokio::test]
async fn pages_of_a_long_listing_follow_each_other_and_downloads_hold_all() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let token = house.sandbox.issue_personal_access_token(1, ScopeSet::of(Scope::Vehicles));
    for n in 0..52 {
        let user = house.broker.find_user("ada").await.unwrap().id;
        let wish = keyfob::broker::PastedWish {
            user,
            kind: keyfob::domain::grant::GrantKind::PersonalAccessToken,
            scopes: ScopeSet::of(Scope::Vehicles),
            label: format!("Grant {n:02}"),
            secret: keyfob::domain::secret::Secret::new(token.as_str()),
        };
        house.broker.add_pasted_token(wish).await.unwrap();
    }
    let first = ada.open("/admin/grants?sort=user").await;
    first.shows("52 grants.").shows("Grant 00").shows("?sort=user&#38;cursor=25");
    assert!(!first.has("Grant 25"));
    let second = ada.open("/admin/grants?sort=user&cursor=50").await;
    second.shows("Grant 51").shows("First page");
    assert!(!second.has("Next page"));
    for path in ["/admin/grants", "/admin/review"] {
        let beyond = ada.open(&format!("{path}?cursor={}", u32::MAX)).await;
        assert!(beyond.status == StatusCode::OK && !beyond.has("Next page"), "{path}: {}", beyond.status);
    }
    for (query, rows) in [("", 52), ("?q=Grant+0", 10), ("?q=none", 0)] {
        let csv = ada.open(&format!("/admin/grants.csv{query}")).await;
        assert_eq!(
            (csv.body.lines().count(), csv.headers["keyfob-rows"].to_str().unwrap()),
            (rows + 1, &*rows.to_string())
        );
        let json = ada.open(&format!("/admin/grants.json{query}")).await;
        // The page's script counts lines.
        assert_eq!(json.body.matches('\n').count(), rows + 1);
        assert_eq!(json.headers["keyfob-rows"].to_str().unwrap(), rows.to_string());
    }
}

#[tokio::test]
async fn an_administrator_makes_shuts_out_and_removes_users_and_the_last_admin_stays() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let page = ada.fill("/admin/users", "/admin/users", &[("username", "bob"), ("password", "short")]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.shows("at least 8 characters").shows("value=\"bob\"");
    ada.fill("/admin/users", "/admin/users", &[("username", "bob"), ("password", PASSWORD)]).await;
    ada.open("/admin/users").await.shows("“bob” can sign in now.");
    let page = ada.fill("/admin/users", "/admin/users", &[("username", "BOB"), ("password", PASSWORD)]).await;
    page.shows("The user name is taken.");

    let mut bob = house.signed_in("bob").await;
    let id = house.broker.find_user("bob").await.unwrap().id;
    let act = format!("/admin/users/{id}");
    ada.fill("/admin/users", &act, &[("act", "disable")]).await;
    assert_eq!(bob.open("/").await.location(), "/sign-in");
    ada.fill("/admin/users", &act, &[("act", "enable")]).await;
    ada.fill("/admin/users", &act, &[("act", "admin")]).await;
    house.signed_in("bob").await.open("/admin/users").await.shows("Administrator");
    ada.fill("/admin/users", &act, &[("act", "remove")]).await;
    assert_eq!(house.browser().sign_in("bob", PASSWORD).await.status, StatusCode::UNAUTHORIZED);

    let own = format!("/admin/users/{}", house.broker.find_user("ada").await.unwrap().id);
    for act in ["member", "disable", "remove"] {
        let page = ada.fill("/admin/users", &own, &[("act", act)]).await;
        assert_eq!(page.status, StatusCode::CONFLICT, "{act}");
        page.shows("last admin");
    }
    house.clock.advance(std::time::Duration::from_secs(16 * 60));
    let page = ada.fill("/admin/users", "/admin/users", &[("username", "eve"), ("password", PASSWORD)]).await;
    assert_eq!(page.location(), "/confirm?next=%2Fadmin%2Fusers");
    assert!(house.broker.find_user("eve").await.is_err());
}

#[tokio::test]
async fn an_invitation_lets_its_user_set_a_password_once() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let page = ada.fill("/admin/users", "/admin/users", &[("username", "bob")]).await;
    let link = page.body.split("http://localhost:8700").find(|rest| rest.starts_with("/invitation?token=")).unwrap();
    let link = link.split('<').next().unwrap().to_owned();
    let token = link.split('=').nth(1).unwrap().to_owned();
    assert_eq!(house.browser().sign_in("bob", "").await.status, StatusCode::UNAUTHORIZED);

    let mut bob = house.browser();
    bob.open(&link).await.shows("Welcome, bob");
    let short = bob.fill(&link, "/invitation", &[("token", &token), ("password", "short")]).await;
    assert_eq!(short.status, StatusCode::UNPROCESSABLE_ENTITY);
    let done = bob.fill(&link, "/invitation", &[("token", &token), ("password", PASSWORD)]).await;
    assert_eq!(done.location(), "/");
    bob.open("/").await.shows("Hello, bob");
    let mut eve = house.browser();
    assert_eq!(eve.open(&link).await.status, StatusCode::FORBIDDEN);
    let again = eve.fill("/sign-in", "/invitation", &[("token", &token), ("password", PASSWORD)]).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
    house.signed_in("bob").await;
}

#[tokio::test]
async fn home_counts_calls_by_hour_and_shows_what_each_app_may_do_and_does() {
    let house = House::with_admin().await;
    house.add_user("bob", Role::Member).await;
    let mut ada = house.signed_in("ada").await;
    assert!(!ada.open("/").await.has("Calls of the last day"), "without an app there is nothing to count");
    let made =
        ada.fill("/apps/new", "/apps/new", &[("name", "Dash"), ("scope", "vehicles"), ("scope", "account")]).await;
    let id = made.body.split("/apps/").filter_map(|rest| rest.split('"').next()).find(|id| id.len() == 36).unwrap();
    let (user, now) = (house.broker.find_user("ada").await.unwrap().id, house.clock.now());
    let call = |hours: i64, decision: &'static str| keyfob::domain::audit::AuditEvent {
        app: Some(id.parse().unwrap()),
        scope: Some(Scope::Vehicles),
        ..keyfob::domain::audit::AuditEvent::change(
            now.plus_millis(-hours * 3_600_000),
            keyfob::domain::audit::kind::CALL,
            Some(user),
        )
        .decided(decision)
    };
    let calls = [
        call(100, "allowed"),
        call(30, "allowed"),
        call(3, "allowed"),
        call(3, "insufficient_scope"),
        call(0, "allowed"),
    ];
    house.broker.store.record(&keyfob::store::AuditRow::of(&calls)).await.unwrap();

    let day = ada.open("/").await;
    day.shows("3 calls, 1 of them refused; at most 2 in one hour").shows("Dash 2").shows("\">never</td>");
    let drawn =
        |class: &str| day.body.split(&format!("class=\"{class}\" d=\"")).nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(drawn("bar").matches('M').count(), 2, "two hours have allowed calls");
    assert_eq!(drawn("bar refused").matches('M').count(), 1);
    ada.open("/?span=week").await.shows("5 calls, 1 of them refused").shows("in one day");
    let page = ada.fill("/", &format!("/apps/{id}/scopes"), &[]).await;
    assert_eq!(page.location(), format!("/apps/{id}"));
    let app = house.broker.find_app(id.parse().unwrap(), None).await.unwrap();
    assert_eq!(app.app.scopes, ScopeSet::of(Scope::Vehicles), "what was never used is dropped");
    house.signed_in("bob").await.fill("/apps/new", "/apps/new", &[("name", "Other"), ("scope", "vehicles")]).await;
    house.signed_in("bob").await.open("/").await.shows("No call in this time.");
}

#[tokio::test]
async fn the_audit_trail_tells_what_happened_and_holds_no_secret() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let page = ada.fill("/apps/new", "/apps/new", &[("name", "Dashboard"), ("scope", "vehicles")]).await;
    let key = page.body.split("kf_").nth(1).unwrap()[..43].to_owned();
    ada.open("/apps").await.shows("Dashboard");
    assert!(!ada.open("/apps").await.has(&key), "a key is shown once");
    house.broker.trail().finish(std::time::Duration::from_secs(5)).await;
    let trail = ada.open("/admin/audit").await;
    trail.shows("app.made").shows("session.signed_in").shows("user.made").shows("Dashboard");
    assert!(!trail.has(&key) && !trail.has("CANARY"));
    ada.open("/admin/audit?kind=app.made&user=ada").await.shows("Dashboard");
    ada.open("/admin/audit?user=nobody").await.shows("There is no such user.");
    ada.open("/admin/audit?since=soon").await.shows("must be a number and a unit");
    ada.open("/admin/audit?app=x").await.shows("is not an id");
}

#[tokio::test]
async fn an_app_is_rolled_narrowed_and_revoked_by_its_user_or_an_admin() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let made = ada
        .fill(
            "/apps/new",
            "/apps/new",
            &[("name", "Dash"), ("scope", "vehicles"), ("expires", "90d"), ("rate", "10/s")],
        )
        .await;
    made.shows("curl -H").shows("Home Assistant").shows("openHAB").shows("ESP8266").shows("fetch(").shows("urllib");
    assert!(!made.has("mcpServers"), "an app without mcp:use is not told how to be an MCP client");
    let id = made.body.split("/apps/").filter_map(|rest| rest.split('"').next()).find(|id| id.len() == 36).unwrap();
    let app = format!("/apps/{id}");
    ada.open(&app).await.shows("10/s").shows("No call yet");
    let bad = ada.fill(&app, &format!("{app}/roll"), &[("overlap", "soon")]).await;
    assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY);
    bad.shows("must be a number and a unit").shows("value=\"soon\"");
    ada.fill(&app, &format!("{app}/roll"), &[("overlap", "24h")])
        .await
        .shows("kf_")
        .shows("The old key stays valid for 1d.");
    let page = ada.fill("/admin/apps", &format!("/admin/apps/{id}/revoke"), &[]).await;
    assert_eq!(page.location(), "/admin/apps");
    let page = ada.open(&app).await;
    page.shows("revoked");
    assert!(!page.has(&format!("{app}/roll")), "there is nothing left to roll");
    for (field, value, words) in [
        ("expires", "soon", "must be a number and a unit"),
        ("rate", "fast", "must be calls per second"),
        ("name", "", "must be 1 to 80 characters"),
        ("grant", "x", "There is no such grant."),
    ] {
        let page =
            ada.fill("/apps/new", "/apps/new", &[(field, value), ("scope", "vehicles"), ("expires", "7d")]).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{field}");
        page.shows(words);
    }
}

#[tokio::test]
async fn the_keys_page_shows_master_keys_and_an_admin_key_once() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    ada.connect(&["vehicles"]).await;
    ada.open("/admin/keys").await.shows("Seals what is new").shows("No admin key");
    let made = ada.fill("/admin/keys", "/admin/keys", &[("name", "Backup script")]).await;
    made.shows("kfa_").shows("/api/v1/grants");
    let key = made.body.split("kfa_").nth(1).unwrap()[..43].to_owned();
    let page = ada.open("/admin/keys").await;
    page.shows("Backup script");
    assert!(!page.has(&key));
    let id = page.body.split("/admin/keys/").nth(1).unwrap().split('/').next().unwrap().to_owned();
    ada.fill("/admin/keys", &format!("/admin/keys/{id}/revoke"), &[]).await;
    ada.open("/admin/keys").await.shows("The admin key is dead.").shows("revoked");
    let page = ada.fill("/admin/keys", "/admin/keys", &[("name", " ")]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
}
