//! `/invitation`: somebody who was given an account sets their first password, by a one-time link.

use askama::Template;
use axum::extract::RawQuery;
use axum::response::Response;
use http::StatusCode;

use super::form::{Field, Fields};
use super::frame::{Frame, Section, page_with};
use super::problem::Problem;
use super::session::Member;
use super::visit::{Posted, Refused, Visit};
use crate::broker::AccountError;
use crate::domain::secret::{Password, Secret, SetupToken};
use crate::domain::user::User;

#[derive(Template)]
#[template(path = "invitation.html")]
struct InvitationPage {
    frame: Frame,
    token: String,
    name: String,
    password: Field,
}

/// Whose invitation a token is.
async fn invited(visit: &Visit, token: &Secret<SetupToken>) -> Result<User, Problem> {
    match visit.web.broker.invited(token).await {
        Ok(user) => Ok(user),
        Err(AccountError::Storage(cause)) => Err(Problem::unavailable(cause)),
        Err(_) => {
            let advice =
                "The link was used already, or is more than a week old. Ask the person who sent it for a new one.";
            Err(Problem::new(StatusCode::FORBIDDEN, "The invitation is not valid", advice).way("/sign-in", "Sign in"))
        }
    }
}

/// `GET /invitation?token=…`
pub(crate) async fn show(visit: Visit, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let user = invited(&visit, &Secret::new(fields.one("token"))).await?;
    let page = InvitationPage {
        frame: visit.frame(Section::Home),
        token: fields.one("token").to_owned(),
        name: user.name.to_string(),
        password: Field::empty("password"),
    };
    Ok(page_with(StatusCode::OK, &page))
}

/// `POST /invitation`
pub(crate) async fn accept(Posted { visit, fields }: Posted<Visit>) -> Result<Response, Refused> {
    let user = invited(&visit, &Secret::new(fields.one("token"))).await?;
    let password = Secret::<Password>::new(fields.one("password"));
    let token = Secret::new(fields.one("token"));
    match visit.web.broker.accept_invitation(&token, password).await {
        Ok(id) => {
            Member::begin(&visit.session, id, visit.now).await.map_err(Problem::unavailable)?;
            Ok(visit.to("/"))
        }
        Err(refusal @ AccountError::BadPassword(_)) => {
            let page = InvitationPage {
                frame: visit.frame(Section::Home),
                token: fields.one("token").to_owned(),
                name: user.name.to_string(),
                password: Field::empty("password").wrong(refusal),
            };
            Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &page))
        }
        Err(other) => Err(other.into()),
    }
}
