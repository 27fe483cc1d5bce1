//! `/api/v1/apps`.

use std::time::Duration;

use axum::Json;
use axum::extract::RawQuery;
use axum::response::Response;
use http::StatusCode;
use utoipa::ToSchema;

use super::answer::made;
use super::body::Members;
use super::cursor::{Page, Wanted};
use super::given::{Given, flag, parsed, scopes, span, text};
use super::key::Admin;
use super::problem::Problem;
use super::thing::Thing;
use super::users::Paging;
use crate::broker::members::AppMembers;
use crate::broker::{AppFilter, AppWish, Broker};
use crate::domain::app::{App, Rate};
use crate::domain::id::{GrantId, Id};
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::user::{Label, User};

/// How long the old key works after a roll, unless it is said.
const OVERLAP: Duration = Duration::from_secs(86_400);

/// An app that is to be.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewApp {
    /// What its user calls it.
    #[schema(value_type = String, min_length = 1, max_length = 80, example = "Dashboard")]
    name: Label,
    /// Whose it is: the name of a user.
    #[schema(value_type = String, example = "ada")]
    user: User,
    /// The most that it may do.
    #[schema(value_type = Vec<Scope>, min_items = 1)]
    scopes: ScopeSet,
    /// For how long its key works, like `90d`; for ever without it.
    #[schema(value_type = Option<String>, pattern = "^[0-9]+[smhd]$", example = "90d")]
    expires_in: Option<Duration>,
    /// Whether its key may come in the URL as `?api_key=`.
    #[schema(value_type = Option<bool>, default = false)]
    query_key: bool,
    /// The one grant of its user that it is tied to.
    #[schema(value_type = Option<String>, format = "uuid")]
    grant: Option<GrantId>,
    /// Its own limit of calls, like `10/s`, `600/m` or `5000/h`.
    #[schema(value_type = Option<String>, pattern = "^[0-9]+/[smh]$", example = "10/s")]
    rate: Option<Rate>,
}

impl NewApp {
    async fn read(mut given: Given, broker: &Broker) -> Result<AppWish, Problem> {
        let name = given.must("name", parsed::<Label>);
        let user = given.must("user", text);
        let scopes = given.must("scopes", scopes);
        let expires_in = given.maybe("expires_in", span);
        let query_key = given.maybe("query_key", flag).unwrap_or(false);
        let grant = given.maybe("grant", parsed::<GrantId>);
        let rate = given.maybe("rate", parsed::<Rate>);
        let user = super::grants::owner(&mut given, broker, user).await?;
        let new = given.finish((|| {
            Some(Self { name: name?, user: user?, scopes: scopes?, expires_in, query_key, grant, rate })
        })())?;
        Ok(AppWish {
            user: new.user.id,
            name: new.name.to_string(),
            scopes: new.scopes,
            expires_in: new.expires_in,
            query_key: new.query_key,
            grant: new.grant,
            rate: new.rate,
        })
    }
}

/// How a key is rolled.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Roll {
    /// How long the old key still works, like `24h`.
    #[schema(value_type = Option<String>, default = "24h", pattern = "^[0-9]+[smhd]$")]
    overlap: Duration,
}

impl Roll {
    fn read(mut given: Given) -> Result<Self, Problem> {
        let overlap = given.maybe("overlap", span).unwrap_or(OVERLAP);
        given.finish(Some(Self { overlap }))
    }
}

/// List the apps, in the order of their making
#[utoipa::path(get, path = "/api/v1/apps", operation_id = "list_apps", tag = "apps", params(Paging),
    responses((status = 200, description = "A page of apps, revoked ones too", body = Page<AppMembers>)))]
pub(super) async fn list(Admin(broker): Admin, RawQuery(query): RawQuery) -> Result<Json<Page<AppMembers>>, Problem> {
    let mut given = Given::of_query(query.as_deref());
    let wanted = Wanted::<16>::read(&mut given, &["apps"]);
    let wanted = given.finish(Some(wanted))?;
    let filter =
        AppFilter { after: wanted.after.map(Id::from_bytes), limit: wanted.read_ahead(), ..AppFilter::default() };
    let found = broker.list_apps(&filter).await?;
    Ok(Json(wanted.page(
        found,
        |found| *found.app.id.as_bytes(),
        |found| AppMembers::new(&found.app, &found.user_name),
    )))
}

/// Make an app; its key is in this answer and nowhere else
#[utoipa::path(post, path = "/api/v1/apps", operation_id = "make_app", tag = "apps", request_body = NewApp,
    responses((status = 201, description = "The app that was made, with its key", body = AppMembers)))]
pub(super) async fn make(Admin(broker): Admin, Members(given): Members) -> Result<Response, Problem> {
    let wish = NewApp::read(given, &broker).await?;
    let new = broker.make_app(wish).await?;
    let user_name = broker.user_name(new.app.user).await?;
    let place = format!("apps/{}", new.app.id);
    Ok(made(&broker, &place, AppMembers::new(&new.app, &user_name).with_key(&new.key)))
}

/// Give an app a new key; the old ones still work for the overlap
#[utoipa::path(post, path = "/api/v1/apps/{id}/roll", operation_id = "roll_app", tag = "apps", request_body = Roll,
    params(("id" = String, Path, description = "The app's id", format = "uuid")),
    responses((status = 200, description = "The app with its new key", body = AppMembers)))]
pub(super) async fn roll(
    Admin(broker): Admin,
    Thing(id): Thing<App>,
    Members(given): Members,
) -> Result<Json<AppMembers>, Problem> {
    let wish = Roll::read(given)?;
    let new = broker.roll_app(id, None, wish.overlap).await?;
    let user_name = broker.user_name(new.app.user).await?;
    Ok(Json(AppMembers::new(&new.app, &user_name).with_key(&new.key)))
}

/// Revoke an app: it is cut off at once
#[utoipa::path(delete, path = "/api/v1/apps/{id}", operation_id = "revoke_app", tag = "apps",
    params(("id" = String, Path, description = "The app's id", format = "uuid")),
    responses((status = 204, description = "The app is cut off")))]
pub(super) async fn revoke(Admin(broker): Admin, Thing(id): Thing<App>) -> Result<StatusCode, Problem> {
    broker.revoke_app(id, None).await?;
    Ok(StatusCode::NO_CONTENT)
}
