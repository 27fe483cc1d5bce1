//! `/connect/token`: a personal access token or a legacy API key, checked at the provider at once.

use askama::Template;
use axum::response::Response;
use http::StatusCode;

use super::form::{Field, Fields};
use super::frame::{Frame, Notice, Section, Tone, page_with};
use super::problem::Problem;
use super::scopes::{ScopeRow, rows, ticked};
use super::visit::{Posted, Refused, SignedIn};
use crate::broker::{PastedCheck, PastedError, PastedWish};
use crate::domain::grant::GrantKind;
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::secret::{AccessToken, Secret};

/// No token of the provider's is longer.
const LONGEST: usize = 16 * 1024;

#[derive(Template)]
#[template(path = "paste.html")]
struct PastePage {
    frame: Frame,
    kind: Field,
    token: Field,
    scope: Field,
    rows: Vec<ScopeRow>,
    label: Field,
}

impl PastePage {
    fn of(visit: &SignedIn, fields: &Fields, ticked: ScopeSet) -> Self {
        Self {
            frame: visit.frame(Section::Connect),
            kind: Field::with("kind", fields.one("kind")),
            // A secret is never sent back.
            token: Field::empty("token"),
            scope: Field::empty("scope"),
            rows: rows(ticked, ScopeSet::EMPTY),
            label: Field::with("label", fields.one("label")),
        }
    }
}

/// `GET /connect/token`
pub(crate) async fn show(visit: SignedIn) -> Response {
    page_with(StatusCode::OK, &PastePage::of(&visit, &Fields::parse(b""), ScopeSet::of(Scope::Vehicles)))
}

/// `POST /connect/token`
pub(crate) async fn save(Posted { visit, fields }: Posted<SignedIn>) -> Result<Response, Refused> {
    let scopes = ticked(fields.all("scope"));
    let mut page = PastePage::of(&visit, &fields, scopes.clone().unwrap_or_default());
    let scopes = match scopes {
        Ok(scopes) => scopes,
        Err(error) => {
            page.scope.error = Some(error);
            return Ok(page_with(StatusCode::BAD_REQUEST, &page));
        }
    };
    let kind = fields.one("kind").parse::<GrantKind>().ok().filter(|kind| *kind != GrantKind::OAuth);
    let Some(kind) = kind else {
        page.kind.error = Some("Choose what it is.".to_owned());
        return Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &page));
    };
    let token = match token(&fields) {
        Ok(token) => token,
        Err(words) => {
            page.token.error = Some(words.to_owned());
            return Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &page));
        }
    };
    let wish =
        PastedWish { user: visit.user.id, kind, scopes, label: fields.one("label").trim().to_owned(), secret: token };
    let refusal = match visit.web.broker.add_pasted_token(wish).await {
        Ok((grant, check)) => {
            visit.tell(told(grant.label.as_str(), check)).await?;
            return Ok(visit.to(&format!("/grants/{}", grant.id)));
        }
        Err(refusal) => refusal,
    };
    let words = Some(refusal.to_string());
    match refusal {
        PastedError::NoScope | PastedError::TooMuchForApiKey | PastedError::MissingScope(_) => page.scope.error = words,
        PastedError::Empty
        | PastedError::Refused
        | PastedError::NoSuchGrant
        | PastedError::OtherAccount
        | PastedError::UntoldAccount => {
            page.token.error = words;
        }
        PastedError::BadKind => page.kind.error = words,
        PastedError::BadLabel(_) => page.label.error = words,
        PastedError::Storage(cause) => return Err(Problem::unavailable(cause).into()),
    }
    Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &page))
}

/// What was pasted, or why it can be no token.
pub(crate) fn token(fields: &Fields) -> Result<Secret<AccessToken>, &'static str> {
    let token = fields.one("token").trim();
    if token.len() > LONGEST || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(
            "This is no token: it holds blanks or other characters that no token has, or is too long. Check that you copied it whole and alone.",
        );
    }
    Ok(Secret::new(token))
}

pub(crate) fn told(label: &str, check: PastedCheck) -> Notice {
    match check {
        PastedCheck::NotChecked => {
            let text = format!(
                "“{label}” is saved, but not checked: Teslascope gave no clear answer, or the ticked scopes allow no harmless call. The first call of an app will show whether it works."
            );
            Notice::new(Tone::Wait, text)
        }
        PastedCheck::Accepted | PastedCheck::Refused | PastedCheck::MissingScope(_) => {
            Notice::new(Tone::Good, format!("“{label}” is saved. Teslascope accepts it."))
        }
    }
}
