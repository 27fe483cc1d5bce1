//! Reads one setting after another out of the layers, and gathers what is wrong.

use std::path::PathBuf;

use super::fault::{Bad, Fault};
use super::keys::Key;
use super::layers::{Given, Layers, Source, Written};

/// One setting as it is in effect, for people.
#[derive(Clone, Debug)]
pub struct InEffect {
    /// Which.
    pub key: &'static Key,
    /// Where its value came from.
    pub source: Source,
    /// Its value as it was written; none where it was not set or may not be shown.
    pub value: Option<String>,
}

pub(super) struct Reader<'g> {
    layers: Layers<'g>,
    faults: Vec<Fault>,
    in_effect: Vec<InEffect>,
    notices: Vec<String>,
}

/// What [`Reader::finish`] hands over.
pub(super) struct Read {
    pub(super) in_effect: Vec<InEffect>,
    pub(super) notices: Vec<String>,
}

impl<'g> Reader<'g> {
    pub(super) fn open(given: &'g Given) -> Self {
        let (mut faults, mut notices) = (Vec::new(), Vec::new());
        let layers = Layers::open(given, &mut faults, &mut notices);
        Self { layers, faults, in_effect: Vec::new(), notices }
    }

    /// A setting that may be left out.
    pub(super) fn optional<T>(&mut self, key: &'static Key, parse: impl FnOnce(&str) -> Result<T, Bad>) -> Option<T> {
        let written = self.written(key)?;
        let result = match &written {
            Written::Text(text) => parse(text),
            Written::List(_) => Err(Bad::new("is a list", "write one value")),
        };
        result.map_err(|bad| self.fault(key, bad)).ok()
    }

    /// A setting with a default, which also stands in while a fault is reported.
    pub(super) fn or<T>(&mut self, key: &'static Key, default: T, parse: impl FnOnce(&str) -> Result<T, Bad>) -> T {
        self.optional(key, parse).unwrap_or(default)
    }

    /// A path that may be left out.
    pub(super) fn path(&mut self, key: &'static Key) -> Option<PathBuf> {
        self.optional(key, |text| Ok(PathBuf::from(text)))
    }

    /// Several values: a list in the file, elsewhere separated by commas or blanks.
    pub(super) fn list<T>(&mut self, key: &'static Key, parse: impl Fn(&str) -> Result<T, Bad>) -> Vec<T> {
        let items = match self.written(key) {
            None => return Vec::new(),
            Some(Written::List(items)) => items,
            Some(Written::Text(text)) => {
                text.split([',', ' ', '\n', '\t']).filter(|item| !item.is_empty()).map(str::to_owned).collect()
            }
        };
        let mut values = Vec::with_capacity(items.len());
        for item in &items {
            match parse(item) {
                Ok(value) => values.push(value),
                Err(bad) => self.fault(key, bad),
            }
        }
        values
    }

    /// A program and its arguments: a list in the file, else separated by blanks; no quoting, no shell.
    pub(super) fn command(&mut self, key: &'static Key) -> Vec<String> {
        match self.written(key) {
            None => Vec::new(),
            Some(Written::List(items)) => items,
            Some(Written::Text(text)) => text.split_whitespace().map(str::to_owned).collect(),
        }
    }

    fn written(&mut self, key: &'static Key) -> Option<Written> {
        let (source, written) = self.layers.find(key, &mut self.faults);
        let value = written.as_ref().filter(|_| key.shown).map(Written::text);
        self.in_effect.push(InEffect { key, source, value });
        written
    }

    /// Whether anything set it, well or badly.
    pub(super) fn is_set(&self, key: &Key) -> bool {
        self.source(key) != Source::Default
    }

    fn source(&self, key: &Key) -> Source {
        self.in_effect.iter().find(|set| set.key.name == key.name).map_or(Source::Default, |set| set.source)
    }

    /// The setting as the person wrote it.
    pub(super) fn name(&self, key: &Key) -> String {
        self.layers.name(key, self.source(key))
    }

    pub(super) fn fault(&mut self, key: &Key, bad: Bad) {
        self.faults.push(Fault { setting: self.name(key), fault: bad.fault, mend: bad.mend });
    }

    pub(super) fn notice(&mut self, text: String) {
        self.notices.push(text);
    }

    /// The end: all is well, or all that is not.
    pub(super) fn finish(mut self, config: &'static Key) -> Result<Read, Vec<Fault>> {
        if !self.faults.is_empty() {
            return Err(self.faults);
        }
        let mut ignored = Vec::new();
        let (source, _) = self.layers.find(config, &mut ignored);
        let value = Some(self.layers.path().display().to_string());
        self.in_effect.insert(0, InEffect { key: config, source, value });
        Ok(Read { in_effect: self.in_effect, notices: self.notices })
    }
}
