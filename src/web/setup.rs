//! `/setup`: the first admin, made by whoever holds the one-time token that was printed at the start.

use askama::Template;
use axum::extract::RawQuery;
use axum::response::Response;
use http::StatusCode;

use super::form::{Field, Fields};
use super::frame::{Frame, Section, page_with};
use super::problem::Problem;
use super::session::Member;
use super::visit::{Posted, Visit};
use crate::broker::{SetupRefusal, check_password};
use crate::domain::secret::{Password, Secret, SetupToken};

#[derive(Template)]
#[template(path = "setup.html")]
struct SetupPage {
    frame: Frame,
    token: String,
    username: Field,
    password: Field,
}

/// `GET /setup?token=…`
pub(crate) async fn show(visit: Visit, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let token = Secret::<SetupToken>::new(fields.one("token"));
    if !visit.web.broker.setup_is_open().await.map_err(Problem::unavailable)? {
        return Err(done());
    }
    if !visit.web.broker.setup_token_is_good(&token).await.map_err(Problem::unavailable)? {
        return Err(bad_token());
    }
    let page = SetupPage {
        frame: visit.frame(Section::Home),
        token: fields.one("token").to_owned(),
        username: Field::empty("username"),
        password: Field::empty("password"),
    };
    Ok(page_with(StatusCode::OK, &page))
}

/// `POST /setup`
pub(crate) async fn finish(Posted { visit, fields }: Posted<Visit>) -> Result<Response, Problem> {
    let token = Secret::<SetupToken>::new(fields.one("token"));
    let name = fields.one("username").trim();
    let password = Secret::<Password>::new(fields.one("password"));
    let again = Secret::<Password>::new(fields.one("password"));
    let (mut username, mut secret) = (Field::with("username", name), Field::empty("password"));
    match visit.web.broker.finish_setup(&token, name, password).await {
        Ok(admin) => {
            Member::begin(&visit.session, admin.id, visit.now).await.map_err(Problem::unavailable)?;
            return Ok(visit.to("/"));
        }
        Err(refusal) => match refusal {
            SetupRefusal::BadName(_) => {
                if let Err(fault) = check_password(&again, name) {
                    secret = secret.wrong(SetupRefusal::BadPassword(fault));
                }
                username = username.wrong(refusal);
            }
            SetupRefusal::BadToken => return Err(bad_token()),
            SetupRefusal::NameTaken => username = username.wrong(refusal),
            SetupRefusal::BadPassword(_) => secret = secret.wrong(refusal),
            SetupRefusal::Storage(cause) => return Err(Problem::unavailable(cause)),
        },
    }
    let frame = visit.frame(Section::Home);
    let page = SetupPage { frame, token: fields.one("token").to_owned(), username, password: secret };
    Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &page))
}

fn done() -> Problem {
    let advice = "An administrator exists, so that the setup is closed for good. Sign in instead; an administrator can make more accounts.";
    Problem::new(StatusCode::GONE, "The setup is done", advice).way("/sign-in", "Sign in")
}

fn bad_token() -> Problem {
    let advice = "The setup link holds a one-time token, and this one is missing, used or from an earlier start. Take the newest line that begins with “setup:” from the output of keyfob, or start keyfob again to get one.";
    Problem::new(StatusCode::FORBIDDEN, "The setup link is not valid", advice).way("/sign-in", "Sign in")
}
