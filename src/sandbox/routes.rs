//! Which path is answered by whom.

use super::answer::{Answer, Outcome};
use super::call::Call;
use super::serve::Shared;
use super::{api, authorize, developers, discovery, mcp, pages, register, session, token};

/// Answers a request.
pub(super) async fn answer(shared: &Shared, call: &Call) -> Outcome {
    let segments = call.segments();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let method = if call.method == http::Method::HEAD { "GET" } else { call.method.as_str() };
    match (method, path.as_slice()) {
        (_, ["api", rest @ ..]) => api::answer(shared, call, rest).await,
        (_, ["mcp", ..]) => mcp::answer(shared, call).await,
        ("POST", ["oauth", "token"]) => token::token(shared, call).await,
        ("POST", ["oauth", "revoke"]) if shared.config.revoke_endpoint => token::revoke(shared, call).await,
        ("POST", ["oauth", "register"]) if shared.config.discovery.registration => register::register(shared, call),
        ("GET", ["oauth", "authorize"]) => authorize::ask(shared, call),
        ("POST", ["oauth", "authorize"]) => authorize::decide(shared, call),
        ("GET", ["login"]) => session::login_page(shared, call),
        ("POST", ["login"]) => session::login(shared, call),
        ("POST", ["logout"]) => session::logout(shared, call),
        ("GET", [""]) => pages::home(shared).into(),
        ("GET", ["sandbox.css"]) => pages::style().into(),
        ("GET", ["render-vehicle", id, _]) => match pages::picture(id) {
            Some(picture) => picture.into(),
            None => Answer::unknown_route(call.expects_json(), call.path()).into(),
        },
        ("GET", ["developers", "applications"]) => developers::page(shared, call),
        ("POST", ["developers", "applications", what]) => developers::change(shared, call, what),
        ("GET", [".well-known", document, rest @ ..]) => discovery::document(shared, call, document, rest),
        (_, known) => match allowed(known) {
            Some(allow) => Answer::wrong_method(call.expects_json(), method, call.path(), allow).into(),
            None => Answer::unknown_route(call.expects_json(), call.path()).into(),
        },
    }
}

/// The methods of a path outside of API and MCP.
fn allowed(path: &[&str]) -> Option<&'static str> {
    match path {
        ["oauth", "token"] | ["logout"] | ["developers", "applications", _] => Some("POST"),
        ["oauth", "authorize"] | ["login"] => Some("GET, HEAD, POST"),
        ["" | "sandbox.css"] | ["developers", "applications"] => Some("GET, HEAD"),
        _ => None,
    }
}
