//! The only place where an error becomes a page. The person reads advice; the cause goes to the log, once.

use std::fmt;

use askama::Template;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_LENGTH, RETRY_AFTER};

use super::Web;
use super::frame::{Frame, page};

/// Why a page cannot be shown: what the person reads, and what the log gets.
#[derive(Debug)]
pub(crate) struct Problem {
    shown: Shown,
    cause: Option<String>,
}

/// What the person reads. It cannot carry a cause: its texts are ours.
#[derive(Clone, Debug)]
struct Shown {
    status: StatusCode,
    title: &'static str,
    advice: String,
    ways: Vec<Way>,
    retry_after: Option<u64>,
}

/// Where to go from here.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) path: String,
    pub(crate) name: &'static str,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, title: &'static str, advice: impl Into<String>) -> Self {
        let shown = Shown { status, title, advice: advice.into(), ways: Vec::new(), retry_after: None };
        Self { shown, cause: None }
    }

    /// Offers a way on; without one, the page offers the home page.
    pub(crate) fn way(mut self, path: impl Into<String>, name: &'static str) -> Self {
        self.shown.ways.push(Way { path: path.into(), name });
        self
    }

    /// What the log gets.
    pub(crate) fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "There is no such page", "The address is wrong, or what it showed is gone.")
    }

    pub(crate) fn wrong_method() -> Self {
        let advice = "This address takes a form that is sent from its page, or only shows something. Go to the page and start from there.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "This does not work that way", advice)
    }

    pub(crate) fn admins_only() -> Self {
        let advice = "This page is for administrators. Ask the person who runs this Keyfob if you need it.";
        Self::new(StatusCode::FORBIDDEN, "For administrators", advice)
    }

    pub(crate) fn forged(why: &'static str) -> Self {
        let advice = "The form did not come from a page of this Keyfob, or that page was too old. Nothing was changed. Open the page again and send it once more.";
        Self::new(StatusCode::FORBIDDEN, "The form was not accepted", advice).because(why)
    }

    pub(crate) fn not_a_form() -> Self {
        let advice = "What was sent is not a form of this page. Open the page and send its form.";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Not a form", advice)
    }

    pub(crate) fn too_large() -> Self {
        let advice = "The form holds more than 64 KiB. Tokens and keys are much shorter: check what you pasted.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Too much was sent", advice)
    }

    /// Something of ours failed: storage, mostly.
    pub(crate) fn unavailable(cause: impl fmt::Display) -> Self {
        let advice = "Keyfob could not read or write its data just now. Nothing was half done. Try again in a moment; if it stays so, whoever runs this Keyfob finds the cause in its log.";
        let mut problem =
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "This does not work right now", advice).because(cause);
        problem.shown.retry_after = Some(5);
        problem
    }

    /// A fault of the program.
    pub(crate) fn internal(cause: impl fmt::Display) -> Self {
        let advice = "This is a fault of the program. The cause is in the log of this Keyfob.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong", advice).because(cause)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.shown.status;
        match &self.cause {
            Some(cause) if status.is_server_error() => {
                tracing::error!(http.status = status.as_u16(), error.cause = %cause, "A page could not be made");
            }
            Some(cause) => {
                tracing::info!(http.status = status.as_u16(), error.cause = %cause, "A request for a page was refused");
            }
            None => {}
        }
        let mut response = status.into_response();
        if let Some(seconds) = self.shown.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self.shown);
        response
    }
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    frame: Frame,
    status: u16,
    title: &'static str,
    advice: String,
    ways: Vec<Way>,
}

/// Makes the page of a [`Problem`] that a handler answered with.
pub(crate) async fn dress(State(web): State<Web>, request: Request<Body>, next: Next) -> Response {
    let mut response = next.run(request).await;
    let Some(mut shown) = response.extensions_mut().remove::<Shown>() else { return response };
    if shown.ways.is_empty() {
        shown.ways.push(Way { path: "/".to_owned(), name: "To the home page" });
    }
    let body = page(&ProblemPage {
        frame: Frame::alone(&web.site),
        status: shown.status.as_u16(),
        title: shown.title,
        advice: shown.advice,
        ways: shown.ways,
    });
    let (parts, body) = body.into_parts();
    *response.body_mut() = body;
    // The router has measured the empty body already.
    response.headers_mut().remove(CONTENT_LENGTH);
    response.headers_mut().extend(parts.headers);
    response
}
