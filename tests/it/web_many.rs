//! What somebody sees who has had many apps and grants: what lives and what is new comes first.

use std::time::Duration;

use keyfob::broker::AppWish;
use keyfob::domain::id::{AppId, GrantId};
use keyfob::domain::scope::{Scope, ScopeSet};

use super::browser::House;
use super::grants::put_grant;

async fn put_app(house: &House, name: &str, grant: Option<GrantId>) -> AppId {
    let user = house.broker.find_user("ada").await.unwrap().id;
    let scopes = ScopeSet::of(Scope::Vehicles);
    let name = name.to_owned();
    let wish = AppWish { user, name, scopes, expires_in: None, query_key: false, grant, rate: None };
    house.clock.advance(Duration::from_millis(1));
    house.broker.make_app(wish).await.unwrap().app.id
}

#[tokio::test]
async fn live_apps_stand_before_however_many_revoked_ones_and_the_newest_of_them_first() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let ends = put_grant(&house, "ends").await;
    put_app(&house, "Old and live", Some(ends)).await;
    house.broker.disconnect(ends, None).await.unwrap();
    let grant = put_grant(&house, "stays").await;
    for n in 0..60 {
        let id = put_app(&house, &format!("Dead {n:02}"), None).await;
        house.broker.revoke_app(id, None).await.unwrap();
    }
    put_app(&house, "Young and live", None).await;

    let home = ada.open("/").await;
    home.shows("Old and live")
        .shows("Young and live")
        .shows("1 grant and 2 apps")
        .shows("The grant of “Old and live” is gone");
    assert!(!home.has("Dead"), "they need nobody");
    let first = ada.open("/apps").await;
    let at = |text: &str| first.body.find(text).unwrap_or_else(|| panic!("{text} is not on the page"));
    assert!(
        at("Young and live") < at("Old and live")
            && at("Old and live") < at("Dead 59")
            && at("Dead 59") < at("Dead 12")
    );
    assert!(!first.has("Dead 11"));
    let older =
        first.body.split("href=\"").filter_map(|rest| rest.split('"').next()).find(|to| to.starts_with("/apps?"));
    let second = ada.open(older.unwrap()).await;
    assert!(!second.shows("Dead 11").shows("Dead 00").has("and live"), "each stands once");
    ada.open(&format!("/grants/{grant}")).await.shows("Young and live");
    let reaching = ada.open(&format!("/admin/apps?grant={grant}")).await;
    assert!(!reaching.shows("Young and live").has("Dead"));
}

#[tokio::test]
async fn the_newest_of_many_grants_can_be_chosen_for_an_app_and_an_older_one_that_was_stays_chosen() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let oldest = put_grant(&house, "the oldest").await;
    for n in 0..200 {
        house.clock.advance(Duration::from_millis(1));
        put_grant(&house, &format!("number {n:03}")).await;
    }
    let page = ada.open("/apps/new").await;
    let at = |text: &str| page.body.find(text).unwrap_or_else(|| panic!("{text} is not on the page"));
    assert!(at("number 199") < at("number 198") && at("number 198") < at("number 000"));
    assert!(!page.has("the oldest"));
    ada.open(&format!("/apps/new?grant={oldest}")).await.shows("the oldest").shows("number 199");
    ada.open("/").await.shows("201 grants");
}
