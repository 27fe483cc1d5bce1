//! The table as data, and how a path finds its row.

use std::sync::Arc;

use super::super::scope::Scope;
use super::{ExtraRow, MethodSet, Need, Route, RouteFault, RouteRefusal, Upstream, path};

/// One row: `{name}` stands for one segment, `{name...}` for one or more, `tesla-{name}` for one that starts so.
pub(super) struct Row {
    pub(super) pattern: &'static str,
    methods: MethodSet,
    pub(super) need: Need,
    command: bool,
    takes_api_key: bool,
}

const fn read(pattern: &'static str, takes_api_key: bool) -> Row {
    Row { pattern, methods: MethodSet::READ, need: Need::Scope(Scope::Vehicles), command: false, takes_api_key }
}

const fn change(pattern: &'static str, scope: Scope) -> Row {
    Row { pattern, methods: MethodSet::ALL, need: Need::Scope(scope), command: false, takes_api_key: false }
}

const fn command(pattern: &'static str) -> Row {
    let need = Need::Scope(Scope::Controls);
    Row { pattern, methods: MethodSet::COMMAND, need, command: true, takes_api_key: true }
}

const fn public(pattern: &'static str) -> Row {
    Row { pattern, methods: MethodSet::READ, need: Need::Public, command: false, takes_api_key: false }
}

const fn mcp(pattern: &'static str) -> Row {
    let need = Need::Scope(Scope::McpUse);
    Row { pattern, methods: MethodSet::MCP, need, command: false, takes_api_key: false }
}

/// What is not known under a vehicle may move it. A row of the routes file may say better.
pub(super) const CATCH_ALL: &str = "/api/vehicle/{id}/{rest...}";

pub(super) const BUILT_IN: [Row; 24] = [
    change("/api/account", Scope::Account),
    change("/api/account/{rest...}", Scope::Account),
    change("/api/account/tesla-{name}", Scope::TeslaAccounts),
    change("/api/account/tesla-{name}/{rest...}", Scope::TeslaAccounts),
    read("/api/vehicles", true),
    read("/api/vehicle/{id}", true),
    read("/api/vehicle/{id}/detailed", true),
    read("/api/vehicle/{id}/state", true),
    read("/api/vehicle/{id}/drives", true),
    read("/api/vehicle/{id}/drive/{n}", true),
    read("/api/vehicle/{id}/charges", true),
    read("/api/vehicle/{id}/charge/{n}", true),
    read("/api/vehicle/{id}/trips", false),
    read("/api/vehicle/{id}/trip/{n}", false),
    read("/api/vehicle/{id}/locations", false),
    read("/api/vehicle/{id}/location/{n}", false),
    command("/api/vehicle/{id}/command/{name}"),
    command("/api/vehicle/{id}/wakeup"),
    command("/api/vehicle/{id}/update"),
    Row {
        pattern: CATCH_ALL,
        methods: MethodSet::ALL,
        need: Need::Scope(Scope::Controls),
        command: true,
        takes_api_key: false,
    },
    public("/api/software"),
    public("/api/software/{version}"),
    mcp("/mcp"),
    mcp("/mcp/{rest...}"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    Literal(&'a str),
    Prefix(&'a str),
    Any,
    Rest,
}

/// The segments of a row's pattern.
pub(super) fn segments(pattern: &str) -> impl Iterator<Item = Segment<'_>> {
    pattern.split('/').skip(1).map(|text| match text.split_once('{') {
        Some(("", name)) if name.ends_with("...}") => Segment::Rest,
        Some(("", _)) => Segment::Any,
        Some((prefix, _)) => Segment::Prefix(prefix),
        None => Segment::Literal(text),
    })
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) methods: MethodSet,
    pub(super) route: Route,
}

#[derive(Debug, Default)]
struct Node {
    literals: Vec<(Box<[u8]>, usize)>,
    prefixes: Vec<(Box<[u8]>, usize)>,
    any: Option<usize>,
    /// The entry for one segment or more from here.
    rest: Option<usize>,
    /// The entry for a path that ends here.
    end: Option<usize>,
}

/// All rows, the built-in ones and those of the routes file.
#[derive(Debug)]
pub struct RouteTable {
    nodes: Vec<Node>,
    entries: Vec<Entry>,
}

impl Default for RouteTable {
    fn default() -> Self {
        Self::built_in()
    }
}

impl RouteTable {
    /// The rows that Keyfob knows by itself.
    #[must_use]
    pub fn built_in() -> Self {
        let mut table = Self { nodes: vec![Node::default()], entries: Vec::new() };
        for row in &BUILT_IN {
            let upstream = if row.pattern.starts_with("/api/") { Upstream::Api } else { Upstream::Mcp };
            let route = Route {
                template: Arc::from(row.pattern),
                need: row.need,
                upstream,
                command: row.command,
                takes_api_key: row.takes_api_key,
            };
            table.add(Entry { methods: row.methods, route });
        }
        table
    }

    /// The built-in rows and these.
    ///
    /// # Errors
    /// The first row that cannot be read, or that contradicts another one.
    pub fn with_extra(rows: &[ExtraRow]) -> Result<Self, RouteFault> {
        let mut table = Self::built_in();
        for (index, row) in rows.iter().enumerate() {
            let entry = row.entry(&table.entries).map_err(|fault| fault.in_row(index))?;
            table.add(entry);
        }
        Ok(table)
    }

    /// Which row a path is in, by the very bytes that would be sent, without the query.
    ///
    /// The path is judged before the method. One trailing slash counts as none; matching is case-sensitive.
    ///
    /// # Errors
    /// Why the request goes no further.
    pub fn judge(&self, method: &str, raw_path: &[u8]) -> Result<Route, RouteRefusal> {
        path::check(raw_path).map_err(RouteRefusal::Ambiguous)?;
        let entry = self.entry_of(raw_path).ok_or(RouteRefusal::Unknown)?;
        match MethodSet::of(method) {
            Some(method) if entry.methods.contains(method) => Ok(entry.route.clone()),
            _ => Err(RouteRefusal::Method { allow: entry.methods }),
        }
    }

    /// The entry of a path that has been checked.
    fn entry_of(&self, path: &[u8]) -> Option<&Entry> {
        let below = path.strip_prefix(b"/")?;
        let below = below.strip_suffix(b"/").unwrap_or(below);
        self.find(0, Some(below)).map(|at| &self.entries[at])
    }

    /// The most particular entry: a literal segment before a prefix, a prefix before any, any before the rest.
    fn find(&self, node: usize, below: Option<&[u8]>) -> Option<usize> {
        let node = &self.nodes[node];
        let Some(below) = below else { return node.end };
        let (segment, deeper) = match memchr::memchr(b'/', below) {
            Some(slash) => (&below[..slash], Some(&below[slash + 1..])),
            None => (below, None),
        };
        if segment.is_empty() {
            return None;
        }
        let literal = node.literals.iter().find(|(text, _)| **text == *segment);
        let prefix = node.prefixes.iter().find(|(text, _)| segment.starts_with(text));
        literal
            .and_then(|(_, next)| self.find(*next, deeper))
            .or_else(|| prefix.and_then(|(_, next)| self.find(*next, deeper)))
            .or_else(|| node.any.and_then(|next| self.find(next, deeper)))
            .or(node.rest)
    }

    fn add(&mut self, entry: Entry) {
        let pattern = Arc::clone(&entry.route.template);
        if let Some(same) = self.entries.iter_mut().find(|known| known.route.template == pattern) {
            same.methods = same.methods.union(entry.methods);
            return;
        }
        let mut at = 0;
        for segment in segments(&pattern) {
            let known = match segment {
                Segment::Literal(text) => child(&self.nodes[at].literals, text),
                Segment::Prefix(text) => child(&self.nodes[at].prefixes, text),
                Segment::Any => self.nodes[at].any,
                Segment::Rest => {
                    self.nodes[at].rest = Some(self.entries.len());
                    break;
                }
            };
            at = known.unwrap_or_else(|| self.grow(at, segment));
        }
        if !matches!(segments(&pattern).last(), Some(Segment::Rest)) {
            self.nodes[at].end = Some(self.entries.len());
        }
        self.entries.push(entry);
    }

    fn grow(&mut self, parent: usize, segment: Segment<'_>) -> usize {
        let new = self.nodes.len();
        self.nodes.push(Node::default());
        let parent = &mut self.nodes[parent];
        match segment {
            Segment::Literal(text) => parent.literals.push((text.as_bytes().into(), new)),
            Segment::Prefix(text) => parent.prefixes.push((text.as_bytes().into(), new)),
            Segment::Any | Segment::Rest => parent.any = Some(new),
        }
        new
    }
}

fn child(children: &[(Box<[u8]>, usize)], text: &str) -> Option<usize> {
    children.iter().find(|(known, _)| **known == *text.as_bytes()).map(|(_, at)| *at)
}
