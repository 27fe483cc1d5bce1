//! `/grants/{id}`: what was requested, granted and used, and what can be done about it.

use askama::Template;
use axum::extract::{Path, RawQuery};
use axum::response::Response;
use http::StatusCode;

use super::connect::to_provider;
use super::form::{Field, Fields};
use super::frame::{Frame, Notice, Section, Tone, page_with};
use super::guard::see_other;
use super::moment::Moment;
use super::paste;
use super::problem::Problem;
use super::rows::{AppRow, GrantRow};
use super::scopes::{ORDER, ScopeRow, rows, ticked};
use super::site::with_next;
use super::visit::{Posted, Refused, SignedIn};
use crate::broker::{AppFilter, AuthorizationWish, PastedError, RefreshOutcome};
use crate::domain::grant::{Grant, GrantKind, GrantStatus, ScopesSource};
use crate::domain::id::GrantId;
use crate::domain::scope::{Scope, ScopeSet};

#[derive(Template)]
#[template(path = "grant.html")]
struct GrantPage {
    frame: Frame,
    grant: GrantRow,
    advice: Option<String>,
    advice_tone: Tone,
    advice_icon: &'static str,
    source: &'static str,
    matrix: Vec<Row>,
    created: Moment,
    refreshed: Option<Moment>,
    provider: String,
    account: Option<String>,
    apps: Vec<AppRow>,
    live: bool,
    is_oauth: bool,
    refreshable: bool,
    missing: Vec<ScopeRow>,
    scope: Field,
    /// The scopes that somebody came for and that it lacks.
    beyond: Option<ScopeSet>,
    /// The page of ours to go back to afterwards.
    next: Option<String>,
    ending: &'static str,
}

/// One scope, from asked to used.
struct Row {
    name: &'static str,
    risk: &'static str,
    requested: bool,
    granted: bool,
    used: bool,
}

/// A grant of this user; another's is as if there were none.
async fn find(visit: &SignedIn, id: &str) -> Result<Grant, Refused> {
    let id: GrantId = id.parse().map_err(|_| Problem::not_found())?;
    let found = visit.web.broker.find_grant(id, Some(visit.user.id)).await.map_err(Problem::unavailable)?;
    Ok(found.ok_or_else(Problem::not_found)?)
}

/// The page of a grant; a refusal that led here has named the `scope` that was missed, which is then ticked to be added.
async fn page_of(visit: &SignedIn, grant: &Grant, fields: &Fields) -> Result<GrantPage, Refused> {
    let wanted = ticked(fields.all("scope")).unwrap_or_default().minus(grant.scopes_granted);
    let filter =
        AppFilter { user: Some(visit.user.id), live: true, newest_first: true, limit: 500, ..AppFilter::default() };
    let mut apps = visit.web.broker.list_apps(&filter).await?;
    apps.retain(|record| record.app.reaches(grant));
    let known = grant.scopes_requested.union(grant.scopes_granted);
    let matrix = ORDER.into_iter().filter(|scope| known.contains(*scope)).map(|scope| Row {
        name: scope.as_str(),
        risk: scope.risk().word(),
        requested: grant.scopes_requested.contains(scope),
        granted: grant.scopes_granted.contains(scope),
        used: grant.scopes_used.contains(scope),
    });
    let mut missing = rows(wanted, ScopeSet::EMPTY);
    missing.retain(|row| row.name.parse::<Scope>().is_ok_and(|scope| !grant.scopes_granted.contains(scope)));
    let (advice, advice_tone) = advice(grant);
    Ok(GrantPage {
        frame: visit.frame(Section::Home),
        grant: GrantRow::of(grant, visit.now),
        advice,
        advice_tone,
        advice_icon: advice_tone.as_str(),
        source: source(grant),
        matrix: matrix.collect(),
        created: Moment::of(grant.created_at, visit.now),
        refreshed: Moment::maybe(grant.refreshed_at, visit.now),
        provider: grant.binding.api_origin.clone(),
        account: grant.provider_account.clone(),
        apps: apps.iter().map(|record| AppRow::of(&record.app, visit.now)).collect(),
        live: grant.status != GrantStatus::Disconnected,
        is_oauth: grant.kind == GrantKind::OAuth,
        refreshable: grant.kind == GrantKind::OAuth && grant.status.is_usable(),
        missing,
        scope: Field::empty("scope"),
        beyond: Some(wanted).filter(|wanted| !wanted.is_empty()),
        next: fields.next(),
        ending: ending(grant.kind),
    })
}

fn advice(grant: &Grant) -> (Option<String>, Tone) {
    let (words, tone) = match (grant.status, grant.reason) {
        (GrantStatus::NeedsConsent, Some(reason)) => (reason.advice(), Tone::Bad),
        (GrantStatus::NeedsConsent, None) => ("Renew the grant to go on.", Tone::Bad),
        (GrantStatus::Uncertain, _) => (
            "A refresh was sent to Teslascope and its answer is not known. Keyfob finds out by itself; if calls fail, renew the grant.",
            Tone::Wait,
        ),
        (GrantStatus::Disconnected, _) => (
            "This grant is disconnected: its tokens are wiped here. It stays on record, and can do nothing.",
            Tone::Info,
        ),
        (GrantStatus::Active | GrantStatus::Refreshing, _) => return (None, Tone::Info),
    };
    (Some(words.to_owned()), tone)
}

const fn source(grant: &Grant) -> &'static str {
    match grant.scopes_source {
        _ if grant.scopes_granted.holds_more() => {
            "Teslascope granted more than is listed here, so no app reaches its MCP server with this grant"
        }
        ScopesSource::Answer => "Granted as Teslascope's answer says",
        ScopesSource::Claim => "Granted as the token itself says",
        ScopesSource::Assumed => "Teslascope did not say what it granted: taken to be what was asked",
    }
}

const fn ending(kind: GrantKind) -> &'static str {
    match kind {
        GrantKind::OAuth => "Keyfob forgets the tokens, and asks Teslascope to revoke them if it offers that.",
        GrantKind::PersonalAccessToken | GrantKind::ApiKey => {
            "Keyfob forgets the token. It stays valid at Teslascope until you revoke it there."
        }
    }
}

/// `GET /grants/{id}`; a refusal that led here names the `scope` that was missed, and where to go back to.
pub(crate) async fn show(
    visit: SignedIn,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let grant = find(&visit, &id).await?;
    let page = page_of(&visit, &grant, &fields).await?;
    Ok(to_provider(&visit, page_with(StatusCode::OK, &page)).await)
}

/// `POST /grants/{id}/scopes`: asks for more, beside what the grant holds.
pub(crate) async fn widen(
    Path(id): Path<String>,
    Posted { visit, fields }: Posted<SignedIn>,
) -> Result<Response, Refused> {
    let grant = find(&visit, &id).await?;
    let (added, status) = match ticked(fields.all("scope")) {
        Ok(scopes) if scopes.minus(grant.scopes_granted).is_empty() => {
            (Err("Tick at least one scope to add.".to_owned()), StatusCode::UNPROCESSABLE_ENTITY)
        }
        scopes => (scopes, StatusCode::BAD_REQUEST),
    };
    match added {
        Ok(scopes) => ask_again(&visit, &grant, scopes.union(grant.scopes_granted), fields.next()).await,
        Err(words) => {
            let scope = Field::empty("scope").wrong(words);
            let page = GrantPage { scope, ..page_of(&visit, &grant, &fields).await? };
            Ok(to_provider(&visit, page_with(status, &page)).await)
        }
    }
}

/// `POST /grants/{id}/renew`: asks for the same once more; a pasted grant takes a newly pasted `token`.
pub(crate) async fn renew(
    Path(id): Path<String>,
    Posted { visit, fields }: Posted<SignedIn>,
) -> Result<Response, Refused> {
    let grant = find(&visit, &id).await?;
    if grant.kind != GrantKind::OAuth && grant.status != GrantStatus::Disconnected {
        let own = format!("/grants/{}", grant.id);
        let next = fields.next();
        let (notice, to) = match paste::token(&fields) {
            Err(words) => (Notice::new(Tone::Bad, words.to_owned()), with_next(own, next.as_deref())),
            Ok(token) => match visit.web.broker.renew_pasted_token(grant.id, visit.user.id, &token).await {
                Ok((grant, check)) => (paste::told(grant.label.as_str(), check), next.unwrap_or(own)),
                Err(PastedError::Storage(cause)) => return Err(Problem::unavailable(cause).into()),
                Err(refusal) => {
                    (Notice::new(Tone::Bad, format!("The old token stays. {refusal}")), with_next(own, next.as_deref()))
                }
            },
        };
        visit.tell(notice).await?;
        return Ok(visit.to(&to));
    }
    ask_again(&visit, &grant, grant.scopes_requested.union(grant.scopes_granted), fields.next()).await
}

async fn ask_again(
    visit: &SignedIn,
    grant: &Grant,
    scopes: ScopeSet,
    return_to: Option<String>,
) -> Result<Response, Refused> {
    let wish = AuthorizationWish {
        user: visit.user.id,
        browser: visit.browser(),
        scopes,
        label: String::new(),
        grant: Some(grant.id),
        return_to,
    };
    Ok(see_other(visit.web.broker.begin_authorization(wish).await?.as_str()))
}

/// `POST /grants/{id}/refresh`: fresh tokens now, by the one refresh that may run.
pub(crate) async fn refresh(
    Path(id): Path<String>,
    Posted { visit, .. }: Posted<SignedIn>,
) -> Result<Response, Refused> {
    let grant = find(&visit, &id).await?;
    let outcome = visit.web.broker.refresh_now(grant.id, Some(visit.user.id)).await.map_err(Problem::unavailable)?;
    let outcome = outcome.ok_or_else(Problem::not_found)?;
    let tone = match outcome {
        RefreshOutcome::Refreshed | RefreshOutcome::Adopted => Tone::Good,
        RefreshOutcome::Postponed { .. } | RefreshOutcome::Uncertain | RefreshOutcome::NotRefreshable => Tone::Wait,
        RefreshOutcome::NeedsConsent(_)
        | RefreshOutcome::Misconfigured(_)
        | RefreshOutcome::OtherProvider
        | RefreshOutcome::Unreadable
        | RefreshOutcome::Gone
        | RefreshOutcome::StorageUnavailable => Tone::Bad,
    };
    visit.tell(Notice::new(tone, outcome.advice())).await?;
    Ok(visit.to(&format!("/grants/{}", grant.id)))
}

/// `POST /grants/{id}/disconnect`
pub(crate) async fn disconnect(
    Path(id): Path<String>,
    Posted { visit, .. }: Posted<SignedIn>,
) -> Result<Response, Refused> {
    let grant = find(&visit, &id).await?;
    let ended = visit.web.broker.disconnect(grant.id, Some(visit.user.id)).await.map_err(Problem::unavailable)?;
    let ended = ended.ok_or_else(Problem::not_found)?;
    let text = format!("“{}” is disconnected. {}", ended.grant.label, ended.at_provider.advice());
    visit.tell(Notice::new(Tone::Good, text)).await?;
    Ok(visit.to("/"))
}
