//! `/account`: one's own password and sessions.

use askama::Template;
use axum::response::Response;
use http::StatusCode;

use super::form::Field;
use super::frame::{Frame, Notice, Section, Tone, page_with};
use super::moment::Moment;
use super::problem::Problem;
use super::session::{Member, id_hash};
use super::sign_in::refused;
use super::visit::{Posted, Refused, SignedIn};
use crate::broker::AccountError;
use crate::domain::secret::{Password, Secret};

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    frame: Frame,
    created: Moment,
    sessions: Vec<SessionRow>,
    old: Field,
    password: Field,
}

struct SessionRow {
    here: bool,
    begun: Moment,
    ends: Moment,
}

async fn page_of(visit: &SignedIn, old: Field, password: Field) -> Result<AccountPage, Problem> {
    let own = visit.session.id().map(id_hash);
    let found = visit.web.broker.list_sessions(visit.user.id).await.map_err(Problem::unavailable)?;
    let sessions = found.iter().map(|session| SessionRow {
        here: Some(session.id_hash) == own,
        begun: Moment::of(session.begun_at, visit.now),
        ends: Moment::of(session.ends_at, visit.now),
    });
    Ok(AccountPage {
        frame: visit.frame(Section::Account),
        created: Moment::of(visit.user.created_at, visit.now),
        sessions: sessions.collect(),
        old,
        password,
    })
}

/// `GET /account`
pub(crate) async fn show(visit: SignedIn) -> Result<Response, Problem> {
    let page = page_of(&visit, Field::empty("old"), Field::empty("password")).await?;
    Ok(page_with(StatusCode::OK, &page))
}

/// `POST /account/password`
pub(crate) async fn change_password(Posted { visit, fields }: Posted<SignedIn>) -> Result<Response, Refused> {
    let broker = &visit.web.broker;
    let (mut old, mut password) = (Field::empty("old"), Field::empty("password"));
    let mut status = StatusCode::UNPROCESSABLE_ENTITY;
    if let Err(refusal) = visit.show_password(fields.one("old")).await {
        let (refused, _, words) = refused(refusal)?;
        status = refused;
        old = old.wrong(words);
    } else {
        let new = Secret::<Password>::new(fields.one("password"));
        let keep = visit.session.id().map(id_hash);
        match broker.reset_password(visit.user.id, new, keep).await {
            Ok(()) => {
                Member::prove(&visit.session, visit.now).await.map_err(Problem::unavailable)?;
                let text = "Your password is changed, and you are signed out everywhere else.";
                visit.tell(Notice::new(Tone::Good, text)).await?;
                return Ok(visit.to("/account"));
            }
            Err(refusal @ AccountError::BadPassword(_)) => password = password.wrong(refusal),
            Err(other) => return Err(other.into()),
        }
    }
    Ok(page_with(status, &page_of(&visit, old, password).await?))
}

/// `POST /account/sessions`: ends every other session.
pub(crate) async fn end_others(Posted { visit, .. }: Posted<SignedIn>) -> Result<Response, Refused> {
    if let Some(id) = visit.session.id() {
        visit.web.broker.drop_other_sessions(visit.user.id, id_hash(id)).await.map_err(Problem::unavailable)?;
    }
    visit.tell(Notice::new(Tone::Good, "You are signed out everywhere else.")).await?;
    Ok(visit.to("/account"))
}

impl From<AccountError> for Refused {
    fn from(refusal: AccountError) -> Self {
        Self::Problem(match refusal {
            AccountError::NotFound => Problem::not_found(),
            AccountError::Storage(cause) => Problem::unavailable(cause),
            AccountError::LastAdmin => {
                Problem::new(StatusCode::CONFLICT, "The last administrator stays", refusal.to_string())
                    .way("/admin/users", "Back to the users")
            }
            AccountError::BadName(_)
            | AccountError::NameTaken
            | AccountError::BadPassword(_)
            | AccountError::WrongPassword => {
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "This cannot be done", refusal.to_string())
            }
        })
    }
}
