//! What the documents say is held against the program.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use keyfob::config::keys;

fn document(name: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_readme_lists_every_setting_as_the_program_has_it() {
    let mut table = String::from("| environment | default | meaning |\n| --- | --- | --- |\n");
    for key in keys::ALL {
        let help = key.help.replace('|', "\\|");
        writeln!(table, "| `{}` | `{}` | {help} |", key.env(), key.default).unwrap();
    }
    let readme = document("README.md");
    let after = readme.split_once("src/config/keys.rs -->\n").unwrap().1;
    let written = after.split_once("<!-- settings end -->").unwrap().0;
    assert!(written == table, "the table in README.md should be:\n{table}");
}

#[test]
fn every_variable_in_the_documents_is_a_setting() {
    let known: BTreeSet<String> = keys::ALL.iter().map(keys::Key::env).collect();
    for name in ["README.md", "docs/docker.md", "docs/systemd.md", "docs/reverse-proxy.md", "docs/operations.md"] {
        let text = document(name);
        let mut rest = text.as_str();
        while let Some(at) = rest.find("KEYFOB_") {
            let length = rest[at..].find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(rest.len() - at);
            let variable = &rest[at..at + length];
            // What the notify command gets is no setting.
            let given = variable == "KEYFOB_" || variable.starts_with("KEYFOB_EVENT_");
            assert!(known.contains(variable) || given, "{name}: {variable}");
            rest = &rest[at + length..];
        }
    }
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md", "docs/docker.md", "docs/operations.md"]
    {
        let folder = root.join(name).parent().unwrap().to_owned();
        for link in document(name).split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if !target.is_empty() && !target.contains("://") {
                assert!(folder.join(target).exists(), "{name}: {target}");
            }
        }
    }
}

#[test]
fn the_architecture_stays_short_and_names_every_module() {
    let text = document("ARCHITECTURE.md");
    assert!(text.lines().count() <= 150);
    let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(src).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.strip_suffix(".rs").unwrap_or(&name);
        if !matches!(module, "lib" | "main") {
            assert!(text.contains(&format!("**{module}**")), "{module}");
        }
    }
}
