//! Where values come from: flags over environment over the file over defaults.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::fault::{Bad, Fault, quoted};
use super::keys::{self, Key};

/// Where the value in effect came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// The settings file.
    File,
    /// The sandbox, which stands in for the provider whatever is set.
    Sandbox,
    /// Nothing set it.
    Default,
}

impl Source {
    /// One lower-case word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Sandbox => "sandbox",
            Self::Default => "default",
        }
    }
}

/// What the program was given, before anything is read from it.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Flags by the name of their setting.
    pub flags: BTreeMap<&'static str, String>,
    /// The whole environment.
    pub environment: BTreeMap<OsString, OsString>,
    /// Whether standard error is a terminal.
    pub terminal: bool,
    /// What holds for the data directory when nothing sets it, where that is not the usual.
    pub data_dir: Option<PathBuf>,
}

/// One value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Text(String),
    List(Vec<String>),
}

impl Written {
    /// As one text; a list is joined the way it can be written in the environment.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::List(items) => items.join(","),
        }
    }
}

/// The layers, opened: each setting can be looked up once its name is known.
pub(super) struct Layers<'g> {
    given: &'g Given,
    file: BTreeMap<&'static str, Written>,
    path: PathBuf,
}

impl<'g> Layers<'g> {
    /// Opens the settings file, if there is one, and looks for names that are none of ours.
    pub(super) fn open(given: &'g Given, faults: &mut Vec<Fault>, notices: &mut Vec<String>) -> Self {
        let mut layers = Self { given, file: BTreeMap::new(), path: PathBuf::from("./keyfob.toml") };
        misnamed_variables(given, faults, notices);
        let (source, written) = layers.find(&keys::CONFIG, faults);
        if let Some(written) = &written {
            layers.path = PathBuf::from(written.text());
        }
        match std::fs::read_to_string(&layers.path) {
            Ok(text) => layers.file = read_file(&text, &layers.path, faults),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && written.is_none() => {}
            Err(e) => faults.push(Fault {
                setting: layers.name(&keys::CONFIG, source),
                fault: format!("{} cannot be read ({})", quoted(&layers.path.to_string_lossy()), e.kind()),
                mend: "name a TOML file that this user can read".to_owned(),
            }),
        }
        layers
    }

    /// The setting as the person wrote it in this layer.
    pub(super) fn name(&self, key: &Key, source: Source) -> String {
        match source {
            Source::Flag => format!("--{}", key.long()),
            Source::File => format!("{} in {}", key.name, self.path.display()),
            Source::Environment | Source::Sandbox | Source::Default => key.env(),
        }
    }

    /// The settings file that was looked for.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The value in effect. An empty environment variable counts as not set, since compose files and shells pass
    /// variables on that way; an empty flag or an empty text in the file is a fault, since somebody wrote it.
    pub(super) fn find(&self, key: &Key, faults: &mut Vec<Fault>) -> (Source, Option<Written>) {
        let mut empty = |source| {
            faults.push(Fault {
                setting: self.name(key, source),
                fault: "is empty".to_owned(),
                mend: format!("give it a value ({}) or leave it out", key.value),
            });
            (source, None)
        };
        if let Some(text) = self.given.flags.get(key.name) {
            if text.is_empty() {
                return empty(Source::Flag);
            }
            return (Source::Flag, Some(Written::Text(text.clone())));
        }
        if let Some(value) = self.given.environment.get(&OsString::from(key.env())).filter(|value| !value.is_empty()) {
            let text = value.to_str().map(|text| Written::Text(text.to_owned()));
            if text.is_none() {
                faults.push(Fault {
                    setting: key.env(),
                    fault: "is not UTF-8 text".to_owned(),
                    mend: "write it in UTF-8".to_owned(),
                });
            }
            return (Source::Environment, text);
        }
        match self.file.get(key.name) {
            Some(Written::Text(text)) if text.is_empty() => empty(Source::File),
            Some(written) => (Source::File, Some(written.clone())),
            None => (Source::Default, None),
        }
    }
}

/// A `KEYFOB_` variable that is nearly one of ours is a slip and a fault; any other is somebody else's (Kubernetes
/// makes `KEYFOB_PORT` for a service of our name) and only noted.
fn misnamed_variables(given: &Given, faults: &mut Vec<Fault>, notices: &mut Vec<String>) {
    for name in given.environment.keys().filter_map(|name| name.to_str()) {
        let Some(rest) = name.strip_prefix("KEYFOB_") else { continue };
        let rest = rest.to_ascii_lowercase();
        if keys::named(&rest).is_some_and(|key| name == key.env()) {
            continue;
        }
        match keys::nearest(&rest) {
            Some(key) => faults.push(Fault {
                setting: name.chars().flat_map(char::escape_debug).take(120).collect(),
                fault: "is no setting".to_owned(),
                mend: format!("did you mean {}?", key.env()),
            }),
            None => notices.push(format!("the environment variable {} is not a setting and is ignored", quoted(name))),
        }
    }
}

fn read_file(text: &str, path: &Path, faults: &mut Vec<Fault>) -> BTreeMap<&'static str, Written> {
    let mut values = BTreeMap::new();
    let table = match text.parse::<toml::Table>() {
        Ok(table) => table,
        Err(error) => {
            // The parser's own rendering quotes the line, which may hold a secret: only its message and place go out.
            let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            faults.push(Fault {
                setting: format!("{} line {line}", path.display()),
                fault: format!("is not TOML ({})", error.message().lines().next().unwrap_or("bad syntax")),
                mend: "write it as key = \"value\"".to_owned(),
            });
            return values;
        }
    };
    for (name, value) in table {
        let Some(key) = keys::named(&name).filter(|key| key.name != keys::CONFIG.name) else {
            let mend = match keys::nearest(&name.to_ascii_lowercase().replace('-', "_")) {
                Some(key) if key.name != keys::CONFIG.name => format!("did you mean {}?", key.name),
                _ => "take it out; `keyfob --help` lists the settings".to_owned(),
            };
            let shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
            faults.push(Fault {
                setting: format!("{shown} in {}", path.display()),
                fault: "is no setting".to_owned(),
                mend,
            });
            continue;
        };
        match plain(&value) {
            Ok(written) => {
                values.insert(key.name, written);
            }
            Err(bad) => faults.push(Fault {
                setting: format!("{} in {}", key.name, path.display()),
                fault: bad.fault,
                mend: bad.mend,
            }),
        }
    }
    values
}

/// Texts, whole numbers and booleans stand for themselves; a list may hold texts.
fn plain(value: &toml::Value) -> Result<Written, Bad> {
    match value {
        toml::Value::String(text) => Ok(Written::Text(text.clone())),
        toml::Value::Integer(number) => Ok(Written::Text(number.to_string())),
        toml::Value::Boolean(flag) => Ok(Written::Text(flag.to_string())),
        toml::Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .map(Written::List)
            .ok_or_else(|| Bad::new("is a list with something other than texts", "write [\"one\", \"two\"]")),
        other => {
            Err(Bad::new(format!("is a {}", other.type_str()), "write a text in quotes, a number, or true or false"))
        }
    }
}
