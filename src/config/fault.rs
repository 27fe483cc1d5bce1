//! What is wrong with a setting, in one line that says what to do.

use std::fmt;

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The setting as the person wrote it: `--data-dir`, `KEYFOB_DATA_DIR`, or `data_dir in ./keyfob.toml`.
    pub setting: String,
    /// What is wrong with its value.
    pub fault: String,
    /// What to do.
    pub mend: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.setting, self.fault, self.mend)
    }
}

/// Everything that is wrong with the settings, one line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

/// Why a value cannot be used, and the mend; the setting's name is added by who read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) fault: String,
    pub(super) mend: String,
}

impl Bad {
    /// The fault is said of the value, as in "is not an address".
    pub(super) fn new(fault: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { fault: fault.into(), mend: mend.into() }
    }
}

/// A value as it may stand in a message: quoted, on one line, not too long.
pub(super) fn quoted(value: &str) -> String {
    let mut text: String = value.chars().take(80).flat_map(char::escape_debug).collect();
    if value.chars().nth(80).is_some() {
        text.push('…');
    }
    format!("\"{text}\"")
}
