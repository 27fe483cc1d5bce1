//! `/admin/settings`: every setting in effect and where its value comes from; secrets are hidden.

use askama::Template;
use axum::response::Response;

use super::{Tab, tabs};
use crate::config::{InEffect, Source};
use crate::web::frame::{Frame, Section, page};
use crate::web::visit::Admin;

#[derive(Template)]
#[template(path = "admin/settings.html")]
struct SettingsPage {
    frame: Frame,
    tabs: Vec<Tab>,
    /// Under the headings of the help.
    groups: Vec<(&'static str, Vec<Row>)>,
    version: &'static str,
}

struct Row {
    name: String,
    help: &'static str,
    value: String,
    /// Whether the value stands as it was written.
    shown: bool,
    source: &'static str,
    set: bool,
}

impl Row {
    fn of(set: &InEffect) -> Self {
        let is_set = set.source != Source::Default;
        let (value, shown) = match (&set.value, set.source) {
            (Some(value), _) => (value.clone(), true),
            (None, Source::Sandbox) => ("not used".to_owned(), false),
            (None, Source::Default) => (set.key.default.to_owned(), false),
            // Reading a setting keeps no value that may not be shown.
            (None, _) => ("hidden".to_owned(), false),
        };
        Self { name: set.key.env(), help: set.key.help, value, shown, source: set.source.word(), set: is_set }
    }
}

/// `GET /admin/settings`
pub(crate) async fn show(Admin(visit): Admin) -> Response {
    let mut groups: Vec<(&'static str, Vec<Row>)> = Vec::new();
    for set in &visit.web.settings.in_effect {
        let row = Row::of(set);
        match groups.iter_mut().find(|(heading, _)| *heading == set.key.heading) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((set.key.heading, vec![row])),
        }
    }
    page(&SettingsPage {
        frame: visit.frame(Section::Admin),
        tabs: tabs("/admin/settings"),
        groups,
        version: env!("CARGO_PKG_VERSION"),
    })
}
