//! Reads Rust sources as far as the rules need: words, paths and the modules that a path reaches.

use std::path::{Path, PathBuf};

/// One file of the tree, by its path from the package's root.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The module under `src/` that the file belongs to: `store` for `src/store.rs` and `src/store/users.rs`.
    pub(crate) fn module(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let first = below.split('/').next().unwrap_or(below);
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// How many modules deep the file is: 1 for `src/store.rs` and `src/store/mod.rs`, 2 for `src/store/users.rs`.
    fn depth(&self) -> usize {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let below = below.strip_suffix("/mod.rs").or_else(|| below.strip_suffix(".rs")).unwrap_or(below);
        if matches!(below, "lib" | "main") { 0 } else { below.split('/').count() }
    }

    /// The file without comments and without what stands in quotes, word by word.
    pub(crate) fn tokens(&self) -> Vec<Token> {
        tokens(&self.text)
    }

    /// Every path that leads out of the crate's root, without `crate`: `store::users::Row`. Groups are taken apart,
    /// and `super` is followed when it climbs that far.
    pub(crate) fn paths(&self) -> Vec<String> {
        let tokens = self.tokens();
        let mut found = Vec::new();
        let mut blocks: Vec<bool> = Vec::new();
        let mut i = 0;
        while i < tokens.len() {
            match tokens[i].word.as_str() {
                "{" => {
                    // `mod tests {` opens a module, any other brace does not.
                    blocks.push(i >= 2 && tokens[i - 2].word == "mod");
                    i += 1;
                }
                "}" => {
                    blocks.pop();
                    i += 1;
                }
                "crate" | "super" | "keyfob" if i == 0 || tokens[i - 1].word != "::" => {
                    let depth = self.depth() + blocks.iter().filter(|module| **module).count();
                    i = self.path_at(&tokens, i, depth, &mut found);
                }
                _ => i += 1,
            }
        }
        found
    }

    fn path_at(&self, tokens: &[Token], start: usize, depth: usize, found: &mut Vec<String>) -> usize {
        let mut i = start;
        let mut climbed = 0;
        while tokens[i].word == "super" && next(tokens, i) == "::" {
            climbed += 1;
            i += 2;
        }
        let from_root = match tokens[start].word.as_str() {
            "crate" => true,
            // The library's name, as the program's `main.rs` says it.
            "keyfob" => self.depth() == 0,
            _ => climbed >= depth,
        };
        if tokens[start].word != "super" {
            if next(tokens, i) != "::" {
                return i + 1;
            }
            i += 2;
        }
        let mut paths = Vec::new();
        let end = tree(tokens, i, "", &mut paths);
        if from_root {
            found.extend(paths);
        }
        end.max(start + 1)
    }

    /// The top-level modules that the file reaches, its own left out.
    pub(crate) fn reaches(&self) -> Vec<String> {
        let mut modules: Vec<String> = self.paths().iter().map(|path| head(path).to_owned()).collect();
        modules.sort();
        modules.dedup();
        modules.retain(|module| module != self.module());
        modules
    }
}

/// The first segment of a path.
pub(crate) fn head(path: &str) -> &str {
    path.split("::").next().unwrap_or(path)
}

/// One word or sign, and the line it stands in.
#[derive(Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) word: String,
    pub(crate) line: usize,
}

fn next(tokens: &[Token], i: usize) -> &str {
    tokens.get(i + 1).map_or("", |token| token.word.as_str())
}

/// Takes apart `a::b`, `a::{b, c::d}` and `a::*` from `start`; answers where it ends.
fn tree(tokens: &[Token], start: usize, prefix: &str, found: &mut Vec<String>) -> usize {
    let mut path = prefix.to_owned();
    let mut i = start;
    while let Some(token) = tokens.get(i) {
        if token.word == "{" {
            i += 1;
            while let Some(token) = tokens.get(i) {
                match token.word.as_str() {
                    "}" => return i + 1,
                    "," => i += 1,
                    _ => i = tree(tokens, i, &path, found).max(i + 1),
                }
            }
            return i;
        }
        if !path.is_empty() {
            path.push_str("::");
        }
        path.push_str(&token.word);
        if next(tokens, i) != "::" {
            found.push(path);
            i += 1;
            if tokens.get(i).is_some_and(|token| token.word == "as") {
                i += 2;
            }
            return i;
        }
        i += 2;
    }
    i
}

/// Splits source text into words and signs; comments, strings, characters and lifetimes are left out.
fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let (mut i, mut line) = (0, 1);
    while i < bytes.len() {
        let from = i;
        let rest = &text[i..];
        if rest.starts_with("//") {
            i += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            i += rest.find("*/").map_or(rest.len(), |end| end + 2);
        } else if let Some(length) = raw_string(rest) {
            i += length;
        } else if bytes[i] == b'"' {
            i += quoted(rest);
        } else if bytes[i] == b'\'' {
            i += character_or_lifetime(rest);
        } else if bytes[i].is_ascii_alphanumeric() || bytes[i] == b'_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            found.push(Token { word: rest[..length].to_owned(), line });
            i += length;
        } else if rest.starts_with("::") {
            found.push(Token { word: "::".to_owned(), line });
            i += 2;
        } else {
            let sign = rest.chars().next().unwrap_or(' ');
            if !sign.is_whitespace() {
                found.push(Token { word: sign.to_string(), line });
            }
            i += sign.len_utf8();
        }
        line += text[from..i].matches('\n').count();
    }
    found
}

fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(rest.len() - body.len() + length)
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn character_or_lifetime(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some(_)) => chars.find(|(_, c)| *c == '\'').map_or(rest.len(), |(at, _)| at + 1),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

/// Every file below a folder of the package whose name ends so, in order.
pub(crate) fn files(folder: &str, ending: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    collect(&root.join(folder), &mut found);
    found.retain(|path| path.to_string_lossy().ends_with(ending));
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a source file is text");
            let below = path.strip_prefix(root).expect("it lies below the root");
            Source { path: below.to_string_lossy().replace('\\', "/"), text }
        })
        .collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if !path.is_dir() {
            found.push(path);
        } else if !path.ends_with("node_modules") && !path.ends_with("target") {
            collect(&path, found);
        }
    }
}
