//! The style sheet, the script and the icon, out of the binary; each address carries its content's digest.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use sha2::{Digest, Sha256};

use super::problem::Problem;

struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

static ASSETS: [Asset; 3] = [
    Asset { name: "keyfob.css", kind: "text/css; charset=utf-8", bytes: include_bytes!("../../static/keyfob.css") },
    Asset {
        name: "keyfob.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../static/keyfob.js"),
    },
    Asset { name: "icon.svg", kind: "image/svg+xml", bytes: include_bytes!("../../static/icon.svg") },
];

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let digest = ASSETS.iter().fold(Sha256::new(), |hash, asset| hash.chain_update(asset.bytes)).finalize();
    URL_SAFE_NO_PAD.encode(&digest[..9])
});

/// The path of a file, with the version that lets it be cached for ever.
pub(crate) fn path(base: &str, name: &str) -> String {
    format!("{base}/static/{}/{name}", *VERSION)
}

/// `GET /static/{version}/{name}`. An old page's version gets today's file, uncached.
pub(crate) async fn show(Path((version, name)): Path<(String, String)>) -> Result<Response, Problem> {
    let asset = ASSETS.iter().find(|asset| asset.name == name).ok_or_else(Problem::not_found)?;
    let cache = if version == *VERSION { "public, max-age=31536000, immutable" } else { "no-store" };
    Ok(([(CONTENT_TYPE, asset.kind), (CACHE_CONTROL, cache)], asset.bytes).into_response())
}
