//! The access review: what stands on it, who may sign it off, and what is kept of that.

use std::time::Duration;

use http::StatusCode;
use keyfob::broker::AuditFilter;
use keyfob::domain::audit::kind;
use keyfob::domain::user::Role;

use super::browser::{Browser, House, Page};
use super::grants::put_grant;

/// The hidden field of what the reviewer saw.
fn seen(page: &Page, name: &str) -> String {
    let found = page.body.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
    found.1.split('"').next().unwrap().to_owned()
}

async fn sign_off(ada: &mut Browser<'_>, page: &Page, remark: &str) -> Page {
    let (token, grants) = (page.token(), seen(page, "grants"));
    let (unused, stale) = (seen(page, "unused"), seen(page, "stale"));
    let fields =
        [("csrf_token", &*token), ("grants", &grants), ("unused", &unused), ("stale", &stale), ("remark", remark)];
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
    house.clock.advance(Duration::from_secs(16 * 60));
    let page = ada.open("/admin/review").await;
    assert_eq!(sign_off(&mut ada, &page, "").await.location(), "/confirm?next=%2Fadmin%2Freview");
    assert!(house.broker.list_reviews(10).await.unwrap().is_empty());
    ada.fill("/confirm?next=/admin/review", "/confirm", &[("password", super::browser::PASSWORD)]).await;
    let page = ada.open("/admin/review").await;
    assert_eq!(sign_off(&mut ada, &page, "").await.status, StatusCode::SEE_OTHER);
    assert_eq!(house.broker.list_reviews(10).await.unwrap().len(), 1);
}
