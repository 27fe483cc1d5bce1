//! The house rules that a program can check, and for each the proof that its check can fail.

#![expect(clippy::expect_used, reason = "a test that can't go on has failed")]

#[path = "architecture/modules.rs"]
mod modules;
#[path = "architecture/named.rs"]
mod named;
#[path = "architecture/source.rs"]
mod source;
#[path = "architecture/words.rs"]
mod words;

use source::{Source, files};

type Rule = fn(&[Source]) -> Vec<String>;

/// Fails with every place that breaks the rule.
fn holds(rule: Rule, sources: &[Source]) {
    assert!(!sources.is_empty(), "nothing was read");
    let faults = rule(sources);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The rule finds exactly so many faults in a sample that was written to break it.
fn finds(rule: Rule, expected: usize, sample: &[(&str, &str)]) {
    let sources: Vec<Source> = sample.iter().map(|(path, text)| Source::new(path, text)).collect();
    let faults = rule(&sources);
    assert_eq!(faults.len(), expected, "{faults:?}");
}

fn rust() -> Vec<Source> {
    files("src", ".rs")
}

#[test]
fn a_module_imports_only_from_below() {
    holds(modules::imports_upward, &rust());
}

#[test]
fn an_import_from_above_or_beside_is_seen() {
    finds(modules::imports_upward, 1, &[("src/store/users.rs", "use crate::broker::Broker;")]);
    finds(modules::imports_upward, 2, &[("src/domain/id.rs", "use crate::{store, vault::{Vault, KeyRing}};")]);
    finds(modules::imports_upward, 1, &[("src/web/mod.rs", "fn f() { super::app::open() }")]);
    finds(modules::imports_upward, 1, &[("src/web/home.rs", "mod tests { use super::super::super::cli::run; }")]);
    finds(modules::imports_upward, 1, &[("src/store.rs", "use crate::vault::Vault as Safe;")]);
    finds(modules::imports_upward, 1, &[("src/novel.rs", "")]);
    let fine = "// crate::web\nuse crate::domain::{id, scope::Scope};\nconst A: &str = \"crate::web\"; use super::app;";
    finds(modules::imports_upward, 0, &[("src/store/apps.rs", fine)]);
}

#[test]
fn no_two_modules_import_each_other() {
    holds(modules::mutual_imports, &rust());
}

#[test]
fn two_modules_that_import_each_other_are_seen() {
    finds(modules::mutual_imports, 1, &[("src/a.rs", "use crate::b::C;"), ("src/b/d.rs", "use super::super::a;")]);
    finds(modules::mutual_imports, 0, &[("src/a.rs", "use crate::b::C;"), ("src/b/d.rs", "use super::a;")]);
}

#[test]
fn the_store_is_opened_by_the_wiring_only() {
    holds(modules::store_opened_outside_the_wiring, &rust());
}

#[test]
fn a_store_opened_elsewhere_is_seen() {
    finds(modules::store_opened_outside_the_wiring, 1, &[("src/cli/keys.rs", "let s = Store::open(path).await?;")]);
    finds(modules::store_opened_outside_the_wiring, 0, &[("src/app/open.rs", "let s = Store::open(path).await?;")]);
}

#[test]
fn a_third_party_type_stays_in_its_module() {
    holds(modules::crates_outside_their_module, &rust());
}

#[test]
fn a_third_party_type_outside_its_module_is_seen() {
    let outside = [
        ("src/web/home.rs", "fn f() -> Result<(), sqlx::Error> {}"),
        ("src/broker/begin.rs", "use oauth2::AccessToken;"),
        ("src/proxy/forward.rs", "use reqwest as r;"),
        ("src/store/users.rs", "use aes_gcm::Aes256Gcm;"),
        ("src/api/mod.rs", "#[derive(askama::Template)] struct A;"),
        ("src/app.rs", "use {tower_sessions::Session};"),
    ];
    finds(modules::crates_outside_their_module, 6, &outside);
    finds(modules::crates_outside_their_module, 0, &[("src/web/a.rs", "// sqlx\nlet a = \"reqwest\"; /* oauth2 */")]);
}

#[test]
fn plain_secrets_never_enter_the_store() {
    holds(modules::plain_secrets_in_the_store, &rust());
}

#[test]
fn a_plain_secret_in_the_store_is_seen() {
    finds(modules::plain_secrets_in_the_store, 1, &[("src/store/apps.rs", "fn keep(key: &Secret<AppKey>) {}")]);
    finds(modules::plain_secrets_in_the_store, 0, &[("src/broker/apps.rs", "fn keep(key: &Secret<AppKey>) {}")]);
}

#[test]
fn no_transaction_crosses_the_stores_boundary() {
    holds(modules::transactions_that_leave_the_store, &rust());
}

#[test]
fn a_transaction_that_leaves_the_store_is_seen() {
    let rule = modules::transactions_that_leave_the_store;
    finds(rule, 1, &[("src/store/mod.rs", "pub async fn begin(&self) -> Transaction<'_, Sqlite> { 1 }")]);
    finds(rule, 0, &[("src/store/mod.rs", "pub(super) fn begin() -> Transaction { } pub fn count() -> u64 { Pool }")]);
}

#[test]
fn pages_and_proxy_never_meet() {
    holds(modules::pages_and_proxy_that_meet, &rust());
}

#[test]
fn pages_that_know_the_proxy_are_seen() {
    finds(modules::pages_and_proxy_that_meet, 1, &[("src/web/a.rs", "use crate::proxy::Refusal;")]);
    finds(modules::pages_and_proxy_that_meet, 1, &[("src/proxy/a.rs", "use crate::{web, broker};")]);
}

#[test]
fn every_module_has_a_name_that_says_something() {
    holds(modules::modules_without_a_name, &rust());
}

#[test]
fn a_module_without_a_name_is_seen() {
    finds(modules::modules_without_a_name, 2, &[("src/web/util.rs", ""), ("src/a.rs", "mod helpers { }")]);
}

#[test]
fn a_trait_has_two_implementations() {
    holds(modules::traits_with_one_implementation, &rust());
}

#[test]
fn a_trait_with_one_implementation_is_seen() {
    let rule = modules::traits_with_one_implementation;
    finds(rule, 1, &[("src/a.rs", "trait Keep { } impl Keep for A { }")]);
    finds(rule, 0, &[("src/a.rs", "trait Keep { } impl Keep for A { }"), ("src/b.rs", "impl<T> Keep for B<T> { }")]);
}

#[test]
fn the_sandbox_knows_nothing_of_ours() {
    holds(modules::what_the_sandbox_knows, &rust());
}

#[test]
fn a_sandbox_that_knows_something_of_ours_is_seen() {
    let sample =
        "use crate::domain::{scope::Scope, secret::Secret}; use crate::ambient::Clock; use crate::oauth::Client;";
    finds(modules::what_the_sandbox_knows, 2, &[("src/sandbox/mod.rs", sample)]);
}

#[test]
fn no_source_file_is_too_long() {
    let mut sources = rust();
    sources.extend(files("tests", ".rs"));
    holds(words::long_files, &sources);
}

#[test]
fn a_source_file_that_is_too_long_is_seen() {
    finds(words::long_files, 1, &[("src/a.rs", &"\n".repeat(401))]);
    finds(words::long_files, 0, &[("src/a.rs", &"\n".repeat(400))]);
}

#[test]
fn no_function_begins_with_an_empty_verb() {
    let mut sources = rust();
    sources.extend(files("tests", ".rs"));
    holds(words::empty_verbs, &sources);
}

#[test]
fn a_function_with_an_empty_verb_is_seen() {
    finds(words::empty_verbs, 2, &[("src/a.rs", "fn get_user() {} pub async fn handle_it() {} fn forget_all() {}")]);
}

#[test]
fn templates_need_no_loosened_policy() {
    holds(words::unsafe_markup, &files("templates", ".html"));
    holds(words::unsafe_markup, &files("static", ".svg"));
}

#[test]
fn markup_that_needs_a_loosened_policy_is_seen() {
    for bad in [
        "{{ name | safe }}",
        "<script>alert(1)</script>",
        "<script src=\"a.js\">alert(1)</script>",
        "<style>p{}</style>",
        "<p style=\"color:red\">",
        "<a href=\"javascript:x()\">",
        "<a class=b onclick=\"x()\">",
    ] {
        finds(words::unsafe_markup, 1, &[("templates/a.html", bad)]);
    }
    finds(words::unsafe_markup, 0, &[("templates/a.html", "<script src=\"a.js\" defer></script> <p>on = style</p>")]);
}

#[test]
fn nothing_is_said_with_pictures() {
    let mut sources = rust();
    for (folder, ending) in
        [("templates", ".html"), ("static", ""), ("tests", ".rs"), ("docs", ".md"), ("packaging", "")]
    {
        sources.extend(files(folder, ending));
    }
    holds(words::emoji, &sources);
}

#[test]
fn a_picture_is_seen() {
    finds(words::emoji, 1, &[("src/a.rs", "// done \u{1F680}\n")]);
    finds(words::emoji, 0, &[("src/a.rs", "// \u{2192} \u{00D7} \u{2026}\n")]);
}

fn page(path: &str) -> Source {
    Source::new(path, &std::fs::read_to_string(path).expect("a page that can be read"))
}

#[test]
fn the_tables_of_the_suites_name_tests_that_are_there() {
    let mut sources = rust();
    sources.extend(files("tests", ".rs"));
    let suites = std::fs::read_dir("tests")
        .expect("the tests")
        .filter_map(|entry| entry.ok()?.path().into_os_string().into_string().ok());
    let tables: Vec<_> =
        suites.map(|suite| format!("{suite}/README.md")).filter(|table| std::path::Path::new(table).exists()).collect();
    assert!(tables.len() >= 3, "{tables:?}");
    sources.extend(tables.iter().map(|table| page(table)));
    holds(named::tests_that_are_not_there, &sources);
}

#[test]
fn a_test_that_is_named_and_not_there_is_seen() {
    let test = ("tests/it/web.rs", "#[tokio::test(flavor = \"x\")]\nasync fn a_page_is_there() {}");
    let named =
        "| a | `web::a_page_is_there`, `other::a_page_is_there`, `web::b`, `web::*`, `c::*`, `tests/it/d.rs`, `x y` |";
    finds(named::tests_that_are_not_there, 4, &[test, ("tests/a/README.md", named)]);
}

#[test]
fn the_diagram_of_a_refresh_shows_every_outcome() {
    let mut sources = rust();
    sources.push(page("ARCHITECTURE.md"));
    holds(named::outcomes_not_in_the_diagram, &sources);
}

#[test]
fn an_outcome_that_the_diagram_does_not_show_is_seen() {
    let outcomes =
        ("src/a.rs", "pub enum RefreshOutcome {\n    /// a\n    NotSent,\n    Sent {\n        at: u8,\n    },\n}");
    let diagram = ("ARCHITECTURE.md", "## A refresh\n```\n sent\n```\nnot_sent");
    finds(named::outcomes_not_in_the_diagram, 1, &[outcomes, diagram]);
}
