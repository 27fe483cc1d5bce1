//! What every request and every answer of the web listener goes through: the host, the prefix, the security headers.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri};

use super::Web;
use super::problem::Problem;
use super::site::HostIs;

/// Put on a response: an origin that the page's forms may be redirected to (CSP `form-action`, which
/// Chromium applies to the redirect after a form too).
#[derive(Clone, Debug)]
pub(crate) struct FormsGoTo(pub(crate) String);

const PERMISSIONS: &str = "accelerometer=(), autoplay=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), screen-wake-lock=(), serial=(), usb=(), xr-spatial-tracking=()";

fn policy(forms: Option<&FormsGoTo>) -> String {
    let more = forms.map(|FormsGoTo(origin)| format!(" {origin}")).unwrap_or_default();
    format!(
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'{more}; frame-ancestors 'none'; base-uri 'none'; object-src 'none'"
    )
}

/// Adds the security headers to every answer (SECURITY SE-26 to SE-28, SE-90).
pub(crate) async fn headers(State(web): State<Web>, request: Request<Body>, next: Next) -> Response {
    let mut response = next.run(request).await;
    let forms = response.extensions_mut().remove::<FormsGoTo>();
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::try_from(policy(forms.as_ref())) {
        headers.insert(CONTENT_SECURITY_POLICY, value);
    }
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), PERMISSIONS),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if web.site.secure() {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Answers only to one `Host` that is ours, sends pages asked for elsewhere to the public URL, and takes the prefix off.
pub(crate) async fn host(State(web): State<Web>, mut request: Request<Body>, next: Next) -> Response {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().unwrap_or(""),
        _ => "",
    };
    // The absolute form of a target carries a host of its own (RFC 9112 3.2.2): it must be the same.
    let same = request.uri().authority().is_none_or(|target| target.as_str().eq_ignore_ascii_case(host));
    let (is, path) = (if same { web.site.host(host) } else { HostIs::Foreign }, request.uri().path());
    let inside = inside(web.site.base(), request.uri());
    match is {
        HostIs::Canonical => {}
        // Programs need not know the public name.
        HostIs::Ours if path_is_for_programs(inside.as_ref().map_or(path, Uri::path)) => {}
        // Asked for at the public URL, but a reverse proxy has put another Host: sending the browser there would go on for ever.
        HostIs::Ours if came_by_the_public_name(&web, &request) => return misdirected(),
        HostIs::Ours if request.method() == Method::GET || request.method() == Method::HEAD => {
            let target = inside.as_ref().unwrap_or(request.uri());
            let rest = target.path_and_query().map_or("/", PathAndQuery::as_str);
            return see_other(&web.site.address(rest));
        }
        HostIs::Ours | HostIs::Foreign => return misdirected(),
    }
    match inside {
        Some(uri) => *request.uri_mut() = uri,
        None if path == "/" => return see_other(&web.site.address("/")),
        None => return Problem::not_found().into_response(),
    }
    next.run(request).await
}

fn came_by_the_public_name(web: &Web, request: &Request<Body>) -> bool {
    let said = request.headers().get("x-forwarded-host").and_then(|host| host.to_str().ok());
    said.is_some_and(|host| web.site.host(host.trim()) == HostIs::Canonical)
}

/// The management API, which has no cookie and no redirect.
fn path_is_for_programs(path: &str) -> bool {
    path.starts_with("/api/")
}

/// The address without the prefix; nothing when it is not under the prefix.
fn inside(base: &str, uri: &Uri) -> Option<Uri> {
    let whole = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let rest = whole.strip_prefix(base)?;
    if rest.starts_with('/') {
        rest.parse().ok()
    } else if rest.is_empty() || rest.starts_with('?') {
        format!("/{rest}").parse().ok()
    } else {
        None
    }
}

fn misdirected() -> Response {
    let text = "This name is not one of this Keyfob's. Open it by its public URL, or set KEYFOB_PUBLIC_URL to the name you use; a reverse proxy must pass the Host header on.\n";
    (StatusCode::MISDIRECTED_REQUEST, [(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// 303 to an address of ours.
pub(crate) fn see_other(address: &str) -> Response {
    match HeaderValue::try_from(address) {
        Ok(to) => (StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response(),
        Err(_) => Problem::internal("an address of ours is no header value").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_taken_off_and_only_the_prefix() {
        let of = |base: &str, uri: &str| inside(base, &uri.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(of("", "/apps?x=1").as_deref(), Some("/apps?x=1"));
        assert_eq!(of("/keyfob", "/keyfob").as_deref(), Some("/"));
        assert_eq!(of("/keyfob", "/keyfob?x").as_deref(), Some("/?x"));
        assert_eq!(of("/keyfob", "/keyfob/apps").as_deref(), Some("/apps"));
        assert_eq!(of("/keyfob", "/keyfobs/apps"), None);
        assert_eq!(of("/keyfob", "/apps"), None);
    }

    #[test]
    fn only_a_page_that_posts_to_the_provider_names_it() {
        assert!(policy(None).contains("form-action 'self'; "));
        let forms = FormsGoTo("https://teslascope.com".to_owned());
        assert!(policy(Some(&forms)).contains("form-action 'self' https://teslascope.com; "));
        assert!(!policy(Some(&forms)).contains("unsafe"));
    }
}
