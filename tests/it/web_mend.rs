//! What mends a refusal of the proxy: the way from the call to the page, what is ticked there, and the way back.

use std::time::Duration;

use http::StatusCode;
use keyfob::domain::grant::ConsentReason;
use keyfob::domain::id::GrantId;
use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::domain::user::Role;
use keyfob::store::Change;

use super::browser::{Browser, House, PASSWORD, Page, Provider};
use super::refresh_world::until;
use super::web_live::Events;

/// Where a link with these words leads.
fn way(page: &Page, words: &str) -> String {
    let end = format!("\">{words}</a>");
    let (before, _) = page.body.split_once(&end).unwrap_or_else(|| panic!("no “{words}” in {}", page.body));
    before.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&")
}

/// The value of the hidden field that says where to go back to.
fn next(page: &Page) -> String {
    let (_, after) =
        page.body.split_once("name=\"next\" value=\"").unwrap_or_else(|| panic!("no next in {}", page.body));
    after.split('"').next().unwrap().replace("&#38;", "&")
}

fn is_ticked(page: &Page, scope: &str) -> bool {
    page.has(&format!("name=\"scope\" value=\"{scope}\" checked"))
}

/// Makes an app; the path of its page.
async fn app(browser: &mut Browser<'_>, fields: &[(&str, &str)]) -> String {
    let made = browser.fill("/apps/new", "/apps/new", fields).await;
    let id = made.body.split("/apps/").filter_map(|rest| rest.split('"').next()).find(|id| id.len() == 36);
    format!("/apps/{}", id.unwrap_or_else(|| panic!("{}", made.body)))
}

/// Makes a call as the app, which is refused; the way to mend it that stands beside the answer.
async fn refused(browser: &mut Browser<'_>, app: &str, path: &str, code: &str) -> String {
    let page = browser.fill(app, &format!("{app}/try"), &[("path", path)]).await;
    way(page.shows(&format!("Keyfob refused it: {code}.")), "Mend it")
}

/// Opens the live page until a way stands there with these words.
async fn live_shows(browser: &mut Browser<'_>, words: &str, to: &str) {
    let link = format!("href=\"{}\">{words}<", to.replace('&', "&#38;"));
    until(&link, async || browser.open("/live").await.has(&link).then_some(())).await;
}

/// Sends a form of a page to the provider and consents there; where the callback leads.
async fn consent(
    browser: &mut Browser<'_>,
    page: &str,
    action: &str,
    fields: &[(&str, &str)],
    scopes: &[&str],
) -> String {
    let asked = browser.fill(page, action, fields).await;
    assert_eq!(asked.status, StatusCode::SEE_OTHER, "{}", asked.body);
    let callback = Provider::new().authorize(asked.location(), scopes).await;
    browser.open(&callback).await.location().to_owned()
}

#[tokio::test]
async fn what_was_ticked_and_the_way_back_outlive_the_question_for_the_password() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    ada.connect(&["vehicles", "account"]).await;
    let app = app(&mut ada, &[("name", "Dash"), ("scope", "vehicles"), ("scope", "mcp:use")]).await;
    house.clock.advance(Duration::from_secs(16 * 60));
    let fields = [("scope", "account"), ("scope", "mcp:use"), ("next", "/live?a=b&c=d")];
    let page = ada.fill(&app, &format!("{app}/allow"), &fields).await;
    let (confirm, back) = page.location().split_once("?next=").unwrap();
    assert_eq!(confirm, "/confirm");
    let back = url::form_urlencoded::parse(format!("next={back}").as_bytes()).next().unwrap().1.into_owned();
    let shown = ada.fill(page.location(), "/confirm", &[("password", PASSWORD), ("next", &back)]).await;
    assert!(shown.location().starts_with(&format!("{app}?")), "{}", shown.location());
    let page = ada.open(shown.location()).await;
    assert!(page.has("<details open>") && is_ticked(&page, "account") && is_ticked(&page, "mcp:use"));
    assert!(!is_ticked(&page, "vehicles"), "it was taken out");
    assert_eq!(next(&page), "/live?a=b&c=d");
    assert_eq!(ada.fill(&app, &format!("{app}/allow"), &fields).await.location(), "/live?a=b&c=d");
    let id = app.trim_start_matches("/apps/").parse().unwrap();
    let scopes = house.broker.find_app(id, None).await.unwrap().app.scopes;
    assert_eq!(scopes, [Scope::Account, Scope::McpUse].into_iter().collect::<ScopeSet>());
}

#[tokio::test]
async fn a_tied_app_that_lacks_a_scope_is_led_to_its_grant_first_and_back_with_its_ticks() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let grant = ada.connect(&["vehicles"]).await;
    let id = grant.trim_start_matches("/grants/").to_owned();
    let app = app(&mut ada, &[("name", "Dash"), ("scope", "vehicles"), ("grant", &id)]).await;
    refused(&mut ada, &app, "/api/account", "insufficient_scope").await;
    let allow = format!("{app}?scope=account&next=/live");
    live_shows(&mut ada, "Allow it", &allow).await;
    let page = ada.open(&allow).await;
    assert!(is_ticked(&page, "account") && is_ticked(&page, "vehicles"));
    let fields = [("scope", "vehicles"), ("scope", "account"), ("next", "/live")];
    let narrow = ada.fill(&allow, &format!("{app}/allow"), &fields).await;
    assert_eq!(narrow.status, StatusCode::UNPROCESSABLE_ENTITY);
    let widen = way(&narrow, "Widen that grant first");
    assert_eq!(widen, way(&page, "Widen that grant first"), "it is said before, too");

    let page = ada.open(&widen).await;
    assert!(is_ticked(&page, "account") && !is_ticked(&page, "controls"));
    let back = next(&page);
    let fields_of_grant = [("scope", "account"), ("next", back.as_str())];
    let scopes = ["vehicles", "account"];
    let returned = consent(&mut ada, &widen, &format!("{grant}/scopes"), &fields_of_grant, &scopes).await;
    let page = ada.open(&returned).await;
    assert!(returned.starts_with(&app) && is_ticked(&page, "account") && is_ticked(&page, "vehicles"));
    assert!(!page.has("Widen that grant first") && next(&page) == "/live");
    assert_eq!(ada.fill(&returned, &format!("{app}/allow"), &fields).await.location(), "/live");
    ada.fill(&app, &format!("{app}/try"), &[("path", "/api/account")]).await.shows("Teslascope answered.");
}

#[tokio::test]
async fn a_tied_app_whose_grant_lacks_a_scope_is_led_to_widen_it_and_to_a_new_app_once_the_grant_is_gone() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let grant = ada.connect(&["vehicles", "account"]).await;
    let id = grant.trim_start_matches("/grants/").to_owned();
    let fields = [("name", "Dash & co"), ("scope", "vehicles"), ("scope", "account"), ("grant", &id), ("rate", "10/s")];
    let app = app(&mut ada, &fields).await;
    // Renewed with less.
    assert_eq!(consent(&mut ada, &grant, &format!("{grant}/renew"), &[], &["vehicles"]).await, grant);
    let mut told = Events::of(&mut ada, "/live/events").await;
    let mend = refused(&mut ada, &app, "/api/account", "no_grant").await;
    assert!(told.hear("\"words\":\"Widen its grant\"").await);
    assert_eq!(mend, format!("{grant}?scope=account&next={}", app.replace('/', "%2F")));
    let widen = format!("{grant}?scope=account&next=/live");
    live_shows(&mut ada, "Widen its grant", &widen).await;
    let page = ada.open(&widen).await;
    assert!(is_ticked(page.shows("An app needs more than this grant holds"), "account"));
    let untouched = ada.fill(&widen, &format!("{grant}/scopes"), &[("next", "/live")]).await;
    assert_eq!((untouched.status, &*next(&untouched)), (StatusCode::UNPROCESSABLE_ENTITY, "/live"));
    let (fields, scopes) = ([("scope", "account"), ("next", "/live")], ["vehicles", "account"]);
    assert_eq!(consent(&mut ada, &widen, &format!("{grant}/scopes"), &fields, &scopes).await, "/live");
    ada.fill(&app, &format!("{app}/try"), &[("path", "/api/account")]).await.shows("Teslascope answered.");

    ada.fill(&grant, &format!("{grant}/disconnect"), &[]).await;
    assert_eq!(refused(&mut ada, &app, "/api/account", "no_grant").await, app);
    live_shows(&mut ada, "Look at the app", &app).await;
    assert!(
        told.hear("\"words\":\"Look at the app\"").await,
        "what a page that is open knew of the app is not taken for true"
    );
    assert!(!ada.open("/live").await.has(">Widen its grant<"), "what was refused before cannot be mended so any more");
    let anew = way(ada.open(&app).await.shows("Its grant is gone"), "New app");
    let page = ada.open(&anew).await;
    page.shows("value=\"Dash &#38; co\"").shows("value=\"10/s\"");
    assert!(is_ticked(&page, "vehicles") && is_ticked(&page, "account") && !is_ticked(&page, "controls"));
}

#[tokio::test]
async fn a_grant_that_needs_its_user_is_renewed_where_the_refusal_leads_and_brings_them_back() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let token = house.sandbox.issue_personal_access_token(1, ScopeSet::of(Scope::Vehicles));
    let fields = [("kind", "personal_access_token"), ("token", token.as_str()), ("scope", "vehicles")];
    let pasted = ada.fill("/connect/token", "/connect/token", &fields).await.location().to_owned();
    let given = ada.connect(&["vehicles"]).await;
    for grant in [&given, &pasted] {
        let id: GrantId = grant.trim_start_matches("/grants/").parse().unwrap();
        let fields = [("name", "Dash"), ("scope", "vehicles"), ("grant", grant.trim_start_matches("/grants/"))];
        let app = app(&mut ada, &fields).await;
        let version = house.broker.find_grant(id, None).await.unwrap().unwrap().token_version;
        house.broker.store.replace_with_needs_consent(id, version, ConsentReason::Revoked).await.unwrap();
        house.broker.directory().reload(Change::Grant(id)).await.unwrap();
        let back = app.replace('/', "%2F");
        assert_eq!(refused(&mut ada, &app, "/api/vehicles", "needs_consent").await, format!("{grant}?next={back}"));
        let renew = format!("{grant}?next=/live");
        live_shows(&mut ada, "Renew it", &renew).await;
        assert_eq!(next(&ada.open(&renew).await), "/live");
        let action = format!("{grant}/renew");
        if grant == &given {
            assert_eq!(consent(&mut ada, &renew, &action, &[("next", "/live")], &["vehicles"]).await, "/live");
            ada.open("/live").await.shows("is renewed");
        } else {
            let wrong = ada.fill(&renew, &action, &[("token", "not a token"), ("next", "/live")]).await;
            assert_eq!(wrong.location(), format!("{grant}?next=%2Flive"), "the way back is not lost over a mistake");
            let newer = house.sandbox.issue_personal_access_token(1, ScopeSet::of(Scope::Vehicles));
            let renewed = ada.fill(&renew, &action, &[("token", &newer), ("next", "/live")]).await;
            assert_eq!(renewed.location(), "/live");
        }
        ada.fill(&app, &format!("{app}/try"), &[("path", "/api/vehicles")]).await.shows("Teslascope answered.");
    }
    ada.open(&format!("{pasted}?scope=account&next=/live")).await.shows("a pasted token, which cannot be given more");
    for elsewhere in ["//evil.example", "https://evil.example/", "/\\evil.example"] {
        let page = ada.open(&format!("{given}?next={elsewhere}")).await;
        assert!(!page.has("name=\"next\""), "{elsewhere}");
    }
}

#[tokio::test]
async fn whoever_turns_back_at_the_provider_finds_what_they_came_for_and_the_way_back_again() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let cancel = async |ada: &mut Browser<'_>, page: &str, action: &str, fields: &[(&str, &str)]| {
        let asked = ada.fill(page, action, fields).await;
        let callback = Provider::new().decide(asked.location(), "1", &["vehicles"], "cancel").await;
        ada.open(&callback).await.location().to_owned()
    };
    let fields = [("scope", "account"), ("next", "/live")];
    let again = cancel(&mut ada, "/connect", "/connect", &fields).await;
    assert_eq!(again, "/connect?scope=account&next=%2Flive");
    let page = ada.open(&again).await;
    assert!(is_ticked(page.shows("role=\"alert\""), "account") && !is_ticked(&page, "vehicles"));
    assert_eq!(next(&page), "/live");
    assert_eq!(consent(&mut ada, &again, "/connect", &fields, &["account"]).await, "/live");

    let grant = ada.connect(&["vehicles"]).await;
    let again = cancel(&mut ada, &grant, &format!("{grant}/scopes"), &fields).await;
    assert_eq!(again, format!("{grant}?scope=account&scope=vehicles&next=%2Flive"));
    let page = ada.open(&again).await;
    assert!(is_ticked(page.shows("role=\"alert\""), "account"));
    assert_eq!(next(&page), "/live");
    assert_eq!(consent(&mut ada, &again, &format!("{grant}/scopes"), &fields, &["vehicles", "account"]).await, "/live");

    // What another user began tells nothing of itself, and stands.
    let asked = ada.fill("/connect", "/connect", &fields).await;
    let callback = Provider::new().decide(asked.location(), "1", &["account"], "cancel").await;
    house.add_user("bob", Role::Member).await;
    let elsewhere = house.signed_in("bob").await.open(&callback).await;
    assert_eq!((elsewhere.status, elsewhere.location()), (StatusCode::BAD_REQUEST, ""));
    assert_eq!(ada.open(&callback).await.location(), "/live");
}

#[tokio::test]
async fn an_app_with_the_longest_name_that_there_is_outlives_the_question_for_the_password_too() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    house.clock.advance(Duration::from_secs(16 * 60));
    let name = "\u{1f697}".repeat(80);
    let fields =
        [("name", name.as_str()), ("scope", "controls"), ("scope", "account"), ("expires", "90d"), ("rate", "60/m")];
    let asked = ada.fill("/apps/new", "/apps/new", &fields).await;
    let page = ada.open(asked.location()).await;
    let shown = ada.fill(asked.location(), "/confirm", &[("password", PASSWORD), ("next", &next(&page))]).await;
    let page = ada.open(shown.location()).await;
    assert!(page.has(&name) && page.has("90d") && page.has("60/m"), "{}", shown.location());
    assert!(is_ticked(&page, "controls") && is_ticked(&page, "account"));
}

#[tokio::test]
async fn two_grants_by_one_click_lead_back_to_where_they_were_missed() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let fields = [("scope", "vehicles"), ("scope", "controls"), ("split", "yes"), ("next", "/live?a=b&c=d")];
    let then = consent(&mut ada, "/connect", "/connect", &fields, &["vehicles"]).await;
    let page = ada.open(&then).await;
    assert!(is_ticked(&page, "controls") && !is_ticked(&page, "vehicles") && page.has("Now the second grant"));
    let fields = [("scope", "controls"), ("label", "Commands"), ("next", &next(&page))];
    assert_eq!(consent(&mut ada, &then, "/connect", &fields, &["controls"]).await, "/live?a=b&c=d");
}
