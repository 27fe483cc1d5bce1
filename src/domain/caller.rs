//! Whoever showed a valid app key, and the proof that they may make this call.

use std::sync::Arc;

use super::app::App;
use super::route::{Need, Route};
use super::scope::Scope;

/// An app that showed a valid key.
#[derive(Clone, Debug)]
pub struct Caller(Arc<App>);

impl Caller {
    /// The key was found and is valid now; only the directory of apps says so.
    #[must_use]
    pub(crate) const fn of(app: Arc<App>) -> Self {
        Self(app)
    }

    /// The app that called.
    #[must_use]
    pub const fn app(&self) -> &Arc<App> {
        &self.0
    }

    /// The proof that this app may take this route.
    ///
    /// # Errors
    /// The scope that the app lacks.
    pub fn permit(self, route: Route) -> Result<Permit, Scope> {
        match route.need {
            Need::Scope(scope) if !self.0.scopes.contains(scope) => Err(scope),
            Need::Scope(_) | Need::Public => Ok(Permit { app: self.0, route }),
        }
    }
}

/// The proof that a call may go on: only [`Caller::permit`] makes one.
#[derive(Clone, Debug)]
pub struct Permit {
    app: Arc<App>,
    route: Route,
}

impl Permit {
    /// Who calls.
    #[must_use]
    pub const fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// What is called.
    #[must_use]
    pub const fn route(&self) -> &Route {
        &self.route
    }
}
