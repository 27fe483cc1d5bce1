//! Sets of request methods. Method names are case-sensitive (RFC 9110 9.1).

use std::fmt;

/// A set of the six methods that a row can list.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct MethodSet(u8);

const NAMES: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

impl MethodSet {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// `HEAD` alone.
    pub const HEAD: Self = Self(0b00_0010);
    /// `GET` and `HEAD`.
    pub const READ: Self = Self(0b00_0011);
    /// `GET` and `POST`, for commands: a `HEAD` would run them too.
    pub const COMMAND: Self = Self(0b00_0101);
    /// `GET`, `POST` and `DELETE`, for MCP over streamable HTTP.
    pub const MCP: Self = Self(0b10_0101);
    /// All six.
    pub const ALL: Self = Self(0b11_1111);

    /// The set of this one method; nothing for a method that no row can list.
    #[must_use]
    pub fn of(method: &str) -> Option<Self> {
        let at = match method {
            "GET" => 0,
            "HEAD" => 1,
            "POST" => 2,
            "PUT" => 3,
            "PATCH" => 4,
            "DELETE" => 5,
            _ => return None,
        };
        Some(Self(1 << at))
    }

    /// Whether all methods of `other` are in it.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// The methods in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for MethodSet {
    /// As the `Allow` header has it: `GET, HEAD`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (at, name) in NAMES.iter().enumerate() {
            if self.0 & (1 << at) != 0 {
                f.write_str(if first { "" } else { ", " })?;
                f.write_str(name)?;
                first = false;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for MethodSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}
