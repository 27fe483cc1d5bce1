//! Rules about size, words, templates and signs.

use super::source::Source;

/// The longest that a source file may be.
const LONGEST: usize = 400;

/// Files that should be split along a seam that has a name.
pub(crate) fn long_files(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        let lines = source.text.lines().count();
        if lines > LONGEST {
            faults.push(format!("{}: {lines} lines, {LONGEST} are the most", source.path));
        }
    }
    faults
}

/// Functions whose first word says nothing.
pub(crate) fn empty_verbs(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        for two in source.tokens().windows(2).filter(|two| two[0].word == "fn") {
            let name = &two[1].word;
            if ["get_", "do_", "handle_", "process_"].iter().any(|verb| name.starts_with(verb)) {
                faults.push(format!("{}:{}: `{name}`", source.path, two[1].line));
            }
        }
    }
    faults
}

/// What would need the content security policy to be loosened, or would let a string be read as markup.
pub(crate) fn unsafe_markup(templates: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for template in templates {
        for (number, line) in template.text.lines().enumerate() {
            if let Some(fault) = markup_fault(line) {
                faults.push(format!("{}:{}: {fault}", template.path, number + 1));
            }
        }
    }
    faults
}

fn markup_fault(line: &str) -> Option<&'static str> {
    let line = line.to_ascii_lowercase();
    let packed: String = line.chars().filter(|c| !c.is_whitespace()).collect();
    if packed.contains("|safe") || packed.contains("|escape(\"none\")") {
        return Some("switches escaping off");
    }
    if packed.contains("javascript:") {
        return Some("a script as an address");
    }
    if line.split("<script").skip(1).any(|tag| !tag.contains("src=") || !tag.contains("></script>")) {
        return Some("an inline script");
    }
    if line.contains("<style") {
        return Some("an inline style sheet");
    }
    for attribute in line.split_whitespace().filter(|word| word.contains('=')) {
        let name = attribute.split('=').next().unwrap_or_default().trim_start_matches(['"', '\'', '>']);
        if name == "style" {
            return Some("an inline style");
        }
        if name
            .strip_prefix("on")
            .is_some_and(|event| !event.is_empty() && event.bytes().all(|b| b.is_ascii_lowercase()))
        {
            return Some("an inline event handler");
        }
    }
    None
}

/// Pictures in place of words.
pub(crate) fn emoji(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        for (number, line) in source.text.lines().enumerate() {
            if let Some(sign) = line.chars().find(|c| is_emoji(*c)) {
                faults.push(format!("{}:{}: U+{:04X}", source.path, number + 1, u32::from(sign)));
            }
        }
    }
    faults
}

fn is_emoji(sign: char) -> bool {
    matches!(u32::from(sign), 0x1F000..=0x1FAFF | 0x2600..=0x27BF | 0x2B50 | 0x2B55 | 0xFE0F)
}
