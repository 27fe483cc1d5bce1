//! Browsers and programs that hang up half-way: what is kept is also seen and recorded.

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request};
use keyfob::broker::{AppWish, AuditFilter, KeyVia, MadeApp};
use keyfob::domain::audit::kind;
use keyfob::domain::id::AppId;
use keyfob::domain::scope::ScopeSet;
use tokio::sync::oneshot;

use super::broken_off::broken_off_after;
use super::browser::House;
use super::refresh_world::until;

async fn app(house: &House, name: &str) -> MadeApp {
    let user = house.broker.find_user("ada").await.unwrap().id;
    let (scopes, name) = (ScopeSet::ALL, name.to_owned());
    let wish = AppWish { user, name, scopes, expires_in: None, query_key: false, grant: None, rate: None };
    house.broker.make_app(wish).await.unwrap()
}

async fn is_revoked(house: &House, app: AppId) -> bool {
    house.broker.find_app(app, None).await.unwrap().app.revoked_at.is_some()
}

/// Whether the database, memory and the trail say the same of an app.
async fn agrees(house: &House, made: &MadeApp) -> bool {
    let revoked = is_revoked(house, made.app.id).await;
    let refused = house.broker.caller(made.key.expose().as_bytes(), KeyVia::Header).is_err();
    let filter =
        AuditFilter { app: Some(made.app.id), kind: Some(kind::APP_REVOKED), limit: 1, ..AuditFilter::default() };
    let told = !house.broker.list_audit(&filter).await.unwrap().is_empty();
    revoked == refused && revoked == told
}

#[tokio::test]
async fn whoever_hangs_up_while_an_app_is_revoked_has_cut_it_off_wholly_or_not_at_all() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let token = ada.open("/account").await.token();
    let (_, key) = house.broker.make_admin_key("script").await.unwrap();
    for by_a_page in [true, false] {
        let (mut apps, mut ended) = (Vec::new(), Vec::new());
        for polls in 0..40 {
            let made = app(&house, &format!("app{polls}")).await;
            let revoking = async {
                if by_a_page {
                    ada.post(&format!("/apps/{}/revoke", made.app.id), &[("csrf_token", &token)]).await;
                } else {
                    let request = Request::delete(format!("/api/v1/apps/{}", made.app.id))
                        .header(AUTHORIZATION, format!("Bearer {}", key.expose()));
                    house.browser().send(request.body(Body::empty()).unwrap()).await;
                }
            };
            ended.push(broken_off_after(polls, revoking).await);
            apps.push(made);
        }
        assert!(ended.contains(&false) && ended.contains(&true), "{ended:?}");
        let last = apps.last().unwrap().app.id;
        assert!(is_revoked(&house, last).await, "this one was waited for");
        for (polls, made) in apps.iter().enumerate() {
            let what = format!("one thing is told of the app, by a page {by_a_page}, broken off after {polls} polls");
            until(&what, async || agrees(&house, made).await.then_some(())).await;
        }
    }
}

#[tokio::test]
async fn a_form_that_is_broken_off_changes_nothing_and_is_not_waited_for() {
    let house = House::with_admin().await;
    let mut ada = house.signed_in("ada").await;
    let token = ada.open("/account").await.token();
    let made = app(&house, "app").await;
    let (held, dropped) = oneshot::channel::<()>();
    let form = Ok::<_, std::io::Error>(Bytes::from(format!("csrf_token={token}")));
    let unfinished = futures_util::stream::iter([form]).chain(futures_util::stream::once(async move {
        let _held = held;
        std::future::pending().await
    }));
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("/apps/{}/revoke", made.app.id))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from_stream(unfinished));
    assert!(!broken_off_after(0, async { drop(ada.send(request.unwrap()).await) }).await);
    assert!(dropped.await.is_err(), "nobody holds the form any more");
    assert!(!is_revoked(&house, made.app.id).await);
    assert!(agrees(&house, &made).await);
}
