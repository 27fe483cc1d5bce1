//! What the documents name must be there: tests in the tables of the suites, outcomes in the diagram of a refresh.

use super::source::Source;

/// Tests and files that a table names and that are not there.
pub(crate) fn tests_that_are_not_there(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for page in sources.iter().filter(|source| source.path.strip_suffix(".md").is_some()) {
        for line in page.text.lines().filter(|line| line.starts_with('|')) {
            for named in line.split('`').skip(1).step_by(2) {
                let there = if named.strip_suffix(".rs").is_some() {
                    sources.iter().any(|source| source.path == named)
                } else if is_path(named) {
                    sources.iter().any(|source| has(source, named))
                } else {
                    continue;
                };
                if !there {
                    faults.push(format!("{}: there is no `{named}`", page.path));
                }
            }
        }
    }
    faults
}

fn is_path(named: &str) -> bool {
    let plain =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b"_0123456789".contains(&b));
    let Some((modules, name)) = named.rsplit_once("::") else { return false };
    modules.split("::").all(plain) && (name == "*" || plain(name))
}

/// Whether a file holds the test: by its name, and by the last module that is not `tests`, which is the file or its folder.
fn has(source: &Source, named: &str) -> bool {
    let Some((modules, name)) = named.rsplit_once("::") else { return false };
    let module = modules.rsplit("::").find(|module| *module != "tests");
    let path = source.path.strip_suffix(".rs").unwrap_or("");
    if !module.is_none_or(|module| path.split('/').any(|part| part == module)) {
        return false;
    }
    let tests = source.text.split("#[test]").skip(1).chain(source.text.split("#[tokio::test").skip(1));
    let mut found = tests.filter_map(|text| text.split_once("fn ")?.1.split('(').next());
    if name == "*" { found.next().is_some() } else { found.any(|found| found == name) }
}

/// Outcomes of a refresh that the diagram does not show.
pub(crate) fn outcomes_not_in_the_diagram(sources: &[Source]) -> Vec<String> {
    let diagram = sources.iter().find(|source| source.path == "ARCHITECTURE.md").map_or("", |page| {
        let after = page.text.split_once("## A refresh").map_or("", |(_, after)| after);
        after.split("```").nth(1).unwrap_or("")
    });
    let words = |word: &str| diagram.split(|c: char| !c.is_ascii_lowercase() && c != '_').any(|found| found == word);
    let Some(outcomes) = sources.iter().find_map(|source| source.text.split_once("pub enum RefreshOutcome {")) else {
        return vec!["there is no RefreshOutcome".to_owned()];
    };
    let variants = outcomes.1.split("\n}").next().unwrap_or("").lines().filter_map(|line| {
        let name = line.strip_prefix("    ")?;
        let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
        name.starts_with(|c: char| c.is_ascii_uppercase()).then(|| snake(&name[..end]))
    });
    variants.filter(|word| !words(word)).map(|word| format!("the diagram does not show `{word}`")).collect()
}

fn snake(name: &str) -> String {
    let mut word = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(c.to_ascii_lowercase());
    }
    word
}
