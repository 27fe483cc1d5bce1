//! The `.well-known` documents, as laravel/mcp publishes them (RFC 9728, RFC 8414).

use super::answer::{Answer, Outcome};
use super::call::Call;
use super::config::Issuer;
use super::json::{Json, object};
use super::serve::Shared;

/// `GET /.well-known/{document}[/{path}]`
pub(super) fn document(shared: &Shared, call: &Call, document: &str, path: &[&str]) -> Outcome {
    let told = &shared.config.discovery;
    let origin = &call.origin;
    let path = path.join("/");
    let issuer = match &told.issuer {
        Issuer::Host => origin.clone(),
        Issuer::WithPath => format!("{origin}/{path}").trim_end_matches('/').to_owned(),
        Issuer::Foreign(name) => name.clone(),
    };
    let scopes = Json::list([Json::from("mcp:use")]);
    let body = match document {
        "oauth-protected-resource" if told.protected_resource => object! {
            "resource": format!("{origin}/{path}"),
            "authorization_servers": [issuer],
            "scopes_supported": scopes,
        },
        "oauth-authorization-server" if told.authorization_server => {
            let (authorize, token) = told
                .endpoints
                .clone()
                .unwrap_or_else(|| (format!("{origin}/oauth/authorize"), format!("{origin}/oauth/token")));
            let mut members = vec![
                ("issuer", Json::from(issuer)),
                ("authorization_endpoint", Json::from(authorize)),
                ("token_endpoint", Json::from(token)),
            ];
            if told.registration {
                members.push(("registration_endpoint", Json::from(format!("{origin}/oauth/register"))));
            }
            members.extend([
                ("response_types_supported", Json::from(["code"])),
                ("code_challenge_methods_supported", Json::from(["S256"])),
                ("scopes_supported", scopes),
                ("grant_types_supported", Json::from(["authorization_code", "refresh_token"])),
            ]);
            if shared.config.revoke_endpoint {
                members.push(("revocation_endpoint", Json::from(format!("{origin}/oauth/revoke"))));
            }
            Json::object_of(members)
        }
        _ => return Answer::unknown_route(call.expects_json(), call.path()).into(),
    };
    Answer::json(200, body).into()
}
