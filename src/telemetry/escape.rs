//! Makes any text safe to stand in a line that a person or a program reads: one line, no control of the terminal.

use std::fmt::{self, Write};

use crate::domain::user::is_unprintable;

/// Writes into `out` what it is given, escaped for JSON and at most so many bytes of it. JSON's escapes are also what
/// the lines for people use, so that one rule holds for both.
pub(super) struct Escaped<'o> {
    out: &'o mut String,
    left: usize,
}

impl<'o> Escaped<'o> {
    pub(super) const fn new(out: &'o mut String, most: usize) -> Self {
        Self { out, left: most }
    }
}

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.left == 0 {
                return Ok(());
            }
            self.left = self.left.saturating_sub(c.len_utf8());
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                // All of these lie below U+10000, so that four digits are enough.
                c if is_unprintable(c) => write!(self.out, "\\u{:04x}", u32::from(c))?,
                c => self.out.push(c),
            }
            if self.left == 0 {
                self.out.push('…');
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_its_line() {
        let mut out = String::new();
        Escaped::new(&mut out, 100).write_str("a\r\nb\u{1b}[31m\0\u{202e}\u{9b}\"\\é").unwrap();
        assert_eq!(out, "a\\r\\nb\\u001b[31m\\u0000\\u202e\\u009b\\\"\\\\é");
    }

    #[test]
    fn a_huge_value_is_cut() {
        let mut out = String::new();
        write!(Escaped::new(&mut out, 10), "{}{}", "x".repeat(8), "é".repeat(1000)).unwrap();
        assert_eq!(out, "xxxxxxxxé…");
    }
}
