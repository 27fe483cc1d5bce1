//! The routes file: rows that an operator adds to the path and scope table, held against it row by row.

use std::path::Path;

use serde::Deserialize;

use super::fault::{Bad, quoted};
use crate::domain::route::{ExtraRow, RouteTable};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    route: Vec<ExtraRow>,
}

/// The built-in table with the file's rows, or what is wrong with each bad one.
pub(super) fn read(path: &Path) -> Result<RouteTable, Vec<Bad>> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        let fault = format!("{} cannot be read ({})", quoted(&path.to_string_lossy()), e.kind());
        vec![Bad::new(fault, "name a TOML file that this user can read")]
    })?;
    parse(&text)
}

fn parse(text: &str) -> Result<RouteTable, Vec<Bad>> {
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        let what = error.message().lines().next().unwrap_or("bad syntax");
        vec![Bad::new(
            format!("line {line} cannot be read ({what})"),
            "write rows as [[route]] with methods = [\"GET\"], path = \"/api/…\" and scope = \"vehicles\" (or \"public\")",
        )]
    })?;
    let (mut good, mut faults) = (Vec::new(), Vec::new());
    let mut table = RouteTable::built_in();
    for (number, row) in file.route.into_iter().enumerate() {
        good.push(row);
        match RouteTable::with_extra(&good) {
            Ok(more) => table = more,
            Err(mut fault) => {
                good.pop();
                fault.row = number;
                faults.push(Bad::new(fault.to_string(), "mend this row or take it out"));
            }
        }
    }
    if faults.is_empty() { Ok(table) } else { Err(faults) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_rows_join_the_table_and_every_bad_one_is_named() {
        let row = |methods: &str, path: &str, rest: &str| {
            format!("[[route]]\nmethods = {methods}\npath = \"{path}\"\n{rest}\n")
        };
        let good = row("[\"GET\"]", "/api/news", "scope = \"public\"")
            + &row("[\"POST\"]", "/api/tips", "scope = \"account\"");
        let table = parse(&good).unwrap();
        assert!(table.judge("GET", b"/api/news").is_ok() && table.judge("POST", b"/api/tips").is_ok());
        assert!(table.judge("GET", b"/api/vehicles").is_ok(), "the built-in rows stay");

        let bad = row("[]", "/api/a", "scope = \"vehicles\"")
            + &good
            + &row("[\"GET\"]", "/api/vehicles", "scope = \"public\"");
        let faults = parse(&bad).unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].fault.starts_with("route 1:") && faults[1].fault.starts_with("route 4:"), "{faults:?}");
        assert!(parse(&row("[\"GET\"]", "/api/a", "scopes = \"vehicles\"")).unwrap_err()[0].fault.starts_with("line "));
    }
}
