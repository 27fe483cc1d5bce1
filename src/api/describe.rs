//! The API's description of itself (OpenAPI 3.1), generated from the handlers; what is true of every endpoint is added here.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, ComponentsBuilder, Content, Header, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required,
    Response as Described, ResponseBuilder, SecurityRequirement, ServerBuilder,
};
use utoipa::{PartialSchema as _, ToSchema as _};

use super::Api;
use super::problem::{Kind, ProblemMembers};

/// Where the description is.
pub(super) const PATH: &str = "/api/v1/openapi.json";

const KEY: &str = "admin_key";
const ABOUT: &str = "Everything that an administrator of this Keyfob can do, for programs. Lists come in pages: send a page's \
`next_cursor` as `cursor` to get the next. Times are RFC 3339 in UTC, absent values are null. Every answer carries \
`Keyfob-Request-Id`, by which it is found in Keyfob's log.";

/// The description without its endpoints.
pub(super) fn frame(public_url: &str) -> OpenApi {
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("kfa_")
        .description(Some("An admin key. `keyfob admin-key add NAME` makes one."))
        .build();
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Keyfob management API")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(ABOUT))
                .build(),
        )
        .servers(Some([ServerBuilder::new().url(public_url).build()]))
        .components(Some(ComponentsBuilder::new().security_scheme(KEY, SecurityScheme::Http(key)).build()))
        .security(Some([SecurityRequirement::new::<_, [&str; 0], &str>(KEY, [])]))
        .build()
}

/// Adds what every endpoint can answer, and writes it down.
pub(super) fn finish(mut description: OpenApi) -> Bytes {
    let components = description.components.get_or_insert_with(Components::default);
    let mut schemas = Vec::new();
    ProblemMembers::schemas(&mut schemas);
    schemas.push((ProblemMembers::name().into_owned(), ProblemMembers::schema()));
    components.schemas.extend(schemas);
    if let Some(body) = roll_body(&mut description) {
        body.required = Some(Required::False);
    }
    for item in description.paths.paths.values_mut() {
        for operation in operations(item) {
            add_answers(operation);
            allow_empty_values(operation);
        }
    }
    description.to_json().map(Bytes::from).unwrap_or_default()
}

/// The one body that may be left out.
fn roll_body(description: &mut OpenApi) -> Option<&mut RequestBody> {
    match description.paths.paths.get_mut("/api/v1/apps/{id}/roll")?.post.as_mut()?.request_body.as_mut()? {
        RefOr::T(body) => Some(body),
        RefOr::Ref(_) => None,
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten()
}

/// A parameter of a query with an empty value counts as not given.
fn allow_empty_values(operation: &mut Operation) {
    let empty = ObjectBuilder::new().schema_type(Type::String).max_length(Some(0)).build();
    for given in operation.parameters.iter_mut().flatten() {
        let RefOr::T(given) = given else { continue };
        if given.parameter_in == ParameterIn::Query
            && let Some(schema) = given.schema.take()
        {
            given.schema = Some(AnyOfBuilder::new().item(schema).item(empty.clone()).into());
        }
    }
}

fn add_answers(operation: &mut Operation) {
    let has = |place: &ParameterIn| {
        operation
            .parameters
            .iter()
            .flatten()
            .any(|given| matches!(given, RefOr::T(given) if given.parameter_in == *place))
    };
    let mut more = vec![
        (Kind::Internal, "A fault of the program"),
        (Kind::StorageUnavailable, "Nothing can be read or written just now"),
    ];
    // The description itself is for everyone.
    if operation.security.is_none() {
        more.push((Kind::MissingKey, "No admin key came, or none that is valid"));
    }
    if has(&ParameterIn::Path) {
        more.push((Kind::NotFound, "There is no such thing"));
    }
    if has(&ParameterIn::Query) || operation.request_body.is_some() {
        more.push((Kind::Invalid, "`errors` names every bad member or parameter"));
    }
    if operation.request_body.is_some() {
        more.extend([
            (Kind::BadBody, "The body is no JSON object"),
            (Kind::TooSlow, "The body did not come in time"),
            (Kind::TooLarge, "The body is too large"),
            (Kind::WrongType, "The body is not declared as JSON"),
        ]);
    }
    for (kind, words) in more {
        let answer = problem(words);
        operation.responses.responses.insert(kind.status().as_str().to_owned(), RefOr::T(answer));
    }
    let foreign = ResponseBuilder::new()
        .description("The host name is not one of this Keyfob's")
        .content("text/plain", Content::new(Some(ObjectBuilder::new().schema_type(Type::String))));
    operation.responses.responses.insert("421".to_owned(), RefOr::T(foreign.build()));
    for (status, answer) in &mut operation.responses.responses {
        let RefOr::T(answer) = answer else { continue };
        if status == "409" {
            answer.content = problem("").content;
        }
        if status != "421" {
            answer.headers.insert("Keyfob-Request-Id".to_owned(), text_header("Finds the request in Keyfob's log"));
        }
        for (of, name, words) in [
            ("401", "WWW-Authenticate", "How to show who calls (RFC 6750)"),
            ("503", "Retry-After", "When to try again, in seconds"),
        ] {
            if status == of {
                answer.headers.insert(name.to_owned(), text_header(words));
            }
        }
    }
}

fn problem(words: &str) -> Described {
    let content = Content::new(Some(Ref::from_schema_name(ProblemMembers::name().into_owned())));
    ResponseBuilder::new().description(words).content("application/problem+json", content).build()
}

fn text_header(words: &str) -> RefOr<Header> {
    let mut header = Header::new(ObjectBuilder::new().schema_type(Type::String));
    header.description = Some(words.to_owned());
    RefOr::T(header)
}

/// Show this description; no key is needed
#[utoipa::path(get, path = "/api/v1/openapi.json", operation_id = "show_description", tag = "description", security(()),
    responses((status = 200, description = "The description (OpenAPI 3.1)", body = serde_json::Value)))]
pub(super) async fn show(State(api): State<Api>) -> Response {
    ([(CONTENT_TYPE, "application/json")], api.description).into_response()
}
