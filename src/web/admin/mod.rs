//! `/admin`: everything of everyone. Every page and every act here needs the admin role, checked by [`super::visit::Admin`].

pub(crate) mod apps;
pub(crate) mod audit;
pub(crate) mod export;
pub(crate) mod grants;
pub(crate) mod keys;
pub(crate) mod review;
pub(crate) mod settings;
pub(crate) mod users;

/// One tab of the administration.
pub(crate) struct Tab {
    pub(crate) path: &'static str,
    pub(crate) name: &'static str,
    pub(crate) current: bool,
}

/// The tabs, seen from one of them.
pub(crate) fn tabs(here: &str) -> Vec<Tab> {
    [
        ("/admin/grants", "Grants"),
        ("/admin/review", "Review"),
        ("/admin/users", "Users"),
        ("/admin/apps", "Apps"),
        ("/admin/audit", "Audit"),
        ("/admin/live", "Live"),
        ("/admin/keys", "Keys"),
        ("/admin/settings", "Settings"),
    ]
    .into_iter()
    .map(|(path, name)| Tab { path, name, current: path == here })
    .collect()
}

/// An entry of a drop-down list.
pub(crate) struct Choice {
    pub(crate) name: &'static str,
    pub(crate) words: &'static str,
    pub(crate) chosen: bool,
}

impl Choice {
    pub(crate) fn plain(name: &'static str, chosen: &str) -> Self {
        Self { name, words: name, chosen: name == chosen }
    }
}

/// A query string of what is set, with its question mark; empty without any.
pub(crate) fn query(pairs: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        query.append_pair(name, value);
    }
    let query = query.finish();
    if query.is_empty() { query } else { format!("?{query}") }
}
