//! What a form sent: its fields in order, and a field as the page shows it again after an error.

use std::fmt;

use axum::body::Body;
use axum::extract::Request;
use http::header::CONTENT_TYPE;
use zeroize::Zeroizing;

use super::problem::Problem;
use super::site::local_path;

/// No form of ours is larger; a pasted token may take up to 16 KiB.
const MAX_FORM: usize = 64 * 1024;

/// The fields of a form or a query, repeated names kept, wiped when dropped since some are secrets.
pub(crate) struct Fields(Vec<(Zeroizing<String>, Zeroizing<String>)>);

impl Fields {
    pub(crate) fn parse(encoded: &[u8]) -> Self {
        let pair = |(name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
            (Zeroizing::new(name.into_owned()), Zeroizing::new(value.into_owned()))
        };
        Self(url::form_urlencoded::parse(encoded).map(pair).collect())
    }

    /// Reads a form's body.
    ///
    /// # Errors
    /// A body that is no form, or is too large.
    pub(crate) async fn read(request: Request<Body>) -> Result<Self, Problem> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let kind = kind.split(';').next().unwrap_or("").trim();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Problem::not_a_form());
        }
        let bytes = axum::body::to_bytes(request.into_body(), MAX_FORM).await.map_err(|_| Problem::too_large())?;
        Ok(Self::parse(&bytes))
    }

    /// The first value of a name; empty when it was not sent.
    pub(crate) fn one(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n.as_str() == name).map_or("", |(_, value)| value.as_str())
    }

    /// The first value of a name, if there is one that is not blank.
    pub(crate) fn some(&self, name: &str) -> Option<&str> {
        Some(self.one(name).trim()).filter(|text| !text.is_empty())
    }

    /// Every value of a name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n.as_str() == name).map(|(_, v)| v.as_str())
    }

    /// The page of ours to go back to afterwards, such as where a refusal was met that is mended here.
    pub(crate) fn next(&self) -> Option<String> {
        self.some("next").and_then(local_path).map(str::to_owned)
    }

    /// Whether a box was ticked or a button pressed.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n.as_str() == name)
    }
}

/// A field as the page shows it: its value as it was sent, and what is wrong with it.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) error: Option<String>,
}

impl Field {
    pub(crate) const fn empty(name: &'static str) -> Self {
        Self { name, value: String::new(), error: None }
    }

    pub(crate) fn with(name: &'static str, value: &str) -> Self {
        Self { name, value: value.to_owned(), error: None }
    }

    pub(crate) fn wrong(mut self, error: impl fmt::Display) -> Self {
        self.error = Some(error.to_string());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_fields_are_kept() {
        let fields = Fields::parse(b"scope=vehicles&scope=mcp%3Ause&label=+My+car&split");
        assert_eq!(fields.all("scope").collect::<Vec<_>>(), ["vehicles", "mcp:use"]);
        assert_eq!(fields.some("label"), Some("My car"));
        assert!(fields.has("split") && !fields.has("other"));
        assert_eq!(fields.some("split"), None);
    }
}
