//! The style sheet, the script and the icon, out of the binary; each address carries its content's digest.

use std::io::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};

use super::problem::Problem;

struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: Vec<u8>,
    /// The same, compressed. Pages are not: what a page holds and what a visitor can put into it must not be squeezed
    /// together, or its length tells of its form token (BREACH).
    gzip: Vec<u8>,
}

impl Asset {
    fn of(name: &'static str, kind: &'static str, text: &str) -> Self {
        let bytes = lean(text);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        // Writing to memory does not fail; if it did, nobody is told of this form.
        let gzip = gzip.write_all(&bytes).and_then(|()| gzip.finish()).unwrap_or_default();
        Self { name, kind, bytes, gzip }
    }
}

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    [
        Asset::of("keyfob.css", "text/css; charset=utf-8", include_str!("../../static/keyfob.css")),
        Asset::of("keyfob.js", "text/javascript; charset=utf-8", include_str!("../../static/keyfob.js")),
        Asset::of("icon.svg", "image/svg+xml", include_str!("../../static/icon.svg")),
    ]
});

/// A text without its indentation, its empty lines, and the lines that are comments. None of our files has a text that goes
/// over a line's end.
fn lean(text: &str) -> Vec<u8> {
    let comment = |line: &str| line.starts_with("//") || (line.starts_with("/*") && line.ends_with("*/"));
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !comment(line));
    lines.flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()
}

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let digest = ASSETS.iter().fold(Sha256::new(), |hash, asset| hash.chain_update(&asset.bytes)).finalize();
    URL_SAFE_NO_PAD.encode(&digest[..9])
});

/// The path of a file, with the version that lets it be cached for ever.
pub(crate) fn path(base: &str, name: &str) -> String {
    format!("{base}/static/{}/{name}", *VERSION)
}

/// `GET /static/{version}/{name}`. An old page's version gets today's file, uncached.
pub(crate) async fn show(
    Path((version, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asset = ASSETS.iter().find(|asset| asset.name == name).ok_or_else(Problem::not_found)?;
    let cache = if version == *VERSION { "public, max-age=31536000, immutable" } else { "no-store" };
    let packed = !asset.gzip.is_empty() && takes_gzip(&headers);
    let bytes = if packed { &asset.gzip } else { &asset.bytes };
    let head = [(CONTENT_TYPE, asset.kind), (CACHE_CONTROL, cache), (VARY, "accept-encoding")];
    let mut response = (head, bytes.as_slice()).into_response();
    if packed {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

/// Whether a browser takes gzip (RFC 9110 12.5.3); a weight of nothing says that it does not.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let said = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    said.flat_map(|value| value.split(',')).any(|one| {
        let (coding, weight) = one.split_once(';').unwrap_or((one, ""));
        let none = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32));
        coding.trim().eq_ignore_ascii_case("gzip") && !none
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_served_without_what_only_their_authors_read() {
        assert_eq!(
            lean("/* a */\n.b {\n  c: d; /* e */\n}\n\n  // f\n  g('//h');\n"),
            b".b {\nc: d; /* e */\n}\ng('//h');\n"
        );
        for asset in ASSETS.iter() {
            assert!(!asset.gzip.is_empty() && asset.gzip.len() < asset.bytes.len(), "{}", asset.name);
        }
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        let takes = |said: &str| takes_gzip(&HeaderMap::from_iter([(ACCEPT_ENCODING, said.parse().unwrap())]));
        for yes in ["gzip", "br, gzip;q=0.5", "GZIP , br"] {
            assert!(takes(yes), "{yes}");
        }
        for no in ["", "br", "gzip;q=0", "gzip; q=0.0", "x-gzipped"] {
            assert!(!takes(no), "{no}");
        }
    }
}
