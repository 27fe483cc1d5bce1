//! `/sign-in`, `/sign-out`, and `/confirm`, where the password is shown again before a dangerous act.

use askama::Template;
use axum::extract::RawQuery;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::RETRY_AFTER;

use super::form::{Field, Fields};
use super::frame::{Frame, Notice, Section, Tone, page_with};
use super::problem::Problem;
use super::session::Member;
use super::visit::{Posted, Refused, SignedIn, Visit};
use crate::broker::SignInRefusal;
use crate::domain::secret::{Password, Secret};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    frame: Frame,
    next: Option<String>,
    username: Field,
    password: Field,
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmPage {
    frame: Frame,
    next: String,
    password: Field,
}

/// `GET /sign-in`
pub(crate) async fn show(visit: Visit, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let next = fields.next();
    if visit.member.is_some() {
        return Ok(visit.to(next.as_deref().unwrap_or("/")));
    }
    let open = visit.web.broker.setup_is_open().await.map_err(Problem::unavailable)?;
    let notice = open.then(|| {
        let text = "This Keyfob is not set up yet. Open the setup link that it printed when it was started; a new one is printed at each start.";
        Notice::new(Tone::Wait, text)
    });
    let page = SignInPage {
        frame: visit.frame_with(Section::Home, notice),
        next,
        username: Field::empty("username"),
        password: Field::empty("password"),
    };
    Ok(page_with(StatusCode::OK, &page))
}

/// `POST /sign-in`
pub(crate) async fn sign_in(Posted { visit, fields }: Posted<Visit>) -> Result<Response, Problem> {
    let (name, next) = (fields.one("username").trim(), fields.next());
    let password = Secret::<Password>::new(fields.one("password"));
    let refusal = match visit.web.broker.authenticate(name, password, &visit.source.to_string()).await {
        Ok(user) => {
            Member::begin(&visit.session, user.id, visit.now).await.map_err(Problem::unavailable)?;
            return Ok(visit.to(next.as_deref().unwrap_or("/")));
        }
        Err(refusal) => refusal,
    };
    let (status, wait, words) = refused(refusal)?;
    let page = SignInPage {
        frame: visit.frame(Section::Home),
        next,
        username: Field::with("username", name),
        password: Field::empty("password").wrong(words),
    };
    Ok(later(page_with(status, &page), wait))
}

/// `POST /sign-out`
pub(crate) async fn sign_out(Posted { visit, .. }: Posted<Visit>) -> Result<Response, Problem> {
    if let Some((user, _)) = &visit.member {
        visit.web.broker.note_signed_out(user.id);
    }
    visit.session.flush().await.map_err(Problem::unavailable)?;
    Ok(visit.to("/sign-in"))
}

/// `GET /confirm`
pub(crate) async fn confirm(visit: SignedIn, RawQuery(query): RawQuery) -> Response {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let next = fields.next().unwrap_or_else(|| "/".to_owned());
    page_with(
        StatusCode::OK,
        &ConfirmPage { frame: visit.frame(Section::Home), next, password: Field::empty("password") },
    )
}

/// `POST /confirm`
pub(crate) async fn confirmed(Posted { visit, fields }: Posted<SignedIn>) -> Result<Response, Refused> {
    let next = fields.next().unwrap_or_else(|| "/".to_owned());
    let refusal = match visit.show_password(fields.one("password")).await {
        Ok(()) => {
            Member::prove(&visit.session, visit.now).await.map_err(Problem::unavailable)?;
            return Ok(visit.to(&next));
        }
        Err(refusal) => refusal,
    };
    let (status, wait, words) = refused(refusal)?;
    let password = Field::empty("password").wrong(words);
    let page = ConfirmPage { frame: visit.frame(Section::Home), next, password };
    Ok(later(page_with(status, &page), wait))
}

/// The status, the wait in seconds, and the words of a refusal.
pub(crate) fn refused(refusal: SignInRefusal) -> Result<(StatusCode, Option<u64>, String), Problem> {
    let words = refusal.to_string();
    match refusal {
        SignInRefusal::Wrong => Ok((StatusCode::UNAUTHORIZED, None, words)),
        SignInRefusal::Throttled { retry_after } => {
            Ok((StatusCode::TOO_MANY_REQUESTS, Some(retry_after.as_secs().max(1)), words))
        }
        SignInRefusal::Storage(cause) => Err(Problem::unavailable(cause)),
    }
}

/// Says when to try again.
pub(crate) fn later(mut response: Response, wait: Option<u64>) -> Response {
    if let Some(seconds) = wait {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response.into_response()
}
