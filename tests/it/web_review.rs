//! The access review: what stands on it, who may sign it off, and what is kept of that.

use std::time::Duration;

use http::StatusCode;
use keyfob::broker::{AppFilter, AuditFilter};
use keyfob::domain::audit::kind;
use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::domain::user::Role;

use super::browser::{Browser, House, PASSWORD, Page};
use super::grants::put_grant;

/// The hidden field of what the reviewer saw.
fn seen(page: &Page, name: &str) -> String {
    let found = page.body.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
    found.1.split('"').next().unwrap().to_owned()
}

async fn sign_off(ada: &mut Browser<'_>, page: &Page, remark: &str) -> Page {
    sign_off_with(ada, page, remark, &[]).await
}

/// The form as it stands on a page, filled in.
async fn sign_off_with(ada: &mut Browser<'_>, page: &Page, remark: &str, more: &[(&str, &str)]) -> Page {
    let hidden = ["csrf_token", "grants", "unused", "stale", "digest"].map(|name| (name, seen(page, name)));
    let mut fields: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (*name, value.as_str())).collect();
    fields.push(("remark", remark));
    fields.extend_from_slice(more);
    ada.post("/admin/review", &fields).await
}

#[tokio::test]
async fn a_review_shows_what_is_unused_and_quiet_and_is_kept_with_its_remark_once_signed_off() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    ada.open("/admin/review").await.shows("No grant").shows("No app is quiet").shows("No review yet");
    ada.connect(&["vehicles", "account"]).await;
    ada.fill("/apps/new", "/apps/new", &[("name", "Forgotten"), ("scope", "vehicles")]).await;
    house.clock.advance(Duration::from_secs(91 * 86_400));
    let mut ada = house.signed_in("ada").await;
    let page = ada.open("/admin/review").await;
    page.shows("<dd>1</dd>").shows("Forgotten").shows("Apps that have been quiet for 90 days");
    let done = sign_off(&mut ada, &page, "Kept, <b>it is needed</b>.\r\nNext: May.").await;
    assert_eq!(done.location(), "/admin/review", "{}", done.body);
    let after = ada.open("/admin/review").await;
    after.shows("The review is signed off").shows("Kept, &#60;b&#62;it is needed&#60;/b&#62;.\nNext: May.");
    let filter = AuditFilter { kind: Some(kind::REVIEW_SIGNED_OFF), limit: 10, ..AuditFilter::default() };
    let events = house.broker.list_audit(&filter).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].path.as_deref(), Some("1 grants, 1 with unused scopes, 1 stale apps"));
    assert_eq!(events[0].user, Some(house.broker.find_user("ada").await.unwrap().id));
    ada.open("/admin/review?all=yes").await.shows("Forgotten").shows("Kept,");
}

#[tokio::test]
async fn only_what_was_seen_is_signed_off_and_only_by_an_administrator_who_showed_their_password() {
    let house = House::with_admin().await;
    house.add_user("bob", Role::Member).await;
    let (mut ada, mut bob) = (house.signed_in("ada").await, house.signed_in("bob").await);
    assert_eq!(bob.open("/admin/review").await.status, StatusCode::FORBIDDEN);
    let forged = [("grants", "0"), ("unused", "0"), ("stale", "0")];
    assert_eq!(bob.fill("/apps/new", "/admin/review", &forged).await.status, StatusCode::FORBIDDEN);
    assert_eq!(ada.post("/admin/review", &forged).await.status, StatusCode::FORBIDDEN, "without the form's token");

    let page = ada.open("/admin/review").await;
    put_grant(&house, "new").await;
    let stale = sign_off(&mut ada, &page, "fine").await;
    assert_eq!(stale.status, StatusCode::CONFLICT);
    stale.shows("The list has changed since you opened it.").shows(">fine</textarea>");
    let page = ada.open("/admin/review").await;
    let long = sign_off(&mut ada, &page, &"x".repeat(1_001)).await;
    assert_eq!(long.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(sign_off(&mut ada, &page, "turned \u{202e} around").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(house.broker.list_reviews(10).await.unwrap().is_empty());
    let page = ada.open("/admin/review").await;
    assert!(!page.has("name=\"password\""), "it was shown a moment ago");
    assert_eq!(sign_off(&mut ada, &page, "").await.status, StatusCode::SEE_OTHER);
    assert_eq!(house.broker.list_reviews(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_remark_outlives_the_question_for_the_password_and_the_review_is_of_what_was_seen_before_it() {
    let house = House::with_admin().await;
    put_grant(&house, "first").await;
    let mut ada = house.signed_in("ada").await;
    let page = ada.open("/admin/review").await;
    house.clock.advance(Duration::from_secs(16 * 60));
    let remark = "Long thought, <i>long</i> written.";
    let asked = sign_off(&mut ada, &page, remark).await;
    assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY);
    asked
        .shows("Long thought, &#60;i&#62;long&#60;/i&#62; written.</textarea>")
        .shows("Enter your password to sign off.");
    let wrong = sign_off_with(&mut ada, &asked, remark, &[("password", "not it at all")]).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    wrong.shows("written.</textarea>").shows("id=\"password-error\"");
    assert!(!wrong.has("not it at all"));
    assert!(house.broker.list_reviews(10).await.unwrap().is_empty());

    put_grant(&house, "second").await;
    let again = sign_off(&mut ada, &wrong, remark).await;
    assert_eq!(seen(&again, "digest"), seen(&page, "digest"), "what came meanwhile was not seen");
    let changed = sign_off_with(&mut ada, &again, remark, &[("password", PASSWORD)]).await;
    assert_eq!(changed.status, StatusCode::CONFLICT);
    changed.shows("The list has changed since you opened it.").shows("written.</textarea>").shows("second");
    assert!(house.broker.list_reviews(10).await.unwrap().is_empty());

    let done = sign_off_with(&mut ada, &changed, remark, &[("password", PASSWORD)]).await;
    assert_eq!((done.status, done.location()), (StatusCode::SEE_OTHER, "/admin/review"), "{}", done.body);
    let kept = house.broker.list_reviews(10).await.unwrap();
    assert_eq!((kept.len(), &*kept[0].remark, kept[0].counts.grants), (1, remark, 2));
    let page = ada.open("/admin/review").await;
    assert!(!page.shows("The review is signed off").has("name=\"password\""), "it counts for the next act too");
}

#[tokio::test]
async fn as_many_as_were_seen_but_others_are_not_signed_off() {
    let house = House::with_admin().await;
    let seen_one = put_grant(&house, "seen").await;
    let mut ada = house.signed_in("ada").await;
    let page = ada.open("/admin/review").await;
    house.broker.disconnect(seen_one, None).await.unwrap();
    put_grant(&house, "unseen").await;
    let refused = sign_off(&mut ada, &page, "all known").await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    for count in ["grants", "unused", "stale"] {
        assert_eq!(seen(&refused, count), seen(&page, count), "the counts alone do not tell");
    }
    refused.shows(">unseen<").shows(">all known</textarea>");
    assert!(house.broker.list_reviews(10).await.unwrap().is_empty());

    // Another app is quiet, and as many are.
    ada.fill("/apps/new", "/apps/new", &[("name", "One"), ("scope", "vehicles")]).await;
    house.clock.advance(Duration::from_secs(91 * 86_400));
    let mut ada = house.signed_in("ada").await;
    let page = ada.open("/admin/review").await;
    page.shows(">One<");
    let apps = house.broker.list_apps(&AppFilter { limit: 10, ..AppFilter::default() }).await.unwrap();
    house.broker.set_app_scopes(apps[0].app.id, None, ScopeSet::of(Scope::Account)).await.unwrap();
    assert_eq!(sign_off(&mut ada, &page, "").await.status, StatusCode::CONFLICT, "what it may do was changed");
    let page = ada.open("/admin/review").await;
    assert_eq!(sign_off(&mut ada, &page, "").await.status, StatusCode::SEE_OTHER);
}
