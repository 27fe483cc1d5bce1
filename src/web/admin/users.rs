//! `/admin/users`: who has an account, and what they may.

use askama::Template;
use axum::extract::{Path, RawQuery};
use axum::response::Response;
use http::StatusCode;

use super::{Tab, tabs};
use crate::broker::AccountError;
use crate::domain::id::UserId;
use crate::domain::secret::{Password, Secret};
use crate::domain::user::{Role, User};
use crate::web::form::{Field, Fields};
use crate::web::frame::{Frame, Notice, Pill, Section, Tone, page_with};
use crate::web::moment::Moment;
use crate::web::problem::Problem;
use crate::web::visit::{Admin, Posted, Refused, SignedIn};

/// So many users stand on one page.
const PAGE: u32 = 30;

#[derive(Template)]
#[template(path = "admin/users.html")]
struct UsersPage {
    frame: Frame,
    tabs: Vec<Tab>,
    users: Vec<Row>,
    next: Option<String>,
    username: Field,
    password: Field,
    admin: bool,
}

struct Row {
    id: String,
    name: String,
    role: &'static str,
    is_admin: bool,
    disabled: bool,
    me: bool,
    pill: Pill,
    created: Moment,
}

impl Row {
    fn of(user: &User, visit: &SignedIn) -> Self {
        let disabled = user.disabled_at.is_some();
        let (tone, words) = if disabled { (Tone::Off, "shut out") } else { (Tone::Good, "active") };
        Self {
            id: user.id.to_string(),
            name: user.name.to_string(),
            role: if user.role == Role::Admin { "Administrator" } else { "Member" },
            is_admin: user.role == Role::Admin,
            disabled,
            me: user.id == visit.user.id,
            pill: Pill { tone, words },
            created: Moment::of(user.created_at, visit.now),
        }
    }
}

async fn page_of(visit: &SignedIn, after: Option<UserId>, username: Field) -> Result<UsersPage, Problem> {
    let found = visit.web.broker.list_users(after, PAGE).await.map_err(Problem::unavailable)?;
    let full = found.len() == PAGE as usize;
    Ok(UsersPage {
        frame: visit.frame(Section::Admin),
        tabs: tabs("/admin/users"),
        next: found.last().filter(|_| full).map(|last| format!("?cursor={}", last.id)),
        users: found.iter().map(|user| Row::of(user, visit)).collect(),
        username,
        password: Field::empty("password"),
        admin: false,
    })
}

/// `GET /admin/users`
pub(crate) async fn show(Admin(visit): Admin, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let after = fields.some("cursor").and_then(|id| id.parse().ok());
    Ok(page_with(StatusCode::OK, &page_of(&visit, after, Field::empty("username")).await?))
}

/// `POST /admin/users`: makes an account.
pub(crate) async fn add(Posted { visit: Admin(visit), fields }: Posted<Admin>) -> Result<Response, Refused> {
    visit.fresh_or("/admin/users")?;
    let name = fields.one("username").trim();
    let role = if fields.has("admin") { Role::Admin } else { Role::Member };
    let password = fields.some("password").map(|_| Secret::<Password>::new(fields.one("password")));
    let by_link = password.is_none();
    let refusal = match visit.web.broker.add_user(name, role, password).await {
        Ok(user) if by_link => return invite(&visit, &user).await,
        Ok(user) => {
            visit.tell(Notice::new(Tone::Good, format!("“{}” can sign in now.", user.name))).await?;
            return Ok(visit.to("/admin/users"));
        }
        Err(refusal) => refusal,
    };
    let mut page = page_of(&visit, None, Field::with("username", name)).await?;
    page.admin = role == Role::Admin;
    match refusal {
        AccountError::BadName(_) | AccountError::NameTaken => page.username.error = Some(refusal.to_string()),
        AccountError::BadPassword(_) => page.password.error = Some(refusal.to_string()),
        other => return Err(other.into()),
    }
    Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &page))
}

#[derive(Template)]
#[template(path = "admin/invited.html")]
struct InvitedPage {
    frame: Frame,
    tabs: Vec<Tab>,
    name: String,
    link: String,
}

/// The one page that shows an invitation's link.
async fn invite(visit: &SignedIn, user: &User) -> Result<Response, Refused> {
    let token = visit.web.broker.invite(user.id).await?;
    let link = visit.web.site.address(&format!("/invitation?token={}", token.expose_str().unwrap_or_default()));
    let page = InvitedPage {
        frame: visit.frame(Section::Admin),
        tabs: tabs("/admin/users"),
        name: user.name.to_string(),
        link,
    };
    Ok(page_with(StatusCode::OK, &page))
}

/// `POST /admin/users/{id}`: what the pressed button says.
pub(crate) async fn change(
    Path(id): Path<String>,
    Posted { visit: Admin(visit), fields }: Posted<Admin>,
) -> Result<Response, Refused> {
    visit.fresh_or("/admin/users")?;
    let id: UserId = id.parse().map_err(|_| Problem::not_found())?;
    let broker = &visit.web.broker;
    let user = broker.account(id).await.map_err(Problem::unavailable)?.ok_or_else(Problem::not_found)?;
    let name = &user.name;
    let words = match fields.one("act") {
        "admin" => {
            broker.set_role(id, Role::Admin).await?;
            format!("“{name}” is an administrator now.")
        }
        "member" => {
            broker.set_role(id, Role::Member).await?;
            format!("“{name}” is a member now.")
        }
        "disable" => {
            broker.set_disabled(id, true).await?;
            format!("“{name}” is shut out, and the calls of their apps are refused.")
        }
        "enable" => {
            broker.set_disabled(id, false).await?;
            format!("“{name}” can sign in again, and their apps work again.")
        }
        "invite" => return invite(&visit, &user).await,
        "remove" => {
            broker.remove_user(id).await?;
            format!("“{name}” is removed, with their grants and apps.")
        }
        _ => {
            let advice = "The form names nothing that can be done with a user. Use the buttons of the page.";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "Nothing was chosen", advice).into());
        }
    };
    visit.tell(Notice::new(Tone::Good, words)).await?;
    Ok(visit.to("/admin/users"))
}
