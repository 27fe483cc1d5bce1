//! `/api/v1/grants`.

use std::time::Duration;

use axum::Json;
use axum::extract::RawQuery;
use axum::response::Response;
use http::{HeaderValue, StatusCode};
use utoipa::{IntoParams, ToSchema};

use super::answer::made;
use super::body::Members;
use super::cursor::{Page, Wanted};
use super::given::{Given, parsed, scopes, secret, text, word};
use super::key::Admin;
use super::problem::{Kind, Problem};
use super::thing::Thing;
use crate::broker::members::GrantMembers;
use crate::broker::{AccountError, Broker, GrantsAfter, PastedCheck, PastedError, PastedWish, RefreshOutcome};
use crate::domain::grant::{Grant, GrantKind, GrantStatus};
use crate::domain::id::Id;
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::secret::{AccessToken, Secret};
use crate::domain::user::{Label, User};

/// The kinds that can be pasted.
const PASTED: &[GrantKind] = &[GrantKind::PersonalAccessToken, GrantKind::ApiKey];

/// When it is worth asking again for what is being found out.
const SOON: Duration = Duration::from_secs(5);

/// The user that a member names, or the fault that there is none.
pub(super) async fn owner(given: &mut Given, broker: &Broker, name: Option<String>) -> Result<Option<User>, Problem> {
    let Some(name) = name else { return Ok(None) };
    match broker.find_user(&name).await {
        Ok(user) => Ok(Some(user)),
        Err(AccountError::NotFound) => {
            given.fault("user", "is no user of this Keyfob");
            Ok(None)
        }
        Err(other) => Err(other.into()),
    }
}

/// Which grants are listed.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents what is read")]
pub(super) struct Filter {
    /// Only those of this user, by name.
    user: Option<String>,
    /// Only those that were granted this scope.
    scope: Option<Scope>,
    /// Only those with this status.
    status: Option<GrantStatus>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// At most so many items.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
}

/// List the grants, in the order of their making
#[utoipa::path(get, path = "/api/v1/grants", operation_id = "list_grants", tag = "grants", params(Filter),
    responses((status = 200, description = "A page of grants, disconnected ones too", body = Page<GrantMembers>)))]
pub(super) async fn list(Admin(broker): Admin, RawQuery(query): RawQuery) -> Result<Json<Page<GrantMembers>>, Problem> {
    let mut given = Given::of_query(query.as_deref());
    let user = given.maybe("user", text);
    let scope = given.maybe("scope", parsed::<Scope>);
    let status = given.maybe("status", word(GrantStatus::ALL, GrantStatus::as_str));
    let filters = [user.as_deref(), scope.map(Scope::as_str), status.map(GrantStatus::as_str)];
    let [user_words, scope_words, status_words] = filters.map(Option::unwrap_or_default);
    let wanted = Wanted::<16>::read(&mut given, &["grants", user_words, scope_words, status_words]);
    let wanted = given.finish(Some(wanted))?;
    let user = match &user {
        None => None,
        Some(name) => match broker.find_user(name).await {
            Ok(user) => Some(user.id),
            Err(AccountError::NotFound) => return Ok(Json(Page::empty())),
            Err(other) => return Err(other.into()),
        },
    };
    let after = wanted.after.map(Id::from_bytes);
    let found = broker
        .list_grants_after(&GrantsAfter {
            user,
            scope,
            status,
            after,
            limit: wanted.read_ahead(),
            ..GrantsAfter::default()
        })
        .await?;
    Ok(Json(wanted.page(found, |(grant, _)| *grant.id.as_bytes(), |(grant, user)| GrantMembers::new(&grant, &user))))
}

/// Show a grant
#[utoipa::path(get, path = "/api/v1/grants/{id}", operation_id = "show_grant", tag = "grants",
    params(("id" = String, Path, description = "The grant's id", format = "uuid")),
    responses((status = 200, description = "The grant", body = GrantMembers)))]
pub(super) async fn show(Admin(broker): Admin, Thing(id): Thing<Grant>) -> Result<Json<GrantMembers>, Problem> {
    let grant = broker.find_grant(id, None).await?.ok_or_else(none)?;
    let user_name = broker.user_name(grant.user).await?;
    Ok(Json(GrantMembers::new(&grant, &user_name)))
}

fn none() -> Problem {
    Problem::not_found("There is no such grant.")
}

/// A token that its user made at the provider.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PastedToken {
    /// Whose grant it becomes: the name of a user.
    #[schema(value_type = String, example = "ada")]
    user: User,
    /// What it is.
    #[schema(value_type = PastedKind)]
    kind: GrantKind,
    /// The scopes that it was made with; a legacy API key holds `vehicles` and `controls` at most.
    #[schema(value_type = Vec<Scope>, min_items = 1)]
    scopes: ScopeSet,
    /// What to call the grant; made of its scopes without it.
    #[schema(value_type = Option<String>, max_length = 80)]
    label: String,
    /// The token or key itself. It is checked against the provider at once, sealed, and never shown again.
    #[schema(value_type = String, format = "password", min_length = 1)]
    secret: Secret<AccessToken>,
}

/// What can be pasted.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "documents two of the kinds")]
pub(super) enum PastedKind {
    /// A bearer that the user made at the provider.
    PersonalAccessToken,
    /// The provider's old key.
    ApiKey,
}

impl PastedToken {
    async fn read(mut given: Given, broker: &Broker) -> Result<PastedWish, Problem> {
        let user = given.must("user", text);
        let kind = given.must("kind", word(PASTED, GrantKind::as_str));
        let scopes = given.must("scopes", scopes);
        let label = given.maybe("label", |value| match text(value)? {
            empty if empty.trim().is_empty() => Ok(String::new()),
            label => label.parse::<Label>().map(|label| label.to_string()).map_err(|why| why.to_string()),
        });
        let secret = given.must("secret", secret::<AccessToken>);
        if kind == Some(GrantKind::ApiKey) && scopes.is_some_and(|scopes| !scopes.is_subset_of(ScopeSet::API_KEY)) {
            given.fault("scopes", "can be vehicles and controls at most for an api_key");
        }
        let user = owner(&mut given, broker, user).await?;
        let label = label.unwrap_or_default();
        let new =
            given.finish((|| Some(Self { user: user?, kind: kind?, scopes: scopes?, label, secret: secret? }))())?;
        Ok(PastedWish { user: new.user.id, kind: new.kind, scopes: new.scopes, label: new.label, secret: new.secret })
    }
}

/// Keep a token that its user made at the provider, as a grant
#[utoipa::path(post, path = "/api/v1/grants", operation_id = "add_token", tag = "grants", request_body = PastedToken,
    responses((status = 201, description = "The grant that was made", body = GrantMembers, headers(
        ("Keyfob-Token-Check" = String, description = "`accepted` when the provider took the token, `not_checked` when it gave no answer that tells")))))]
pub(super) async fn add_token(Admin(broker): Admin, Members(given): Members) -> Result<Response, Problem> {
    let wish = PastedToken::read(given, &broker).await?;
    let (grant, check) = broker.add_pasted_token(wish).await?;
    let user_name = broker.user_name(grant.user).await?;
    let mut response = made(&broker, &format!("grants/{}", grant.id), GrantMembers::new(&grant, &user_name));
    let check = if check == PastedCheck::Accepted { "accepted" } else { "not_checked" };
    response.headers_mut().insert("keyfob-token-check", HeaderValue::from_static(check));
    Ok(response)
}

impl From<PastedError> for Problem {
    fn from(error: PastedError) -> Self {
        match error {
            PastedError::NoScope => Self::fault("scopes", "must name at least one scope"),
            PastedError::Empty => Self::fault("secret", "must not be empty"),
            PastedError::BadKind => Self::fault("kind", "must be one of personal_access_token, api_key"),
            PastedError::TooMuchForApiKey => {
                Self::fault("scopes", "can be vehicles and controls at most for an api_key")
            }
            PastedError::BadLabel(why) => Self::fault("label", why),
            PastedError::Refused => Self::fault(
                "secret",
                "is not accepted by Teslascope: check that it is whole, and that it is of this kind",
            ),
            PastedError::MissingScope(scope) => {
                Self::fault("scopes", format_args!("hold {scope}, for which Teslascope does not accept this token"))
            }
            PastedError::UntoldAccount => {
                Self::fault("secret", "does not say to which account at Teslascope it belongs")
            }
            PastedError::NoSuchGrant => Self::not_found("There is no such grant."),
            PastedError::OtherAccount => Self::fault("secret", "belongs to another account at Teslascope"),
            PastedError::Storage(cause) => cause.into(),
        }
    }
}

/// Refresh a grant's tokens now
#[utoipa::path(post, path = "/api/v1/grants/{id}/refresh", operation_id = "refresh_grant", tag = "grants",
    params(("id" = String, Path, description = "The grant's id", format = "uuid")),
    responses((status = 200, description = "The grant with its new tokens in", body = GrantMembers),
        (status = 409, description = "It has nothing to refresh with, its user must act, or our registration at Teslascope is at fault")))]
pub(super) async fn refresh(Admin(broker): Admin, Thing(id): Thing<Grant>) -> Result<Json<GrantMembers>, Problem> {
    match broker.refresh_now(id, None).await?.ok_or_else(none)? {
        RefreshOutcome::Refreshed | RefreshOutcome::Adopted => show(Admin(broker), Thing(id)).await,
        outcome => Err(outcome.into()),
    }
}

impl From<RefreshOutcome> for Problem {
    fn from(outcome: RefreshOutcome) -> Self {
        let kind = match outcome {
            RefreshOutcome::Refreshed | RefreshOutcome::Adopted => {
                return Self::internal("a refresh that went well was taken for a problem");
            }
            RefreshOutcome::NeedsConsent(_) | RefreshOutcome::OtherProvider | RefreshOutcome::Unreadable => {
                Kind::NeedsConsent
            }
            RefreshOutcome::NotRefreshable | RefreshOutcome::Gone => Kind::NotRefreshable,
            RefreshOutcome::Misconfigured(_) => Kind::Misconfigured,
            RefreshOutcome::Postponed { .. } | RefreshOutcome::Uncertain => Kind::RefreshUnavailable,
            RefreshOutcome::StorageUnavailable => Kind::StorageUnavailable,
        };
        let problem = Self::new(kind, outcome.advice());
        match outcome {
            RefreshOutcome::Postponed { retry_after } => problem.retry_after(retry_after),
            RefreshOutcome::Uncertain | RefreshOutcome::StorageUnavailable => problem.retry_after(SOON),
            _ => problem,
        }
    }
}

/// Disconnect a grant: its tokens are forgotten here and revoked at the provider where that is possible
#[utoipa::path(delete, path = "/api/v1/grants/{id}", operation_id = "disconnect_grant", tag = "grants",
    params(("id" = String, Path, description = "The grant's id", format = "uuid")),
    responses((status = 204, description = "The grant is ended", headers(
        ("Keyfob-At-Provider" = String, description = "What became of the tokens at the provider: `revoked`, `lives_on`, `unconfirmed`, `by_hand`")))))]
pub(super) async fn disconnect(Admin(broker): Admin, Thing(id): Thing<Grant>) -> Result<Response, Problem> {
    use crate::broker::AtProvider;
    use axum::response::IntoResponse as _;
    let done = broker.disconnect(id, None).await?.ok_or_else(none)?;
    let word = match done.at_provider {
        AtProvider::Revoked => "revoked",
        AtProvider::LivesOn { .. } => "lives_on",
        AtProvider::Unconfirmed => "unconfirmed",
        AtProvider::ByHand => "by_hand",
    };
    Ok((StatusCode::NO_CONTENT, [("keyfob-at-provider", word)]).into_response())
}
