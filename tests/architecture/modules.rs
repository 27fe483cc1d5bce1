//! Rules about which module may know which.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, head};

/// The layers of the house, the lowest first; a module imports only from below its own. The three between the words and
/// the rest are plain types that anything above the words may use.
const LAYERS: &[&[&str]] = &[
    &["domain"],
    &["ambient"],
    &["config"],
    &["telemetry"],
    &["store", "vault", "oauth"],
    &["broker"],
    &["web", "api", "proxy", "sandbox"],
    &["app"],
    &["cli"],
    &["lib", "main"],
];

/// Crates that stay inside the modules beside them.
const KEPT_INSIDE: &[(&str, &[&str])] = &[
    ("sqlx", &["store"]),
    ("oauth2", &["oauth"]),
    ("reqwest", &["oauth"]),
    ("aes_gcm", &["vault"]),
    ("askama", &["web", "sandbox"]),
    ("tower_sessions", &["web"]),
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Every module has a place in the layers and imports only from lower ones.
pub(crate) fn imports_upward(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        let Some(own) = layer(source.module()) else {
            faults.push(format!("{}: `{}` is in no layer", source.path, source.module()));
            continue;
        };
        for other in source.reaches() {
            if layer(&other).is_some_and(|other| other >= own) {
                faults.push(format!("{}: `{}` imports `{other}`", source.path, source.module()));
            }
        }
    }
    faults
}

/// Rule 1: no two modules import each other.
pub(crate) fn mutual_imports(sources: &[Source]) -> Vec<String> {
    let mut imports: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        imports.entry(source.module()).or_default().extend(source.reaches());
    }
    let mut faults = Vec::new();
    for (module, others) in &imports {
        for other in others {
            let back = imports.get(other.as_str()).is_some_and(|theirs| theirs.contains(*module));
            if back && *module < other.as_str() {
                faults.push(format!("`{module}` and `{other}` import each other"));
            }
        }
    }
    faults
}

/// Rule 2: `Store` is opened by the wiring only.
pub(crate) fn store_opened_outside_the_wiring(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        if matches!(source.module(), "app" | "store") || is_test_file(&source.path) {
            continue;
        }
        let tokens = source.tokens();
        for three in tokens.windows(3) {
            if three[0].word == "Store" && three[1].word == "::" && three[2].word == "open" {
                faults.push(format!("{}:{}: opens the store", source.path, three[0].line));
            }
        }
    }
    faults
}

/// A file that holds only tests.
fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// Rule 3: a third-party type does not leave its module.
pub(crate) fn crates_outside_their_module(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        for token in source.tokens() {
            let kept = KEPT_INSIDE.iter().find(|(name, _)| *name == token.word);
            if let Some((name, homes)) = kept.filter(|(_, homes)| !homes.contains(&source.module())) {
                faults.push(format!("{}:{}: `{name}` belongs in {}", source.path, token.line, homes.join(", ")));
            }
        }
    }
    faults
}

/// Rule 4: plain secrets never enter the store.
pub(crate) fn plain_secrets_in_the_store(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources.iter().filter(|source| source.module() == "store") {
        for token in source.tokens() {
            if matches!(token.word.as_str(), "Secret" | "expose" | "expose_str") {
                faults.push(format!("{}:{}: `{}` in the store", source.path, token.line, token.word));
            }
        }
    }
    faults
}

/// Rule 5: no transaction, connection or row of the database crosses the store's boundary.
pub(crate) fn transactions_that_leave_the_store(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources.iter().filter(|source| source.module() == "store") {
        let tokens = source.tokens();
        let starts = tokens.windows(2).enumerate().filter(|(_, two)| {
            two[0].word == "pub" && matches!(two[1].word.as_str(), "fn" | "async" | "const" | "type")
        });
        for (start, _) in starts {
            let signature = tokens[start..].iter().take_while(|token| !matches!(token.word.as_str(), "{" | ";"));
            for token in signature {
                let word = token.word.as_str();
                if word.contains("Transaction") || word.contains("Connection") || word.contains("Pool") {
                    faults.push(format!("{}:{}: `{word}` in a public signature", source.path, token.line));
                }
            }
        }
    }
    faults
}

/// Rule 6: pages and proxy never meet.
pub(crate) fn pages_and_proxy_that_meet(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for (one, other) in [("web", "proxy"), ("proxy", "web"), ("api", "proxy"), ("proxy", "api")] {
        for source in sources.iter().filter(|source| source.module() == one) {
            if source.reaches().iter().any(|module| module == other) {
                faults.push(format!("{}: `{one}` knows `{other}`", source.path));
            }
        }
    }
    faults
}

/// Rule 7: a thing without a home has not been named yet.
pub(crate) fn modules_without_a_name(sources: &[Source]) -> Vec<String> {
    const NAMELESS: &[&str] =
        &["util", "utils", "common", "helpers", "helper", "types", "models", "services", "manager"];
    let mut faults = Vec::new();
    for source in sources {
        for part in source.path.split('/') {
            let part = part.strip_suffix(".rs").unwrap_or(part);
            if NAMELESS.contains(&part) {
                faults.push(format!("{}: `{part}` says nothing", source.path));
            }
        }
        for two in source.tokens().windows(2) {
            if two[0].word == "mod" && NAMELESS.contains(&two[1].word.as_str()) {
                faults.push(format!("{}:{}: `mod {}` says nothing", source.path, two[1].line, two[1].word));
            }
        }
    }
    faults
}

/// Rule 8: a trait has two implementations, or it is a struct. An implementation made by a macro of the same file counts
/// as two.
pub(crate) fn traits_with_one_implementation(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        for two in source.tokens().windows(2).filter(|two| two[0].word == "trait") {
            let name = &two[1].word;
            let count: usize = sources.iter().map(|source| implementations(source, name)).sum();
            if count < 2 {
                faults.push(format!("{}:{}: `{name}` has {count} implementation(s)", source.path, two[1].line));
            }
        }
    }
    faults
}

fn implementations(source: &Source, name: &str) -> usize {
    let tokens = source.tokens();
    let mut count = 0;
    for (start, token) in tokens.iter().enumerate() {
        if token.word != "impl" {
            continue;
        }
        let head: Vec<&str> =
            tokens[start..].iter().take_while(|token| token.word != "{").map(|token| token.word.as_str()).collect();
        let names_it = head.windows(2).any(|two| two[0] == name && (two[1] == "for" || two[1] == "<"));
        if names_it && head.contains(&"for") {
            count += if head.contains(&"$") { 2 } else { 1 };
        }
    }
    count
}

/// Rule 9: the sandbox is the other side of the wire.
pub(crate) fn what_the_sandbox_knows(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources.iter().filter(|source| source.module() == "sandbox") {
        for path in source.paths() {
            let allowed = matches!(head(&path), "sandbox" | "ambient") || path.starts_with("domain::scope");
            // The time is what the clock tells; the clock is of no use without it.
            if !allowed && !path.starts_with("domain::time") {
                faults.push(format!("{}: the sandbox imports `{path}`", source.path));
            }
        }
    }
    faults
}
