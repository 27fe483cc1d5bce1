//! `/api/v1/users`.

use axum::Json;
use axum::extract::RawQuery;
use axum::response::Response;
use http::StatusCode;
use utoipa::{IntoParams, ToSchema};

use super::answer::made;
use super::body::Members;
use super::cursor::{Page, Wanted};
use super::given::{Given, parsed, secret, word};
use super::key::Admin;
use super::problem::Problem;
use super::thing::Thing;
use crate::domain::id::{Id, UserId};
use crate::domain::secret::{Password, Secret};
use crate::domain::user::{Role, User, UserName};

/// An account that is to be.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    /// What its user signs in with; nobody else may have it, in whatever case.
    #[schema(value_type = String, min_length = 1, max_length = 64, example = "ada")]
    name: UserName,
    /// What its user signs in with.
    #[schema(value_type = String, min_length = 8, max_length = 1024, format = "password")]
    password: Secret<Password>,
    /// What its user may do.
    #[schema(value_type = Option<Role>, default = "member")]
    role: Role,
}

impl NewUser {
    fn read(mut given: Given) -> Result<Self, Problem> {
        let name = given.must("name", parsed::<UserName>);
        let password = given.must("password", secret::<Password>);
        let role = given.maybe("role", word(&[Role::Admin, Role::Member], Role::as_str)).unwrap_or(Role::Member);
        if let Some(password) = &password
            && let Err(why) = crate::broker::check_password(password, name.as_ref().map_or("", UserName::as_str))
        {
            given.fault("password", why);
        }
        given.finish((|| Some(Self { name: name?, password: password?, role }))())
    }
}

/// Which accounts are listed.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents what Wanted::read takes")]
pub(super) struct Paging {
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// At most so many items.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
}

/// List the accounts, in the order of their making
#[utoipa::path(get, path = "/api/v1/users", operation_id = "list_users", tag = "users", params(Paging),
    responses((status = 200, description = "A page of accounts", body = Page<User>)))]
pub(super) async fn list(Admin(broker): Admin, RawQuery(query): RawQuery) -> Result<Json<Page<User>>, Problem> {
    let mut given = Given::of_query(query.as_deref());
    let wanted = Wanted::<16>::read(&mut given, &["users"]);
    let wanted = given.finish(Some(wanted))?;
    let users = broker.list_users(wanted.after.map(Id::from_bytes), wanted.read_ahead()).await?;
    Ok(Json(wanted.page(users, |user| *user.id.as_bytes(), |user| user)))
}

/// Make an account
#[utoipa::path(post, path = "/api/v1/users", operation_id = "make_user", tag = "users", request_body = NewUser,
    responses((status = 201, description = "The account that was made", body = User)))]
pub(super) async fn make(Admin(broker): Admin, Members(given): Members) -> Result<Response, Problem> {
    let new = NewUser::read(given)?;
    let user = broker.add_user(new.name.as_str(), new.role, Some(new.password)).await?;
    Ok(made(&broker, &format!("users/{}", user.id), user))
}

/// Remove an account with its grants and apps
#[utoipa::path(delete, path = "/api/v1/users/{id}", operation_id = "remove_user", tag = "users",
    params(("id" = String, Path, description = "The account's id", format = "uuid")),
    responses((status = 204, description = "The account is gone"), (status = 409, description = "It is the last admin")))]
pub(super) async fn remove(Admin(broker): Admin, Thing(id): Thing<User>) -> Result<StatusCode, Problem> {
    let id: UserId = id;
    broker.remove_user(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
