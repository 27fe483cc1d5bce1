//! The routes file: rows that an operator adds to the path and scope table.

use std::path::Path;

use serde::Deserialize;

use super::fault::{Bad, quoted};
use crate::domain::route::Need;

/// A row as it was written, each part known to be well-formed; whether it contradicts the built-in table is judged there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraRoute {
    /// Methods in upper case, each once.
    pub methods: Vec<String>,
    /// A path below `/api/`, with segments like `{id}` for what varies.
    pub path: String,
    /// What an app needs for it.
    pub need: Need,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    route: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    methods: Vec<String>,
    path: String,
    scope: Option<String>,
    public: Option<bool>,
}

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// Reads the file's rows, or says of each bad one what is wrong with it.
pub(super) fn read(path: &Path) -> Result<Vec<ExtraRoute>, Vec<Bad>> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        let fault = format!("{} cannot be read ({})", quoted(&path.to_string_lossy()), e.kind());
        vec![Bad::new(fault, "name a TOML file that this user can read")]
    })?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<ExtraRoute>, Vec<Bad>> {
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        let what = error.message().lines().next().unwrap_or("bad syntax");
        vec![Bad::new(
            format!("line {line} cannot be read ({what})"),
            "write rows as [[route]] with methods = [\"GET\"], path = \"/api/…\" and scope = \"vehicles\" (or \"public\")",
        )]
    })?;
    let mut faults = Vec::new();
    let mut rows = Vec::new();
    for (n, row) in file.route.into_iter().enumerate() {
        match row.judge() {
            Ok(row) => rows.push(row),
            Err(bad) => faults.push(Bad::new(format!("row {}: {}", n + 1, bad.fault), bad.mend)),
        }
    }
    if faults.is_empty() { Ok(rows) } else { Err(faults) }
}

impl Row {
    fn judge(self) -> Result<ExtraRoute, Bad> {
        if self.methods.is_empty() {
            return Err(Bad::new("has no methods", "write methods = [\"GET\"]"));
        }
        for (n, method) in self.methods.iter().enumerate() {
            if !METHODS.contains(&method.as_str()) {
                return Err(Bad::new(
                    format!("{} is no method", quoted(method)),
                    format!("use {}", METHODS.join(", ")),
                ));
            }
            if self.methods[..n].contains(method) {
                return Err(Bad::new(format!("{method} stands twice"), "name each method once"));
            }
        }
        if !path_is_plain(&self.path) {
            return Err(Bad::new(
                format!("{} is no path for a row", quoted(&self.path)),
                "begin with /api/, use letters, digits, - _ . ~ and whole segments like {id}, and no slash at the end",
            ));
        }
        let scope = self.scope.as_deref();
        let need = match (scope, self.public.unwrap_or(scope == Some("public"))) {
            (None | Some("public"), true) => Need::Public,
            (None, false) => {
                return Err(Bad::new("has no scope", "write scope = \"vehicles\", or scope = \"public\""));
            }
            (Some(_), true) | (Some("public"), false) => {
                return Err(Bad::new("has a scope and says public otherwise", "keep one of the two"));
            }
            (Some(scope), false) => Need::Scope(scope.parse().map_err(|_| {
                Bad::new(
                    format!("{} is no scope", quoted(scope)),
                    "use account, tesla-accounts, vehicles, controls, mcp:use, or public",
                )
            })?),
        };
        Ok(ExtraRoute { methods: self.methods, path: self.path, need })
    }
}

fn path_is_plain(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/api/") else { return false };
    rest.split('/').all(|segment| {
        let (name, plain): (&str, fn(u8) -> bool) = match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
            Some(name) => (name, |b| b.is_ascii_alphanumeric() || b == b'_'),
            None => (segment, |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~')),
        };
        !name.is_empty() && segment != "." && segment != ".." && name.bytes().all(plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::scope::Scope;

    #[test]
    fn rows_are_read() {
        let rows = parse(
            "[[route]]\nmethods = [\"GET\", \"HEAD\"]\npath = \"/api/vehicle/{id}/extra\"\nscope = \"vehicles\"\n\
             [[route]]\nmethods = [\"GET\"]\npath = \"/api/news\"\nscope = \"public\"\n\
             [[route]]\nmethods = [\"GET\"]\npath = \"/api/tips\"\npublic = true\n",
        )
        .unwrap();
        assert_eq!(rows[0].need, Need::Scope(Scope::Vehicles));
        assert_eq!((rows[1].need, rows[2].need), (Need::Public, Need::Public));
    }

    #[test]
    fn every_bad_row_is_named() {
        let row = |methods: &str, path: &str, rest: &str| {
            format!("[[route]]\nmethods = {methods}\npath = \"{path}\"\n{rest}\n")
        };
        for bad in [
            row("[\"GET\"]", "/api/a/../b", "scope = \"vehicles\""),
            row("[\"GET\"]", "/mcp", "scope = \"vehicles\""),
            row("[\"GET\"]", "/api/a/", "scope = \"vehicles\""),
            row("[\"GET\"]", "/api/a%2f", "scope = \"vehicles\""),
            row("[\"GET\"]", "/api/x{id}", "scope = \"vehicles\""),
            row("[\"TRACE\"]", "/api/a", "scope = \"vehicles\""),
            row("[\"get\"]", "/api/a", "scope = \"vehicles\""),
            row("[]", "/api/a", "scope = \"vehicles\""),
            row("[\"GET\", \"GET\"]", "/api/a", "scope = \"vehicles\""),
            row("[\"GET\"]", "/api/a", "scope = \"everything\""),
            row("[\"GET\"]", "/api/a", ""),
            row("[\"GET\"]", "/api/a", "public = false"),
            row("[\"GET\"]", "/api/a", "scope = \"vehicles\"\npublic = true"),
            row("[\"GET\"]", "/api/a", "scopes = \"vehicles\""),
        ] {
            assert!(parse(&bad).is_err(), "{bad}");
        }
        let two = row("[]", "/api/a", "scope = \"vehicles\"") + &row("[\"GET\"]", "x", "scope = \"vehicles\"");
        let faults = parse(&two).unwrap_err();
        assert!(faults[0].fault.starts_with("row 1:") && faults[1].fault.starts_with("row 2:"));
    }
}
