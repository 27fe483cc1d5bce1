//! To the provider and back, grants and pasted tokens (SECURITY CL-01 to 05, 20 to 27, 40 to 45; AD-01).

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::domain::user::Role;
use keyfob::sandbox::{CallFault, SandboxConfig, Times, TokenFault};

use super::browser::{House, Provider};

fn query_of(address: &str) -> BTreeMap<String, String> {
    let query = address.split_once('?').unwrap().1;
    url::form_urlencoded::parse(query.as_bytes()).map(|(n, v)| (n.into_owned(), v.into_owned())).collect()
}

#[tokio::test]
async fn a_person_ticks_scopes_consents_and_sees_what_was_granted() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let page = ada.open("/connect").await;
    page.shows("Continue to Teslascope").shows("Keep <code>controls</code> in a grant of its own");
    let ticked = page.body.matches(" checked").count();
    assert_eq!(ticked, 1, "only vehicles is ticked at first");
    assert!(page.has("value=\"vehicles\" checked"));
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains(&format!("form-action 'self' {};", house.sandbox.url())), "{policy}");

    let page =
        ada.fill("/connect", "/connect", &[("scope", "vehicles"), ("scope", "mcp:use"), ("label", "My cars")]).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.body);
    let asked = query_of(page.location());
    assert_eq!(asked["scope"], "vehicles mcp:use");
    assert_eq!(asked["redirect_uri"], "http://localhost:8700/oauth/callback");
    assert_eq!((asked["response_type"].as_str(), asked["code_challenge_method"].as_str()), ("code", "S256"));
    assert!(!page.location().contains("verifier") && !page.location().contains("secret"));

    let callback = Provider::new().authorize(page.location(), &["vehicles", "mcp:use"]).await;
    let back = ada.open(&callback).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER);
    assert!(back.location().starts_with("/grants/") && !back.location().contains('?'), "a clean address");
    let grant = ada.open(back.location()).await;
    grant.shows("<h1>My cars</h1>").shows("Teslascope granted what was asked: vehicles, mcp:use").shows("Disconnect");
    assert!(!ada.open(back.location()).await.has("granted what was asked"), "a message is shown once");
    ada.open("/").await.shows("My cars");
}

#[tokio::test]
async fn an_answer_counts_once_in_the_browser_and_for_the_user_that_asked() {
    let house = House::with_admin().await;
    house.add_user("bob", Role::Member).await;
    let mut ada = house.signed_in("ada").await;
    let asked = ada.fill("/connect", "/connect", &[("scope", "vehicles")]).await;
    let callback = Provider::new().authorize(asked.location(), &["vehicles"]).await;

    let faults = house.sandbox.faults();
    for mut other in [house.signed_in("bob").await, house.signed_in("ada").await, house.browser()] {
        let asked = ada.fill("/connect", "/connect", &[("scope", "vehicles")]).await;
        let callback = Provider::new().authorize(asked.location(), &["vehicles"]).await;
        let before = faults.token_requests();
        let page = other.open(&callback).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST);
        assert_eq!(faults.token_requests(), before, "the code is not used");
        let own = ada.open(&callback).await;
        assert_eq!(own.status, StatusCode::SEE_OTHER, "nobody else can end the request");
    }
    let mut altered = callback.clone();
    let at = altered.find("state=").unwrap() + 6;
    let other = if altered.as_bytes()[at] == b'A' { "B" } else { "A" };
    altered.replace_range(at..=at, other);
    for bad in [altered.as_str(), "/oauth/callback", "/oauth/callback?code=x", "/oauth/callback?state=x&code=a&code=b"]
    {
        let page = ada.open(bad).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{bad}");
        assert!(!page.has("code="), "nothing of it is shown");
    }
    assert_eq!(ada.open(&callback).await.status, StatusCode::SEE_OTHER);
    let again = ada.open(&callback).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    again.shows("used already");
}

#[tokio::test]
async fn five_tabs_do_not_disturb_each_other_and_a_late_answer_is_refused() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let mut asked = Vec::new();
    for n in 0..5 {
        asked.push(ada.fill("/connect", "/connect", &[("scope", "vehicles"), ("label", &format!("Tab {n}"))]).await);
    }
    let states: std::collections::BTreeSet<_> =
        asked.iter().map(|page| query_of(page.location())["state"].clone()).collect();
    assert_eq!(states.len(), 5);
    let late = asked.pop().unwrap();
    for page in asked.iter().rev() {
        let callback = Provider::new().authorize(page.location(), &["vehicles"]).await;
        assert!(ada.open(&callback).await.location().starts_with("/grants/"));
    }
    let callback = Provider::new().authorize(late.location(), &["vehicles"]).await;
    house.clock.advance(Duration::from_secs(601));
    let page = ada.open(&callback).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    page.shows("more than ten minutes");
}

#[tokio::test]
async fn a_refusal_at_the_provider_is_told_and_nothing_is_kept() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let asked = ada.fill("/connect", "/connect", &[("scope", "vehicles")]).await;
    let callback = Provider::new().decide(asked.location(), "1", &["vehicles"], "cancel").await;
    let page = ada.open(&callback).await;
    assert_eq!((page.status, page.location()), (StatusCode::SEE_OTHER, "/connect"));
    let page = ada.open("/connect").await;
    page.shows("role=\"alert\"");
    assert!(!page.has("resource owner"), "the provider's own text is not repeated");
    ada.open("/").await.shows("No grant yet");

    let forged =
        "/oauth/callback?error=access_denied&error_description=%3Cscript%3Ecall+0900%3C/script%3E&state=unknown";
    let page = ada.open(forged).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(!page.has("0900"));
}

#[tokio::test]
async fn fewer_scopes_than_asked_are_told_in_words() {
    let house =
        House::with("http://localhost:8700", SandboxConfig { answer_scope: true, ..SandboxConfig::default() }, true)
            .await;
    house.add_user("ada", Role::Admin).await;
    let mut ada = house.signed_in("ada").await;
    let asked = ada.fill("/connect", "/connect", &[("scope", "vehicles"), ("scope", "account")]).await;
    let callback = Provider::new().authorize(asked.location(), &["vehicles"]).await;
    let back = ada.open(&callback).await;
    ada.open(back.location())
        .await
        .shows("with less than was asked. Teslascope granted vehicles, and not account")
        .shows("refused");
}

#[tokio::test]
async fn one_click_makes_a_grant_of_its_own_for_controls() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let asked =
        ada.fill("/connect", "/connect", &[("scope", "vehicles"), ("scope", "controls"), ("split", "yes")]).await;
    assert_eq!(query_of(asked.location())["scope"], "vehicles");
    let callback = Provider::new().authorize(asked.location(), &["vehicles"]).await;
    let next = ada.open(&callback).await.location().to_owned();
    assert_eq!(next, "/connect?scope=controls&label=Commands");
    let page = ada.open(&next).await;
    page.shows("Now the second grant").shows("value=\"controls\" checked");
    assert!(!page.has("value=\"vehicles\" checked"));
}

#[tokio::test]
async fn only_known_scopes_can_be_asked_for_and_at_least_one() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    for bad in ["*", "openid", "vehicles admin", "VEHICLES"] {
        let page = ada.fill("/connect", "/connect", &[("scope", bad), ("label", "Kept words")]).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{bad}");
        page.shows("There is no scope named").shows("Kept words");
    }
    let page = ada.fill("/connect", "/connect", &[("label", "x")]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.shows("Tick at least one scope.").shows("aria-describedby=\"scope-error\"");
}

#[tokio::test]
async fn without_a_client_id_the_page_says_so_and_offers_to_paste_a_token() {
    let house = House::with("http://localhost:8700", SandboxConfig::default(), false).await;
    house.add_user("ada", Role::Admin).await;
    let mut ada = house.signed_in("ada").await;
    ada.open("/connect")
        .await
        .shows("KEYFOB_OAUTH_CLIENT_ID")
        .shows("/connect/token")
        .shows("http://localhost:8700/oauth/callback");
}

#[tokio::test]
async fn an_answer_that_never_came_is_explained() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    ada.fill("/connect", "/connect", &[("scope", "vehicles")]).await;
    house.clock.advance(Duration::from_secs(120));
    ada.open("/connect")
        .await
        .shows("did not come back")
        .shows("invalid_client")
        .shows("http://localhost:8700/oauth/callback");
}

#[tokio::test]
async fn a_grant_is_widened_and_keeps_its_id_and_another_account_is_refused() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let own = ada.connect(&["vehicles", "account"]).await;
    let asked = ada.fill(&own, &format!("{own}/scopes"), &[("scope", "controls")]).await;
    assert_eq!(query_of(asked.location())["scope"], "account vehicles controls", "what it holds is asked for again");
    let callback =
        Provider::new().decide(asked.location(), "2", &["account", "vehicles", "controls"], "authorize").await;
    let told = ada.open(&callback).await.location().to_owned();
    assert!(told.starts_with(&format!("{own}?")), "{told}");
    ada.open(&told).await.shows("another Teslascope account").shows("value=\"controls\" checked");

    let asked = ada.fill(&own, &format!("{own}/scopes"), &[("scope", "controls")]).await;
    let callback = Provider::new().authorize(asked.location(), &["account", "vehicles", "controls"]).await;
    assert_eq!(ada.open(&callback).await.location(), own, "the grant keeps its id");
    let nothing = ada.fill(&own, &format!("{own}/scopes"), &[("scope", "vehicles")]).await;
    assert_eq!(nothing.status, StatusCode::UNPROCESSABLE_ENTITY);
    nothing.shows("Tick at least one scope to add.");
}

#[tokio::test]
async fn a_renewal_that_does_not_tell_its_account_is_refused_where_the_grants_is_known() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let own = ada.connect(&["vehicles"]).await;
    let opaque = |token: &str| TokenFault::Edit(vec![("access_token".to_owned(), Some(token.into()))]);
    house.sandbox.faults().token(Times::Next(1), opaque("opaque-token-of-someone"));
    let asked = ada.fill(&own, &format!("{own}/scopes"), &[("scope", "account")]).await;
    let callback = Provider::new().decide(asked.location(), "2", &["account", "vehicles"], "authorize").await;
    assert!(ada.open(&callback).await.location().starts_with(&format!("{own}?")));
    ada.open(&own).await.shows("did not say whose account");
    ada.open(&own).await.shows("active").shows("<dt>Teslascope account</dt><dd>1 ");

    // A grant whose account was never told has nothing to be compared with.
    house.sandbox.faults().token(Times::Next(1), opaque("opaque-token-of-nobody"));
    let untold = ada.connect(&["vehicles"]).await;
    let asked = ada.fill(&untold, &format!("{untold}/scopes"), &[("scope", "controls")]).await;
    let callback = Provider::new().authorize(asked.location(), &["vehicles", "controls"]).await;
    assert_eq!(ada.open(&callback).await.location(), untold);
}

#[tokio::test]
async fn a_disconnected_grant_is_over_and_the_page_is_honest_about_the_provider() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let own = ada.connect(&["vehicles"]).await;
    let page = ada.fill(&own, &format!("{own}/disconnect"), &[]).await;
    assert_eq!((page.status, page.location()), (StatusCode::SEE_OTHER, "/"));
    ada.open("/").await.shows("is disconnected.").shows("no way to revoke them from here").shows("No grant yet");
    let page = ada.open(&own).await;
    page.shows("disconnected");
    assert!(!page.has("/renew"));
}

#[tokio::test]
async fn another_users_things_are_as_if_there_were_none() {
    let house = House::with_admin().await;
    house.add_user("bob", Role::Member).await;
    let mut ada = house.signed_in("ada").await;
    let grant = ada.connect(&["vehicles"]).await;
    let made = ada.fill("/apps/new", "/apps/new", &[("name", "Dashboard"), ("scope", "vehicles")]).await;
    let app = format!(
        "/apps/{}",
        made.body.split("/apps/").filter_map(|rest| rest.split('"').next()).find(|id| id.len() == 36).unwrap()
    );
    let mut bob = house.signed_in("bob").await;
    let absent = bob.open("/grants/01890000-0000-7000-8000-000000000000").await;
    for path in [&grant, &app] {
        let page = bob.open(path).await;
        assert_eq!((page.status, page.body), (StatusCode::NOT_FOUND, absent.body.clone()));
    }
    for action in ["scopes", "renew", "disconnect"] {
        let page = bob.fill("/connect/token", &format!("{grant}/{action}"), &[("scope", "controls")]).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{action}");
    }
    for action in ["roll", "revoke", "scopes"] {
        let page = bob.fill("/connect/token", &format!("{app}/{action}"), &[]).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{action}");
    }
    let id = grant.trim_start_matches("/grants/");
    let page = bob.fill("/apps/new", "/apps/new", &[("name", "x"), ("scope", "vehicles"), ("grant", id)]).await;
    page.shows("There is no such grant of this user.");
    ada.open(&grant).await.shows("active");
    ada.open(&app).await.shows("active");
}

#[tokio::test]
async fn a_pasted_grant_is_renewed_by_another_token_of_the_same_account_and_keeps_its_apps() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let vehicles = ScopeSet::of(Scope::Vehicles);
    let token = house.sandbox.issue_personal_access_token(1, vehicles);
    let fields = [("kind", "personal_access_token"), ("token", token.as_str()), ("scope", "vehicles")];
    let grant = ada.fill("/connect/token", "/connect/token", &fields).await.location().to_owned();
    let id = grant.trim_start_matches("/grants/").to_owned();
    let page = ada.fill("/apps/new", "/apps/new", &[("name", "x"), ("scope", "vehicles"), ("grant", &id)]).await;
    assert!(page.status.is_success() || page.status.is_redirection(), "{}", page.body);
    let renew = format!("{grant}/renew");

    let other = house.sandbox.issue_personal_access_token(2, vehicles);
    assert_eq!(ada.fill(&grant, &renew, &[("token", &other)]).await.location(), grant);
    ada.open(&grant).await.shows("belongs to another Teslascope account").shows("active");
    assert_eq!(ada.fill(&grant, &renew, &[("token", "not-a-token")]).await.location(), grant);
    ada.open(&grant).await.shows("The old token stays.");
    // One that does not say whose it is, while the provider can't be asked.
    house.sandbox.faults().api(Times::Next(3), CallFault::status(500));
    assert_eq!(ada.fill(&grant, &renew, &[("token", "opaque-token-of-someone")]).await.location(), grant);
    house.sandbox.faults().clear();
    ada.open(&grant).await.shows("does not say whose account").shows("active");

    let newer = house.sandbox.issue_personal_access_token(1, vehicles);
    assert_eq!(ada.fill(&grant, &renew, &[("token", &newer)]).await.location(), grant);
    let page = ada.open(&grant).await;
    page.shows("Teslascope accepts it").shows("active").shows("/apps/");
    assert!(!page.has(&newer));
    house.add_user("bob", Role::Member).await;
    let mut bob = house.signed_in("bob").await;
    assert_eq!(bob.fill("/", &renew, &[("token", &newer)]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_pasted_token_is_checked_kept_and_never_shown() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let token = house.sandbox.issue_personal_access_token(1, ScopeSet::of(Scope::Vehicles).with(Scope::Account));
    let fields = [
        ("kind", "personal_access_token"),
        ("token", token.as_str()),
        ("scope", "vehicles"),
        ("scope", "account"),
        ("label", "Pasted"),
    ];
    let page = ada.fill("/connect/token", "/connect/token", &fields).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.body);
    let page = ada.open(page.location()).await;
    page.shows("Teslascope accepts it").shows("Pasted personal access token");
    assert!(!page.has(&token) && !page.has("/refresh"));

    let key = house.sandbox.issue_api_key(1);
    let page = ada
        .fill("/connect/token", "/connect/token", &[("kind", "api_key"), ("token", &key), ("scope", "account")])
        .await;
    page.shows("vehicles and controls at most");
    assert!(!page.has(&key), "a secret is never sent back");
    let page = ada
        .fill("/connect/token", "/connect/token", &[("kind", "api_key"), ("token", &key), ("scope", "vehicles")])
        .await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);

    for (token, words) in
        [("not-a-token", "does not accept this token"), ("", "Paste the token"), ("two words", "This is no token")]
    {
        let page = ada
            .fill(
                "/connect/token",
                "/connect/token",
                &[("kind", "personal_access_token"), ("token", token), ("scope", "vehicles")],
            )
            .await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{token}");
        page.shows(words);
    }
    let narrow = house.sandbox.issue_personal_access_token(1, ScopeSet::of(Scope::Vehicles));
    let page = ada
        .fill(
            "/connect/token",
            "/connect/token",
            &[("kind", "personal_access_token"), ("token", &narrow), ("scope", "account")],
        )
        .await;
    page.shows("but not for account");
}
