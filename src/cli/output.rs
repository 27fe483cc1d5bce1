//! Tables for people, JSON for programs, and nothing that could steer a terminal.

use std::io::{self, Write};

use serde::Serialize;

use crate::domain::time::Timestamp;
use crate::domain::user::is_unprintable;

/// Text without anything that a terminal would act on.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_unprintable(c) { '\u{fffd}' } else { c }).collect()
}

/// One JSON document on a line of its own.
///
/// # Errors
/// Standard output can't be written.
pub fn json(value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    io::stdout().write_all(text.as_bytes())
}

/// Names and values, one a line, the values below each other.
///
/// # Errors
/// Standard output can't be written.
pub fn facts(facts: &[(&str, String)]) -> io::Result<()> {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut out = io::stdout().lock();
    for (name, value) in facts {
        let value = if value.is_empty() { "-" } else { value };
        writeln!(out, "{name:width$}  {}", printable(value))?;
    }
    Ok(())
}

/// A sentence for the person, on standard error.
pub fn note(sentence: &str) {
    // Whoever closed standard error does not want to hear it.
    let _ = writeln!(io::stderr(), "{}", printable(sentence));
}

/// A moment, or nothing.
#[must_use]
pub fn time(at: Option<Timestamp>) -> String {
    at.map(|at| at.to_string()).unwrap_or_default()
}

/// Rows under headings, in columns as wide as they must be.
#[derive(Debug)]
pub struct Table {
    headings: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub const fn new(headings: &'static [&'static str]) -> Self {
        Self { headings, rows: Vec::new() }
    }

    /// Adds a row. A missing value is shown as a dash.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let shown = |cell: String| if cell.is_empty() { "-".to_owned() } else { printable(&cell) };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// Writes it to standard output.
    ///
    /// # Errors
    /// Standard output can't be written.
    pub fn print(&self) -> io::Result<()> {
        io::stdout().write_all(self.render().as_bytes())
    }

    /// Columns that hold nothing but numbers are aligned at their right, so that their digits stand below each other.
    fn render(&self) -> String {
        let number = |text: &str| text == "-" || (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
        let columns: Vec<(usize, bool)> = (0..self.headings.len())
            .map(|n| {
                let cells = || self.rows.iter().filter_map(|row| row.get(n)).map(String::as_str);
                let width = cells().chain([self.headings[n]]).map(|cell| cell.chars().count()).max().unwrap_or(0);
                (width, cells().any(|cell| cell != "-") && cells().all(number))
            })
            .collect();
        let headings: Vec<String> = self.headings.iter().map(|heading| (*heading).to_owned()).collect();
        let mut out = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let start = out.len();
            for (cell, (width, right)) in row.iter().zip(&columns) {
                let gap = " ".repeat(width - cell.chars().count());
                let (before, after) = if *right { (gap.as_str(), "") } else { ("", gap.as_str()) };
                if out.len() > start {
                    out.push_str("  ");
                }
                out.push_str(before);
                out.push_str(cell);
                out.push_str(after);
            }
            out.truncate(out.trim_end().len());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_right() {
        let mut table = Table::new(&["NAME", "CALLS", "LAST"]);
        table.row(["dashboard".into(), "7".into(), String::new()]);
        table.row(["hub".into(), "1234".into(), "2026-11-24".into()]);
        let text = table.render();
        assert_eq!(text, "NAME       CALLS  LAST\ndashboard      7  -\nhub         1234  2026-11-24\n");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let mut table = Table::new(&["NAME"]);
        table.row(["a\u{1b}[2J\u{202e}b\r\n".into()]);
        assert_eq!(table.render(), "NAME\na\u{fffd}[2J\u{fffd}b\u{fffd}\u{fffd}\n");
    }
}
