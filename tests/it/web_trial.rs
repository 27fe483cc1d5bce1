//! The test button of an app's page: a real call, with a real row, and never a command.

use http::StatusCode;
use keyfob::broker::AuditFilter;
use keyfob::domain::audit::kind;
use keyfob::domain::user::Role;

use super::browser::{Browser, House, Provider};

/// Makes an app and gives the path of its page.
async fn app(browser: &mut Browser<'_>, scopes: &[&str]) -> String {
    let mut fields = vec![("name", "Dash")];
    fields.extend(scopes.iter().map(|scope| ("scope", *scope)));
    let made = browser.fill("/apps/new", "/apps/new", &fields).await;
    let id = made.body.split("/apps/").filter_map(|rest| rest.split('"').next()).find(|id| id.len() == 36).unwrap();
    format!("/apps/{id}")
}

#[tokio::test]
async fn a_call_made_from_the_page_is_the_apps_own_and_stands_in_its_trail() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    ada.connect(&["vehicles"]).await;
    let page = app(&mut ada, &["vehicles"]).await;
    ada.open(&page).await.shows("Try it").shows("value=\"/api/vehicles\"");
    let answered = ada.fill(&page, &format!("{page}/try"), &[("path", "/api/vehicles?page=1")]).await;
    assert_eq!(answered.status, StatusCode::OK, "{}", answered.body);
    answered.shows("Status 200").shows("Teslascope answered.").shows("&#34;public_id&#34;: ");
    assert!(!answered.has("No call yet"), "its row stands in the list already");
    let filter = AuditFilter { kind: Some(kind::CALL), limit: 10, ..AuditFilter::default() };
    let rows = house.broker.list_audit(&filter).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&*rows[0].decision, rows[0].status, rows[0].path.as_deref()),
        ("allowed", Some(200), Some("/api/vehicles"))
    );
    assert!(rows[0].grant.is_some() && page.ends_with(&rows[0].app.unwrap().to_string()));
}

#[tokio::test]
async fn a_refusal_is_shown_with_its_code_and_the_way_to_mend_it() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let page = app(&mut ada, &["vehicles"]).await;
    let act = format!("{page}/try");
    ada.fill(&page, &act, &[("path", "/api/vehicles")])
        .await
        .shows("Keyfob refused it: no_grant.")
        .shows(&format!("href=\"/connect?scope=vehicles&#38;next={}\"", page.replace('/', "%2F")));
    let granting = ada
        .fill(&format!("/connect?scope=vehicles&next={page}"), "/connect", &[("scope", "vehicles"), ("next", &page)])
        .await;
    let callback = Provider::new().authorize(granting.location(), &["vehicles"]).await;
    assert_eq!(ada.open(&callback).await.location(), page, "the grant brings back to where it was missed");
    ada.fill(&page, &act, &[("path", "/api/vehicles")]).await.shows("Teslascope answered.");
    ada.fill(&page, &act, &[("path", "/api/account")])
        .await
        .shows("Keyfob refused it: insufficient_scope.")
        .shows(&format!("href=\"{page}?scope=account\""));
    ada.fill(&page, &act, &[("path", "/api/nothing")]).await.shows("Keyfob refused it: unknown_endpoint.");
    ada.fill(&page, &act, &[("path", "/api/software/latest")]).await.shows("Teslascope answered.");
}

#[tokio::test]
async fn no_command_goes_out_from_a_page_and_no_other_path() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    ada.connect(&["vehicles", "controls"]).await;
    let page = app(&mut ada, &["vehicles", "controls"]).await;
    let act = format!("{page}/try");
    for path in ["/api/vehicle/x/command/unlock", "/api/vehicle/x/wakeup", "/api/vehicle/x/update", "/api/vehicle/x/y"]
    {
        let refused = ada.fill(&page, &act, &[("path", path)]).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        refused.shows("never a command");
    }
    let long = format!("/api/{}", "x".repeat(600));
    for path in ["", "vehicles", "/mcp", "//evil/api/", "http://evil/api/", "/api/ x", "/api/é", &long] {
        let refused = ada.fill(&page, &act, &[("path", path)]).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
    }
    let filter = AuditFilter { kind: Some(kind::CALL), limit: 10, ..AuditFilter::default() };
    assert_eq!(house.broker.list_audit(&filter).await.unwrap().len(), 0, "nothing was called at all");
    let ambiguous = ada.fill(&page, &act, &[("path", "/api/vehicle/x/%63ommand/unlock")]).await;
    ambiguous.shows("Keyfob refused it: bad_request_target.");
}

#[tokio::test]
async fn nobody_calls_as_anothers_app_or_as_one_that_is_cut_off() {
    let house = House::with_admin().await;
    house.add_user("bob", Role::Member).await;
    let mut ada = house.signed_in("ada").await;
    ada.connect(&["vehicles"]).await;
    let page = app(&mut ada, &["vehicles"]).await;
    let act = format!("{page}/try");
    let mut bob = house.signed_in("bob").await;
    let refused = bob.fill("/apps/new", &act, &[("path", "/api/vehicles")]).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    let forged = ada.post(&act, &[("path", "/api/vehicles")]).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    ada.fill(&page, &format!("{page}/revoke"), &[]).await;
    assert!(!ada.open(&page).await.has("Try it"));
    let dead = ada.fill("/apps/new", &act, &[("path", "/api/vehicles")]).await;
    assert_eq!(dead.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_call_from_a_page_counts_against_the_rate_of_its_app() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    ada.connect(&["vehicles"]).await;
    let made = ada.fill("/apps/new", "/apps/new", &[("name", "Slow"), ("scope", "vehicles"), ("rate", "2/h")]).await;
    let id = made.body.split("/apps/").filter_map(|rest| rest.split('"').next()).find(|id| id.len() == 36).unwrap();
    let page = format!("/apps/{id}");
    for expected in ["Status 200", "Status 200", "Keyfob refused it: rate_limited."] {
        ada.fill(&page, &format!("{page}/try"), &[("path", "/api/vehicles")]).await.shows(expected);
    }
}

#[tokio::test]
async fn an_app_is_allowed_more_or_less_by_its_user_who_shows_their_password_for_more() {
    let house = House::with_admin().await;
    house.add_user("bob", Role::Member).await;
    let mut ada = house.signed_in("ada").await;
    let page = app(&mut ada, &["vehicles"]).await;
    let act = format!("{page}/allow");
    let open = ada.open(&format!("{page}?scope=account&next=/live")).await;
    open.shows("<details open><summary>Change what it may do").shows("value=\"account\" checked");
    let fields = [("scope", "vehicles"), ("scope", "account"), ("next", "/live")];
    assert_eq!(ada.fill(&page, &act, &fields).await.location(), "/live", "back to where it was missed");
    ada.open("/live").await.shows("may now use: ");
    let id = page.trim_start_matches("/apps/").parse().unwrap();
    let scopes = async || house.broker.find_app(id, None).await.unwrap().app.scopes.to_string();
    assert!(scopes().await.contains("account"));
    let none = ada.fill(&page, &act, &[]).await;
    assert_eq!(none.status, StatusCode::UNPROCESSABLE_ENTITY);
    let unknown = ada.fill(&page, &act, &[("scope", "root")]).await;
    assert_eq!(unknown.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(ada.fill(&page, &act, &[("scope", "vehicles"), ("next", "//evil")]).await.location(), page);
    assert!(!scopes().await.contains("account"));

    let mut bob = house.signed_in("bob").await;
    assert_eq!(bob.fill("/apps/new", &act, &[("scope", "controls")]).await.status, StatusCode::NOT_FOUND);
    house.clock.advance(std::time::Duration::from_secs(16 * 60));
    let asked = ada.fill(&page, &act, &[("scope", "vehicles"), ("scope", "controls")]).await;
    assert!(asked.location().starts_with("/confirm?next="), "{}", asked.location());
    assert!(!scopes().await.contains("controls"));
    assert_eq!(ada.fill(&page, &act, &[("scope", "vehicles")]).await.location(), page, "less needs no password");
}

#[tokio::test]
async fn an_app_that_is_tied_to_a_grant_is_allowed_no_more_than_that_holds() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let grant = ada.connect(&["vehicles", "account"]).await;
    let grant = grant.trim_start_matches("/grants/");
    let made = ada.fill("/apps/new", "/apps/new", &[("name", "T"), ("scope", "vehicles"), ("grant", grant)]).await;
    let id = made.body.split("/apps/").filter_map(|rest| rest.split('"').next()).find(|id| id.len() == 36).unwrap();
    let (page, act) = (format!("/apps/{id}"), format!("/apps/{id}/allow"));
    let wide = ada.fill(&page, &act, &[("scope", "vehicles"), ("scope", "controls")]).await;
    assert_eq!(wide.status, StatusCode::UNPROCESSABLE_ENTITY);
    wide.shows("controls");
    assert_eq!(ada.fill(&page, &act, &[("scope", "vehicles"), ("scope", "account")]).await.location(), page);
}
