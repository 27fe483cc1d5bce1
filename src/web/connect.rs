//! `/connect` and `/oauth/callback`: to the provider and back.

use askama::Template;
use axum::extract::RawQuery;
use axum::response::Response;
use http::StatusCode;

use super::form::{Field, Fields};
use super::frame::{Frame, Notice, Section, Tone, page_with};
use super::guard::{FormsGoTo, see_other};
use super::moment::Moment;
use super::problem::Problem;
use super::scopes::{ScopeRow, rows, ticked};
use super::site::with_next;
use super::visit::{Posted, Refused, SignedIn, Visit};
use crate::broker::{AuthorizationWish, BeginError, CompleteError, Completed, Waiting};
use crate::domain::scope::{Scope, ScopeSet};

#[derive(Template)]
#[template(path = "connect.html")]
struct ConnectPage {
    frame: Frame,
    configured: bool,
    redirect_uri: String,
    unfinished: Option<Moment>,
    scope: Field,
    rows: Vec<ScopeRow>,
    controls: ScopeRow,
    label: Field,
    asked: String,
    /// The page of ours to go back to afterwards.
    next: Option<String>,
}

impl ConnectPage {
    async fn of(visit: &SignedIn, ticked: ScopeSet, fields: &Fields) -> Result<Self, Problem> {
        let broker = &visit.web.broker;
        let since = broker.unanswered_since(visit.user.id).await.map_err(Problem::unavailable)?;
        let mut rows = rows(ticked, ScopeSet::EMPTY);
        rows.retain(|row| row.name != Scope::Controls.as_str());
        Ok(Self {
            frame: visit.frame(Section::Connect),
            configured: broker.has_client(),
            redirect_uri: broker.redirect_uri(),
            unfinished: Moment::maybe(since, visit.now),
            scope: Field::empty("scope"),
            rows,
            controls: ScopeRow::of(Scope::Controls, ticked, ScopeSet::EMPTY),
            label: Field::with("label", fields.one("label").trim()),
            asked: words(ticked),
            next: fields.next(),
        })
    }

    /// The page, which may post to the provider by way of us.
    async fn respond(&self, visit: &SignedIn, status: StatusCode) -> Response {
        to_provider(visit, page_with(status, self)).await
    }
}

/// Lets a page's forms end at the provider: browsers check the redirect after a form too.
pub(crate) async fn to_provider(visit: &SignedIn, mut response: Response) -> Response {
    if let Some(origin) = visit.web.broker.authorization_origin().await {
        response.extensions_mut().insert(FormsGoTo(origin));
    }
    response
}

fn words(scopes: ScopeSet) -> String {
    if scopes.is_empty() { "nothing yet".to_owned() } else { scopes.to_string().replace(' ', ", ") }
}

/// `GET /connect`; the query may tick scopes and name the grant.
pub(crate) async fn show(visit: SignedIn, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let scopes = match ticked(fields.all("scope")) {
        Ok(scopes) if !scopes.is_empty() => scopes,
        _ => ScopeSet::of(Scope::Vehicles),
    };
    let page = ConnectPage::of(&visit, scopes, &fields).await?;
    Ok(page.respond(&visit, StatusCode::OK).await)
}

/// `POST /connect`
pub(crate) async fn begin(Posted { visit, fields }: Posted<SignedIn>) -> Result<Response, Refused> {
    let label = fields.one("label").trim();
    let scopes = match ticked(fields.all("scope")) {
        Ok(scopes) => scopes,
        Err(error) => {
            let mut page = ConnectPage::of(&visit, ScopeSet::EMPTY, &fields).await?;
            page.scope.error = Some(error);
            return Ok(page.respond(&visit, StatusCode::BAD_REQUEST).await);
        }
    };
    let (now, then) =
        if fields.has("split") { split(scopes, fields.next().as_deref()) } else { (scopes, fields.next()) };
    let wish = AuthorizationWish {
        user: visit.user.id,
        browser: visit.browser(),
        scopes: now,
        label: label.to_owned(),
        grant: None,
        return_to: then,
    };
    let refusal = match visit.web.broker.begin_authorization(wish).await {
        Ok(address) => return Ok(see_other(address.as_str())),
        Err(refusal) => refusal,
    };
    let mut page = ConnectPage::of(&visit, scopes, &fields).await?;
    let words = refusal.to_string();
    match refusal {
        BeginError::NoScope => page.scope.error = Some(words),
        BeginError::BadLabel(_) => page.label.error = Some(words),
        other => return Err(other.into()),
    }
    Ok(page.respond(&visit, StatusCode::UNPROCESSABLE_ENTITY).await)
}

/// Two grants by one click: first everything else, and back here for the commands, and then to where somebody came from.
fn split(scopes: ScopeSet, next: Option<&str>) -> (ScopeSet, Option<String>) {
    let controls = ScopeSet::of(Scope::Controls);
    let rest = scopes.minus(controls);
    let rest = if rest.is_empty() { ScopeSet::of(Scope::Vehicles) } else { rest };
    (rest, Some(with_next("/connect?scope=controls&label=Commands".to_owned(), next)))
}

impl From<BeginError> for Refused {
    fn from(refusal: BeginError) -> Self {
        let problem = |status, title| Problem::new(status, title, refusal.to_string());
        Self::Problem(match &refusal {
            BeginError::NoSuchGrant => problem(StatusCode::NOT_FOUND, "No such grant"),
            BeginError::NoClientId => {
                problem(StatusCode::CONFLICT, "No OAuth application is set up").way("/connect/token", "Paste a token")
            }
            BeginError::NoEndpoints => {
                problem(StatusCode::SERVICE_UNAVAILABLE, "Teslascope was not found").way("/connect", "Try again")
            }
            BeginError::NoScope | BeginError::BadLabel(_) => {
                problem(StatusCode::UNPROCESSABLE_ENTITY, "This cannot be done").way("/connect", "Start again")
            }
            BeginError::Storage(cause) => Problem::unavailable(cause),
        })
    }
}

/// `GET /oauth/callback`: the redirect URI. Its answer is never a page at an address with a code in it, unless that code is worthless.
pub(crate) async fn callback(visit: Visit, RawQuery(query): RawQuery) -> Result<Response, Refused> {
    let Some((user, _)) = &visit.member else {
        let advice = "You are not signed in in this browser, or not any more, so that the answer from Teslascope cannot be yours. Nothing was kept. Sign in and start again.";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "Not signed in", advice)
            .way("/sign-in?next=/connect", "Sign in")
            .into());
    };
    let query = query.unwrap_or_default();
    let broker = &visit.web.broker;
    let waiting = broker.find_waiting(&query, user.id, visit.browser()).await.map_err(Problem::unavailable)?;
    match visit.web.broker.complete_authorization(&query, user.id, visit.browser()).await {
        Ok(completed) => {
            visit.tell(told(&completed)).await?;
            let own = format!("/grants/{}", completed.grant.id);
            Ok(visit.to(completed.return_to.as_deref().unwrap_or(&own)))
        }
        Err(refusal) => {
            let words = refusal.to_string();
            match refusal {
                CompleteError::BadCallback(_) | CompleteError::UnknownState | CompleteError::Unaccepted(_) => {
                    Err(Problem::new(StatusCode::BAD_REQUEST, "This answer cannot be used", words)
                        .way("/connect", "To the connect page")
                        .into())
                }
                CompleteError::Storage(cause) => Err(Problem::unavailable(cause).into()),
                CompleteError::Refused(_)
                | CompleteError::Exchange(_)
                | CompleteError::NoToken
                | CompleteError::OtherAccount
                | CompleteError::UntoldAccount => {
                    visit.tell(Notice::new(Tone::Bad, words)).await?;
                    Ok(visit.to(&waiting.as_ref().map_or_else(|| "/connect".to_owned(), once_more)))
                }
                CompleteError::GrantGone => {
                    visit.tell(Notice::new(Tone::Bad, words)).await?;
                    Ok(visit.to("/connect"))
                }
            }
        }
    }
}

/// The page where the same can be asked for once more: whoever came to mend a refusal keeps what they came for, and the way back.
fn once_more(waiting: &Waiting) -> String {
    let next = waiting.return_to.as_deref();
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(waiting.scopes.iter().map(|scope| ("scope", scope.as_str())));
    match (waiting.grant, next) {
        (Some(grant), _) => with_next(format!("/grants/{grant}?{}", query.finish()), next),
        (None, Some(_)) => with_next(format!("/connect?{}", query.finish()), next),
        (None, None) => "/connect".to_owned(),
    }
}

/// What was granted beside what was asked, in words where they differ.
fn told(completed: &Completed) -> Notice {
    let (grant, withheld) = (&completed.grant, completed.withheld);
    let what = if completed.renewed { "renewed" } else { "made" };
    let granted = words(grant.scopes_granted);
    let (tone, mut text) = if withheld.is_empty() {
        (Tone::Good, format!("The grant “{}” is {what}. Teslascope granted what was asked: {granted}.", grant.label))
    } else {
        let less = words(withheld);
        (
            Tone::Wait,
            format!(
                "The grant “{}” is {what}, with less than was asked. Teslascope granted {granted}, and not {less}.",
                grant.label
            ),
        )
    };
    if completed.return_to.as_deref().is_some_and(|path| path.starts_with("/connect")) {
        text.push_str(" Now the second grant, for commands alone.");
    }
    Notice::new(tone, text)
}
