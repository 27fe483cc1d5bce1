//! Pages: server-made, complete without a script. A handler parses, asks the broker, answers.

mod account;
mod activity;
mod admin;
mod app;
mod apps;
mod assets;
mod calls;
mod change;
mod chart;
mod connect;
mod csrf;
mod form;
mod frame;
mod grant;
mod guard;
mod home;
mod invitation;
mod live;
mod moment;
mod paste;
mod problem;
mod rows;
mod scopes;
mod session;
mod setup;
mod sign_in;
mod site;
mod snippets;
mod stream;
mod trial;
mod visit;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

pub use site::Site;

use crate::ambient::{Clock, Entropy};
use crate::broker::{Broker, Door};
use crate::config::{InEffect, Network};
use crate::domain::route::RouteTable;
use problem::Problem;
use session::Sessions;
use stream::Streams;

/// What every handler can reach. Cheap to clone.
#[derive(Clone)]
pub struct Web {
    pub(crate) broker: Broker,
    pub(crate) site: Site,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) settings: Arc<WebSettings>,
    pub(crate) streams: Streams,
    changes: change::Places,
}

/// What the pages need to know of the settings beside what the broker knows.
#[derive(Clone, Debug, Default)]
pub struct WebSettings {
    /// From where `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Each setting with its source, for the administrators.
    pub in_effect: Vec<InEffect>,
    /// The paths that apps may call.
    pub routes: Arc<RouteTable>,
    /// Where this process's own proxy listens; none where it has none, and then nothing can be tried from a page.
    pub proxy: Option<Door>,
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web").field("site", &self.site).finish_non_exhaustive()
    }
}

impl Web {
    /// The pages of a broker, at its public URL.
    #[must_use]
    pub fn new(broker: Broker, settings: WebSettings) -> Self {
        Self {
            site: Site::new(&broker.settings.public_url),
            clock: broker.clock.clone(),
            entropy: broker.entropy.clone(),
            settings: Arc::new(settings),
            streams: Streams::default(),
            changes: change::Places::new(),
            broker,
        }
    }

    /// Waits for the changes whose clients left before they had ended; false when that took too long.
    pub async fn end_changes(&self, patience: Duration) -> bool {
        self.changes.are_free(patience).await
    }

    /// The web listener's whole service: `programs` (the management API) beside the pages, behind the same host check and
    /// headers, under the same prefix.
    pub fn router(self, programs: Router) -> Router {
        let sessions = Sessions::new(self.broker.clone(), self.clock.clone(), self.entropy.clone());
        let pages = pages()
            .layer(sessions.layer(&self.site))
            .layer(from_fn_with_state(self.clone(), visit::removal))
            .layer(from_fn_with_state(self.clone(), visit::visitor))
            .merge(Router::new().route("/static/{version}/{name}", get(assets::show)))
            .method_not_allowed_fallback(|| async { Problem::wrong_method() })
            .fallback(|| async { Problem::not_found() })
            .with_state(self.clone());
        // The host and the prefix are judged before anything is routed, so that they wrap the routes from outside.
        Router::new()
            .fallback_service(pages.merge(programs))
            .layer(from_fn_with_state(self.changes.clone(), change::run))
            .layer(from_fn_with_state(self.clone(), guard::host))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(from_fn_with_state(self.clone(), problem::dress))
            .layer(from_fn_with_state(self, guard::headers))
    }
}

fn pages() -> Router<Web> {
    Router::new()
        .route("/", get(home::show))
        .route("/setup", get(setup::show).post(setup::finish))
        .route("/sign-in", get(sign_in::show).post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/invitation", get(invitation::show).post(invitation::accept))
        .route("/confirm", get(sign_in::confirm).post(sign_in::confirmed))
        .route("/account", get(account::show))
        .route("/account/password", post(account::change_password))
        .route("/account/sessions", post(account::end_others))
        .route("/connect", get(connect::show).post(connect::begin))
        .route("/connect/token", get(paste::show).post(paste::save))
        .route("/oauth/callback", get(connect::callback))
        .route("/grants/{id}", get(grant::show))
        .route("/grants/{id}/scopes", post(grant::widen))
        .route("/grants/{id}/renew", post(grant::renew))
        .route("/grants/{id}/refresh", post(grant::refresh))
        .route("/grants/{id}/disconnect", post(grant::disconnect))
        .route("/apps", get(apps::show))
        .route("/apps/new", get(apps::new).post(apps::make))
        .route("/apps/{id}", get(app::show))
        .route("/apps/{id}/roll", post(app::roll))
        .route("/apps/{id}/allow", post(app::allow))
        .route("/apps/{id}/try", post(app::try_it))
        .route("/apps/{id}/revoke", post(app::revoke))
        .route("/apps/{id}/scopes", post(app::drop_unused))
        .route("/live", get(live::show))
        .route("/live/events", get(live::own_events))
        .route("/admin/grants", get(admin::grants::show))
        .route("/admin/grants/revoke", post(admin::grants::revoke))
        .route("/admin/grants.csv", get(admin::export::csv))
        .route("/admin/grants.json", get(admin::export::json))
        .route("/admin/users", get(admin::users::show).post(admin::users::add))
        .route("/admin/users/{id}", post(admin::users::change))
        .route("/admin/apps", get(admin::apps::show))
        .route("/admin/apps/{id}/revoke", post(admin::apps::revoke))
        .route("/admin/audit", get(admin::audit::show))
        .route("/admin/review", get(admin::review::show).post(admin::review::sign_off))
        .route("/admin/live", get(live::show_all))
        .route("/admin/live/events", get(live::all_events))
        .route("/admin/keys", get(admin::keys::show).post(admin::keys::make))
        .route("/admin/rotation/events", get(admin::keys::events))
        .route("/admin/settings", get(admin::settings::show))
        .route("/admin/keys/{id}/revoke", post(admin::keys::revoke))
}

fn panicked(_payload: Box<dyn std::any::Any + Send>) -> Response {
    // The payload may hold anything; the panic hook has logged where it was.
    Problem::internal("a handler panicked").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::extract::Request;
    use tower::ServiceExt as _;

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_and_so_is_the_next_request() {
        async fn fails() -> &'static str {
            panic!("CANARY")
        }
        let router = Router::new()
            .route("/fails", get(fails))
            .route("/works", get(async || "works"))
            .layer(CatchPanicLayer::custom(panicked));
        for (path, status) in [("/fails", 500), ("/works", 200), ("/fails", 500), ("/works", 200)] {
            let answer = router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{path}");
            let body = axum::body::to_bytes(answer.into_body(), 1_000).await.unwrap();
            assert!(!String::from_utf8_lossy(&body).contains("CANARY"));
        }
    }
}
