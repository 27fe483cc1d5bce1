//! The id in a path. What is no id names nothing, so it is 404 like an id of nothing.

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use http::request::Parts;

use super::problem::Problem;
use crate::domain::id::Id;

/// The thing that a path names.
pub(super) struct Thing<K>(pub(super) Id<K>);

impl<S: Send + Sync, K> FromRequestParts<S> for Thing<K> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // The route around the whole API has a parameter of its own.
        let path: Result<Path<Vec<(String, String)>>, PathRejection> = Path::from_request_parts(parts, state).await;
        let id = path.ok().and_then(|Path(all)| all.iter().find(|(name, _)| name == "id")?.1.parse().ok());
        id.map(Self).ok_or_else(|| Problem::not_found("This is no id. The listings name the ids."))
    }
}
