//! Setup, sign-in, sessions, form tokens (SECURITY SE-01, 02, 06, 20 to 25, 30, 54; AD-03).

use std::time::Duration;

use http::StatusCode;
use http::header::{RETRY_AFTER, SET_COOKIE};
use keyfob::broker::SignInRefusal;
use keyfob::domain::secret::Secret;
use keyfob::domain::user::Role;

use super::browser::{House, PASSWORD};

#[tokio::test]
async fn the_first_admin_is_made_with_the_printed_token_once() {
    let house = House::new().await;
    let earlier = house.broker.issue_setup_token().await.unwrap().unwrap();
    let token = house.broker.issue_setup_token().await.unwrap().unwrap();
    let token = token.expose_str().unwrap();
    let mut browser = house.browser();
    let stale = format!("/setup?token={}", earlier.expose_str().unwrap());
    assert_eq!(browser.open(&stale).await.status, StatusCode::FORBIDDEN, "the token of an earlier start");
    assert_eq!(browser.open("/setup").await.status, StatusCode::FORBIDDEN);
    assert_eq!(browser.open("/setup?token=guess").await.status, StatusCode::FORBIDDEN);
    browser.open("/sign-in").await.shows("not set up yet");
    let page = format!("/setup?token={token}");
    browser.open(&page).await.shows("<h1>Set up Keyfob</h1>").shows(token);

    let short = browser.fill(&page, "/setup", &[("token", token), ("username", "ada"), ("password", "short")]).await;
    assert_eq!(short.status, StatusCode::UNPROCESSABLE_ENTITY);
    short.shows("at least 8 characters").shows("value=\"ada\"");
    assert!(!short.has("value=\"short\""), "a password is never sent back");

    let done = browser.fill(&page, "/setup", &[("token", token), ("username", "ada"), ("password", PASSWORD)]).await;
    assert_eq!((done.status, done.location()), (StatusCode::SEE_OTHER, "/"));
    browser.open("/").await.shows("Hello, ada");

    let mut other = house.browser();
    assert_eq!(other.open(&page).await.status, StatusCode::GONE);
    let again =
        other.fill("/sign-in", "/setup", &[("token", token), ("username", "eve"), ("password", PASSWORD)]).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn signing_in_gives_a_new_session_and_signing_out_kills_it() {
    let house = House::with_admin().await;
    let mut browser = house.browser();
    browser.cookies.insert("keyfob_session".to_owned(), "AAAAAAAAAAAAAAAAAAAAAA".to_owned());
    let page = browser.sign_in("ada", PASSWORD).await;
    assert_eq!((page.status, page.location()), (StatusCode::SEE_OTHER, "/"));
    let cookie =
        page.headers.get_all(SET_COOKIE).iter().find(|c| c.to_str().unwrap().starts_with("keyfob_session=")).unwrap();
    let cookie = cookie.to_str().unwrap();
    for part in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Domain"));
    let first = browser.session().unwrap().to_owned();
    assert_ne!(first, "AAAAAAAAAAAAAAAAAAAAAA", "a foreign id is not adopted");

    let again = browser.fill("/account", "/confirm", &[("password", PASSWORD), ("next", "/apps")]).await;
    assert_eq!(again.location(), "/apps");
    assert_ne!(browser.session().unwrap(), first, "the id changes with what the session may do");

    let stolen = browser.clone();
    let out = browser.fill("/", "/sign-out", &[]).await;
    assert_eq!((out.status, out.location()), (StatusCode::SEE_OTHER, "/sign-in"));
    assert!(browser.session().is_none(), "the cookie is removed");
    for mut copy in [stolen, {
        let mut old = house.browser();
        old.cookies.insert("keyfob_session".to_owned(), first);
        old
    }] {
        assert_eq!(copy.open("/").await.location(), "/sign-in");
    }
}

#[tokio::test]
async fn over_https_cookies_are_secure_and_bound_to_the_host_also_when_removed() {
    let house = House::at("https://home.example/keyfob").await;
    house.add_user("ada", Role::Admin).await;
    let mut browser = house.browser();
    let page = browser.fill("/keyfob/sign-in", "/keyfob/sign-in", &[("username", "ada"), ("password", PASSWORD)]).await;
    assert_eq!(page.location(), "/keyfob/");
    assert!(browser.cookies.keys().all(|name| name.starts_with("__Host-keyfob_")), "{:?}", browser.cookies);
    let out = browser.fill("/keyfob/", "/keyfob/sign-out", &[]).await;
    let cookie =
        out.headers.get_all(SET_COOKIE).iter().find(|c| c.to_str().unwrap().starts_with("__Host-keyfob_session=;"));
    let cookie = cookie.expect("the session cookie is removed").to_str().unwrap();
    for part in ["Secure", "Path=/", "Max-Age=0"] {
        assert!(cookie.contains(part), "browsers ignore the removal of a __Host- cookie without {part}: {cookie}");
    }
}

#[tokio::test]
async fn a_form_without_this_browsers_token_changes_nothing() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let foreign = house.browser().open("/sign-in").await.token();
    for token in ["", "x", foreign.as_str()] {
        let page = ada.post("/apps/new", &[("csrf_token", token), ("name", "evil"), ("scope", "vehicles")]).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN);
    }
    let good = ada.open("/apps/new").await.token();
    for (name, value) in
        [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site")]
    {
        ada.headers = vec![(name, value.to_owned())];
        let page = ada.post("/apps/new", &[("csrf_token", &good), ("name", "evil"), ("scope", "vehicles")]).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{name}: {value}");
    }
    ada.headers.clear();
    let mut visitor = house.browser();
    let page = visitor.post("/sign-in", &[("username", "ada"), ("password", PASSWORD)]).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN, "a sign-in cannot be forced on a browser either");
    ada.open("/apps").await.shows("No app yet");
}

#[tokio::test]
async fn unknown_and_wrong_look_the_same_and_guessing_slows_down_but_shuts_nobody_out() {
    let house = House::with_admin().await;
    let mut guesser = house.browser();
    guesser.source = "192.0.2.1:1".parse().unwrap();
    let wrong = guesser.sign_in("ada", "not the password").await;
    let unknown = guesser.sign_in("bob", "not the password").await;
    assert_eq!((wrong.status, unknown.status), (StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED));
    assert_eq!(wrong.body.replace("ada", "bob"), unknown.body, "nothing tells an account from none");
    wrong.shows("The user name or the password is wrong.").shows("value=\"ada\"");
    assert!(!wrong.has("not the password"));

    let mut last = wrong;
    for n in 0..20 {
        guesser.headers = vec![("x-forwarded-for", format!("203.0.113.{n}"))];
        last = guesser.sign_in("ada", "not the password").await;
    }
    assert_eq!(last.status, StatusCode::TOO_MANY_REQUESTS, "a made-up source does not help");
    assert!(last.headers.contains_key(RETRY_AFTER));
    let mut owner = house.browser();
    owner.source = "192.0.2.2:1".parse().unwrap();
    assert_eq!(owner.sign_in("ada", PASSWORD).await.status, StatusCode::SEE_OTHER, "the owner gets in from elsewhere");
    house.clock.advance(Duration::from_secs(61));
    guesser.headers.clear();
    assert_eq!(guesser.sign_in("ada", PASSWORD).await.status, StatusCode::SEE_OTHER, "a wait ends");
}

#[tokio::test]
async fn sessions_end_when_they_are_not_used_and_in_any_case_after_thirty_days() {
    let house = House::with_admin().await;
    let mut browser = house.signed_in("ada").await;
    for _ in 0..5 {
        house.clock.advance(Duration::from_secs(11 * 3_600));
        assert_eq!(browser.open("/").await.status, StatusCode::OK, "use keeps it alive");
    }
    house.clock.advance(Duration::from_secs(12 * 3_600));
    assert_eq!(browser.open("/").await.location(), "/sign-in");

    let mut browser = house.signed_in("ada").await;
    let mut hours = 0;
    while browser.open("/").await.status == StatusCode::OK {
        house.clock.advance(Duration::from_secs(11 * 3_600));
        hours += 11;
        assert!(hours < 31 * 24, "a session does not live for ever");
    }
    assert!(hours > 29 * 24);
}

#[tokio::test]
async fn a_visitor_who_is_not_signed_in_leaves_no_row() {
    let house = House::with_admin().await;
    let ada = house.broker.find_user("ada").await.unwrap();
    let mut visitor = house.browser();
    for path in ["/", "/sign-in", "/apps", "/setup", "/nothing"] {
        visitor.open(path).await;
    }
    visitor.sign_in("ada", "wrong").await;
    assert!(visitor.session().is_none());
    assert!(house.broker.list_sessions(ada.id).await.unwrap().is_empty());
}

#[tokio::test]
async fn one_comes_back_to_local_pages_only() {
    let house = House::with_admin().await;
    let mut browser = house.browser();
    assert_eq!(browser.open("/apps?after=1").await.location(), "/sign-in?next=%2Fapps%3Fafter%3D1");
    for (next, to) in [
        ("/apps?after=1", "/apps?after=1"),
        ("https://evil.example", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nSet-Cookie: x=y", "/"),
    ] {
        let mut browser = house.browser();
        let page =
            browser.fill("/sign-in", "/sign-in", &[("username", "ada"), ("password", PASSWORD), ("next", next)]).await;
        assert_eq!(page.location(), to, "{next}");
    }
}

#[tokio::test]
async fn a_dangerous_act_asks_for_the_password_again_after_a_quarter_of_an_hour() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    house.clock.advance(Duration::from_secs(16 * 60));
    let fields = [("name", "Heater"), ("scope", "controls"), ("expires", "30d")];
    let page = ada.fill("/apps/new", "/apps/new", &fields).await;
    assert_eq!(page.location(), "/confirm?next=%2Fapps%2Fnew%3Fname%3DHeater%26scope%3Dcontrols%26expires%3D30d");
    ada.open("/apps").await.shows("No app yet");
    let wrong =
        ada.fill(page.location(), "/confirm", &[("password", "wrong"), ("next", "/apps/new?name=Heater")]).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    ada.fill(page.location(), "/confirm", &[("password", PASSWORD), ("next", "/apps/new?name=Heater")]).await;
    ada.open("/apps/new?name=Heater&scope=controls").await.shows("value=\"Heater\"");
    ada.fill("/apps/new", "/apps/new", &fields).await.shows("kf_");
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let house = House::with_admin().await;
    let mut here = house.signed_in("ada").await;
    let mut elsewhere = house.signed_in("ada").await;
    here.open("/account").await.shows("Another browser");
    let wrong =
        here.fill("/account", "/account/password", &[("old", "wrong"), ("password", "another good password")]).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    let done =
        here.fill("/account", "/account/password", &[("old", PASSWORD), ("password", "another good password")]).await;
    assert_eq!(done.location(), "/account");
    here.open("/account").await.shows("Your password is changed");
    assert_eq!(elsewhere.open("/").await.location(), "/sign-in");
}

#[tokio::test]
async fn somebody_who_is_shut_out_is_out_at_once() {
    let house = House::with_admin().await;
    house.add_user("bob", Role::Member).await;
    let mut bob = house.signed_in("bob").await;
    let id = house.broker.find_user("bob").await.unwrap().id;
    house.broker.set_disabled(id, true).await.unwrap();
    assert_eq!(bob.open("/").await.location(), "/sign-in");
    assert_eq!(house.browser().sign_in("bob", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn one_signs_out_everywhere_else_and_stays_here() {
    let house = House::with_admin().await;
    house.add_user("bob", keyfob::domain::user::Role::Member).await;
    let (mut here, mut elsewhere) = (house.signed_in("ada").await, house.signed_in("ada").await);
    let mut bob = house.signed_in("bob").await;
    let page = here.fill("/account", "/account/sessions", &[]).await;
    assert_eq!(page.location(), "/account");
    assert_eq!(here.open("/account").await.status, StatusCode::OK);
    assert_eq!(elsewhere.open("/").await.location(), "/sign-in");
    assert_eq!(bob.open("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_take_as_long() {
    let house = House::with_admin().await;
    let mut least = [Duration::MAX; 2];
    // By turns, and the least of each: what else the machine does weighs on both alike.
    for n in 0..9 {
        for (least, name) in least.iter_mut().zip(["ada", "nobody"]) {
            let mut guesser = house.browser();
            guesser.source = format!("192.0.2.{n}:1").parse().unwrap();
            guesser.open("/sign-in").await;
            #[expect(clippy::disallowed_methods, reason = "what a guesser can measure is measured")]
            let begun = std::time::Instant::now();
            assert_eq!(guesser.sign_in(name, "not the password").await.status, StatusCode::UNAUTHORIZED);
            *least = begun.elapsed().min(*least);
        }
    }
    // Without a hash for a name that nobody has, the second would be many times as fast.
    let (slow, fast) = (least[0].max(least[1]), least[0].min(least[1]));
    assert!(slow < fast * 3, "{least:?}");
}

/// Guesses at a name from many sources, until a source that was never seen has to wait.
async fn guess_from_everywhere(house: &House, name: &str) {
    for n in 0..200 {
        let guess = house.broker.authenticate(name, Secret::new("a guess"), &format!("10.1.{n}.1")).await;
        if matches!(guess, Err(SignInRefusal::Throttled { .. })) {
            return;
        }
    }
    panic!("nobody was slowed down");
}

#[tokio::test]
async fn an_owner_with_a_session_shows_their_password_while_it_is_guessed_at_from_everywhere_and_after_a_restart() {
    let house = House::with_admin().await;
    let cookies = {
        let mut ada = house.signed_in("ada").await;
        // They are on the road: where they signed in is not where they are.
        ada.source = "198.51.100.7:1".parse().unwrap();
        guess_from_everywhere(&house, "ada").await;
        let done = ada.fill("/confirm", "/confirm", &[("password", PASSWORD)]).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.body);
        ada.cookies
    };
    let house = house.restarted().await;
    guess_from_everywhere(&house, "ada").await;
    let mut ada = house.browser();
    ada.cookies = cookies;
    let wrong = ada.fill("/confirm", "/confirm", &[("password", "not it")]).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED, "{}", wrong.body);
    let words = [("old", PASSWORD), ("password", "another CANARY passphrase")];
    let done = ada.fill("/account", "/account/password", &words).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.body);
    for n in 0..7 {
        let wrong = ada.fill("/confirm", "/confirm", &[("password", "not it")]).await;
        let expected = if n < 6 { StatusCode::UNAUTHORIZED } else { StatusCode::TOO_MANY_REQUESTS };
        assert_eq!(wrong.status, expected, "{n}: who took a session away guesses no faster");
    }
}
