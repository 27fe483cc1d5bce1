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

/// The rows that say what pages, administrators and operators need, of the requirements that the tables are about.
const ROWS: [(&str, &[u32]); 4] = [
    ("CL", &[1, 2, 3, 4, 5, 20, 21, 22, 23, 24, 25, 26, 27, 28, 40, 41, 42, 43, 44, 45]),
    ("SE", &[1, 2, 3, 4, 5, 6, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 34, 50, 51, 52, 53, 54, 55, 90, 91, 92]),
    ("AD", &[1, 2, 3, 20, 21, 22, 40, 41, 42]),
    ("OP", &[1, 2, 3, 4, 5, 6, 20, 21, 22, 23, 24, 90]),
];

#[test]
fn every_requirement_has_its_row_and_every_test_that_a_row_names_exists() {
    let tables = document("tests/browser/README.md") + &document("tests/api/README.md");
    for (group, numbers) in ROWS {
        for number in numbers {
            assert!(tables.contains(&format!("\n| {group}-{number:02}")), "{group}-{number:02} is in no table");
        }
    }
    let mut sources = String::new();
    let mut folders = vec!["src".to_owned(), "tests".to_owned()];
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.file_type().unwrap().is_dir() {
                if !name.ends_with("node_modules") {
                    folders.push(name);
                }
            } else if [".rs", ".py", ".mjs"].iter().any(|kind| name.ends_with(kind)) {
                sources += &document(&name);
            }
        }
    }
    let rows: Vec<&str> = tables.lines().filter(|line| line.starts_with("| ") && line.contains('-')).collect();
    let mut named = 0;
    for row in rows {
        for name in row.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() > 1) {
            assert!(
                sources.contains(&format!("fn {name}(")) || sources.contains(&format!("def {name}(")),
                "there is no test {name}: {row}"
            );
            named += 1;
        }
        for name in row.split('"').skip(1).step_by(2) {
            let begins = |sign: &str| sources.contains(&format!("test({sign}{name}"));
            assert!(begins("'") || begins("`"), "run.mjs has no test “{name}”: {row}");
        }
    }
    assert!(named > 100, "{named}");
}
