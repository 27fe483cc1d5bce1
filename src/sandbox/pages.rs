//! What people see. Every page says that it is not Teslascope, and works without JavaScript.

use std::fmt::Write as _;

use askama::Template;

use super::answer::Answer;
use super::authorize::Asked;
use super::config::{Account, TokensAlive};
use super::serve::Shared;
use crate::domain::scope::{Scope, ScopeSet};

/// Nothing from elsewhere, no script. `form-action` is left open: Chromium would apply it to the redirect to the client.
const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'";

/// One scope and what it allows.
struct ScopeLine {
    name: &'static str,
    meaning: &'static str,
}

fn lines(scopes: ScopeSet) -> Vec<ScopeLine> {
    scopes.iter().map(|scope: Scope| ScopeLine { name: scope.as_str(), meaning: scope.meaning() }).collect()
}

#[derive(Template)]
#[template(path = "sandbox/login.html")]
struct LoginPage<'a> {
    accounts: &'a [Account],
    token: &'a str,
}

#[derive(Template)]
#[template(path = "sandbox/consent.html")]
struct ConsentPage<'a> {
    client: &'a str,
    account: &'a str,
    scopes: Vec<ScopeLine>,
    asked: &'a str,
    token: &'a str,
    advice: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "sandbox/notice.html")]
struct NoticePage<'a> {
    heading: &'a str,
    text: &'a str,
}

struct CarLine {
    id: String,
    name: String,
    doing: &'static str,
    level: i64,
}

#[derive(Template)]
#[template(path = "sandbox/home.html")]
struct HomePage<'a> {
    client: &'a str,
    cars: Vec<CarLine>,
}

#[derive(Template)]
#[template(path = "sandbox/developers.html")]
struct DevelopersPage<'a> {
    account: &'a str,
    token: &'a str,
    scopes: Vec<ScopeLine>,
    made: Option<(&'a str, &'a str)>,
    alive: TokensAlive,
}

fn page(status: u16, template: &impl Template) -> Answer {
    match template.render() {
        Ok(html) => Answer::html(status, html)
            .replacing("Cache-Control", "no-store, private")
            .with("Content-Security-Policy", POLICY)
            .with("X-Content-Type-Options", "nosniff")
            .with("Referrer-Policy", "no-referrer"),
        Err(_) => Answer::html(500, oops(500, "Server Error")),
    }
}

fn name_of(shared: &Shared, account: u32) -> &str {
    shared.account(account).map_or("nobody", |account| &account.name)
}

/// Choose who you are.
pub(super) fn login(shared: &Shared, token: &str) -> Answer {
    page(200, &LoginPage { accounts: &shared.config.accounts, token })
}

/// Tick what you give.
pub(super) fn consent(
    shared: &Shared,
    account: u32,
    asked: &Asked,
    id: &str,
    token: &str,
    advice: Option<&str>,
) -> Answer {
    let status = if advice.is_some() { 422 } else { 200 };
    let scopes = lines(asked.scopes);
    let account = name_of(shared, account);
    page(status, &ConsentPage { client: &asked.client_name, account, scopes, asked: id, token, advice })
}

/// A page with one thing to say.
pub(super) fn notice(status: u16, heading: &str, text: &str) -> Answer {
    page(status, &NoticePage { heading, text })
}

/// A form that is not of this session, or too old.
pub(super) fn expired_form() -> Answer {
    notice(
        419,
        "Page expired",
        "This form belongs to another session or was used before. Go back to Keyfob and begin again.",
    )
}

/// The start.
pub(super) fn home(shared: &Shared) -> Answer {
    let cars = super::cars::all(shared).into_iter().map(|car| CarLine {
        id: car.model.id.to_owned(),
        name: car.model.name.to_owned(),
        doing: car.doing(),
        level: car.level(),
    });
    let client = shared.config.clients.first().map_or("", |client| &client.id);
    page(200, &HomePage { client, cars: cars.collect() })
}

/// Tokens and keys.
pub(super) fn developers(shared: &Shared, account: u32, token: &str, made: Option<(&str, &str)>) -> Answer {
    let alive = shared.memory.lock().tokens.alive(account, shared.now());
    let (account, scopes) = (name_of(shared, account), lines(ScopeSet::ALL));
    page(200, &DevelopersPage { account, token, scopes, made, alive })
}

/// The style sheet.
pub(super) fn style() -> Answer {
    Answer::new(200, "text/css; charset=utf-8", include_str!("sandbox.css"))
        .replacing("Cache-Control", "public, max-age=300")
        .with("X-Content-Type-Options", "nosniff")
}

/// A drawing of a car.
pub(super) fn picture(id: &str) -> Option<Answer> {
    let model = super::cars::MODELS.iter().find(|model| model.id == id)?;
    let svg = include_str!("car.svg").replace("{name}", model.name);
    let answer = Answer::new(200, "image/svg+xml", svg).with("Content-Security-Policy", "default-src 'none'");
    Some(answer.replacing("Cache-Control", "public, max-age=300"))
}

/// Text as it stands between tags or in an attribute.
pub(super) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#039;"),
            c => drop(out.write_char(c)),
        }
        out
    })
}

/// Symfony's error page, as the provider's framework shows it to whoever does not ask for JSON.
pub(super) fn oops(status: u16, text: &str) -> String {
    include_str!("oops.html").replace("{text}", text).replace("{status}", &status.to_string())
}
