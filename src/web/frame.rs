//! What every page has around it: navigation, who is signed in, the form token, one notice.

use askama::Template;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};

use super::assets;
use super::site::Site;
use crate::domain::grant::{Grant, GrantStatus};
use crate::domain::user::{Role, User};

/// What stands around a page.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) base: String,
    pub(crate) csrf: String,
    pub(crate) notice: Option<Notice>,
    user: Option<(String, Role)>,
    section: Section,
}

/// Where in the navigation a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Home,
    Connect,
    Apps,
    Live,
    Admin,
    Account,
}

/// One entry of the navigation.
pub(crate) struct Item {
    pub(crate) path: &'static str,
    pub(crate) icon: &'static str,
    pub(crate) name: &'static str,
    pub(crate) current: bool,
}

impl Frame {
    /// A page without navigation and without a form.
    pub(crate) fn alone(site: &Site) -> Self {
        Self { base: site.base().to_owned(), csrf: String::new(), notice: None, user: None, section: Section::Home }
    }

    pub(crate) fn new(site: &Site, csrf: String, user: Option<&User>, section: Section) -> Self {
        let user = user.map(|user| (user.name.as_str().to_owned(), user.role));
        Self { csrf, user, section, ..Self::alone(site) }
    }

    pub(crate) fn noticing(mut self, notice: Option<Notice>) -> Self {
        self.notice = notice;
        self
    }

    pub(crate) fn asset(&self, name: &str) -> String {
        assets::path(&self.base, name)
    }

    pub(crate) fn nav(&self) -> Vec<Item> {
        let item = |section, path, icon, name| Item { path, icon, name, current: self.section == section };
        let mut items = vec![
            item(Section::Home, "/", "home", "Home"),
            item(Section::Connect, "/connect", "connect", "Connect"),
            item(Section::Apps, "/apps", "apps", "Apps"),
            item(Section::Live, "/live", "live", "Live"),
        ];
        if self.is_admin() {
            items.push(item(Section::Admin, "/admin/grants", "admin", "Admin"));
        }
        items
    }

    pub(crate) fn is_admin(&self) -> bool {
        matches!(self.user, Some((_, Role::Admin)))
    }

    pub(crate) fn user_name(&self) -> &str {
        self.user.as_ref().map_or("", |(name, _)| name)
    }

    pub(crate) fn role(&self) -> &'static str {
        match self.user {
            Some((_, Role::Admin)) => "Administrator",
            _ => "Member",
        }
    }

    pub(crate) fn initial(&self) -> String {
        self.user_name().chars().next().map(String::from).unwrap_or_default()
    }
}

/// How good a thing is, as a CSS class; the words beside it say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Tone {
    Info,
    Good,
    Wait,
    Bad,
    Off,
}

impl Tone {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Good => "good",
            Self::Wait => "wait",
            Self::Bad => "bad",
            Self::Off => "off",
        }
    }
}

impl std::fmt::Display for Tone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One message at the top of a page.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Notice {
    pub(crate) tone: Tone,
    pub(crate) text: String,
}

impl Notice {
    pub(crate) fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self { tone, text: text.into() }
    }

    pub(crate) fn icon(&self) -> &'static str {
        self.tone.as_str()
    }

    /// Faults are announced at once, all else when the reader pauses.
    pub(crate) fn role(&self) -> &'static str {
        if self.tone == Tone::Bad { "alert" } else { "status" }
    }
}

/// A state as a mark: colour, shape and words.
#[derive(Clone, Debug)]
pub(crate) struct Pill {
    pub(crate) tone: Tone,
    pub(crate) words: &'static str,
}

impl Pill {
    pub(crate) fn of(grant: &Grant) -> Self {
        let (tone, words) = match grant.status {
            GrantStatus::Active => (Tone::Good, "active"),
            GrantStatus::Refreshing => (Tone::Good, "refreshing"),
            GrantStatus::Uncertain => (Tone::Wait, "uncertain"),
            GrantStatus::NeedsConsent => (Tone::Bad, "needs consent"),
            GrantStatus::Disconnected => (Tone::Off, "disconnected"),
        };
        Self { tone, words }
    }

    pub(crate) fn icon(&self) -> &'static str {
        self.tone.as_str()
    }
}

/// A page as a response.
pub(crate) fn page(template: &impl Template) -> Response {
    page_with(StatusCode::OK, template)
}

/// A page as a response with another status.
pub(crate) fn page_with(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(mut html) => {
            // The title is what is heard first of a page.
            if status.is_client_error() {
                html = html.replacen("<title>", "<title>Error: ", 1);
            }
            (status, [(CONTENT_TYPE, "text/html; charset=utf-8")], Body::from(html)).into_response()
        }
        Err(error) => {
            tracing::error!(error.cause = %error, "A page's template failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
