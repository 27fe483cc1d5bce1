//! The test button of an app's page: the path to try, and the answer as it can be read.

use super::form::Field;
use super::frame::{Pill, Tone};
use super::problem::Problem;
use super::site::with_next;
use super::snippets::first_path;
use super::visit::{Refused, SignedIn};
use crate::broker::{TrialRefusal, TrialWish, Tried};
use crate::domain::app::App;
use crate::domain::id::AppId;

/// The longest path that is tried.
const LONGEST_PATH: usize = 512;
/// So much of an answer is shown, in characters: indented, it may be longer than it came.
const SHOWN: usize = 8 * 1024;

/// The test button, and the answer once it was pressed.
pub(crate) struct Trial {
    pub(crate) path: Field,
    pub(crate) answer: Option<Shown>,
}

/// An answer as a page shows it. All of it is text.
pub(crate) struct Shown {
    pub(crate) status: u16,
    pub(crate) pill: Pill,
    pub(crate) said: String,
    pub(crate) took: String,
    pub(crate) kind: String,
    pub(crate) body: String,
    pub(crate) cut: bool,
    /// The page of ours where the user can mend a refusal.
    pub(crate) mend: Option<String>,
}

impl Trial {
    /// The button of an app; none where there is no proxy to call by, or nothing to call as.
    pub(crate) fn of(visit: &SignedIn, app: &App) -> Option<Self> {
        let stands = visit.web.settings.proxy.is_some() && app.revoked_at.is_none();
        stands.then(|| Self { path: Field::with("path", first_path(app.scopes)), answer: None })
    }

    /// Presses it.
    pub(crate) async fn run(visit: &SignedIn, app: AppId, path: &str) -> Result<Self, Refused> {
        let settings = &visit.web.settings;
        let door = settings.proxy.as_ref().ok_or_else(Problem::not_found)?;
        let field = Field::with("path", path);
        if path.len() > LONGEST_PATH {
            return Ok(Self { path: field.wrong("The path is longer than 512 characters."), answer: None });
        }
        let wish = TrialWish { app, user: visit.user.id, path };
        match visit.web.broker.try_app(wish, door, &settings.routes).await {
            Ok(tried) => {
                let mut answer = Shown::of(&tried, &visit.web.broker.settings.public_url);
                // Back to the app, where it can be tried again.
                answer.mend = answer.mend.map(|way| {
                    if way.starts_with("/apps/") { way } else { with_next(way, Some(&format!("/apps/{app}"))) }
                });
                Ok(Self { path: field, answer: Some(answer) })
            }
            Err(TrialRefusal::NotFound) => Err(Problem::not_found().into()),
            Err(refusal) => {
                if let TrialRefusal::NoAnswer(cause) = &refusal {
                    tracing::warn!(error = %cause, "A call from an app's page got no answer");
                }
                Ok(Self { path: field.wrong(format!("The path {refusal}.")), answer: None })
            }
        }
    }
}

impl Shown {
    fn of(tried: &Tried, public_url: &str) -> Self {
        let (tone, words, said) = match (&tried.code, tried.status) {
            (Some(code), _) => (Tone::Bad, "refused", format!("Keyfob refused it: {code}.")),
            (None, 200..300) => (Tone::Good, "answered", "Teslascope answered.".to_owned()),
            (None, _) => (Tone::Wait, "answered", "Teslascope answered, with a refusal or a fault.".to_owned()),
        };
        let (body, more) = readable(&tried.body, &tried.content_type);
        Self {
            status: tried.status,
            pill: Pill { tone, words },
            said,
            took: format!("{} ms", tried.took.as_millis()),
            kind: tried.content_type.chars().take(80).collect(),
            cut: tried.cut || more,
            body,
            mend: tried.consent_url.as_deref().and_then(|url| here(url, public_url)),
        }
    }
}

/// The path of an address of ours.
fn here(address: &str, public_url: &str) -> Option<String> {
    super::site::local_path(address.strip_prefix(public_url)?).map(str::to_owned)
}

/// A body as text, with what JSON lies in it indented; and whether something was left out.
fn readable(body: &[u8], kind: &str) -> (String, bool) {
    let text = String::from_utf8_lossy(body);
    let text = if kind.split(';').next().is_some_and(|kind| kind.trim().ends_with("json")) {
        indented(&text)
    } else {
        text.into_owned()
    };
    let shown: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).take(SHOWN).collect();
    let more = shown.len() < text.len() && text.chars().count() > SHOWN;
    (shown, more)
}

/// JSON with a line for each member. It is not parsed, so that its order and its numbers stay as they came, and one that was
/// cut off is shown as far as it goes.
fn indented(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let mut signs = json.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth.min(16)));
    };
    while let Some(sign) = signs.next() {
        if in_text {
            out.push(sign);
            (in_text, escaped) = (escaped || sign != '"', !escaped && sign == '\\');
            continue;
        }
        match sign {
            ' ' | '\n' | '\r' | '\t' => {}
            '"' => {
                in_text = true;
                out.push(sign);
            }
            '{' | '[' => {
                out.push(sign);
                while signs.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(end) = signs.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(sign);
            }
            ',' => {
                out.push(sign);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_as_it_came_and_as_far_as_it_goes() {
        assert_eq!(
            indented(r#"{"b":1.0,"a":["x, \"y\": {",{}],"c":[ ] }"#),
            "{\n  \"b\": 1.0,\n  \"a\": [\n    \"x, \\\"y\\\": {\",\n    {}\n  ],\n  \"c\": []\n}"
        );
        assert_eq!(indented(r#"[{"a":"cut \\"#), "[\n  {\n    \"a\": \"cut \\\\");
        assert_eq!(indented("]]]"), "\n]\n]\n]");
    }

    #[test]
    fn a_body_is_text_and_no_longer_than_what_is_shown() {
        let (text, more) = readable("a\0\u{1b}[31m\nb".as_bytes(), "text/plain");
        assert_eq!((text.as_str(), more), ("a[31m\nb", false));
        assert!(readable(&[b'x'; SHOWN + 1], "").1);
        assert_eq!(readable(&[0xff, 0xfe], "image/png").0, "\u{fffd}\u{fffd}");
    }

    #[test]
    fn only_addresses_of_our_own_are_ways_to_mend() {
        let of = |address| here(address, "https://home.example/keyfob");
        assert_eq!(of("https://home.example/keyfob/connect?scope=x").as_deref(), Some("/connect?scope=x"));
        for foreign in
            ["https://evil.example/connect", "https://home.example/keyfob.evil/", "https://home.example/keyfob//e"]
        {
            assert_eq!(of(foreign), None);
        }
    }
}
