//! Rules on the text of single files: length, the opening doc of a module, unfinished work, tests
//! switched off without a word, paths of one machine.

use super::{Finding, tree::File};

const MOST_LINES: usize = 600;
const CODE: &[&str] = &["rs", "cpp", "hpp", "h", "py", "sh", "proto"];

/// Words that mark unfinished work, put together so that this file does not hold them.
pub(super) const UNFINISHED: [&str; 3] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
pub(super) const UNWRITTEN: [&str; 2] = [concat!("todo", "!("), concat!("unimple", "mented!(")];
pub(super) const IGNORED: &str = concat!("#[ig", "nore");
/// Where one machine keeps things: nobody else finds them there.
pub(super) const PLACES: [&str; 3] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// All rules on one file.
pub(crate) fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    if file.is_any(CODE) {
        findings.extend(check_length(file));
    }
    if file.is_any(&["rs"]) {
        findings.extend(check_opening(file));
    }
    for (index, line) in file.text.lines().enumerate() {
        if let Some(text) = check_line(file, line) {
            findings.push(Finding::new(&file.path, index + 1, text));
        }
    }
    findings
}

fn check_length(file: &File) -> Option<Finding> {
    let lines = file.text.lines().count();
    (lines > MOST_LINES).then(|| {
        let text = format!("{lines} lines, {MOST_LINES} at most; split it by what it does");
        Finding::new(&file.path, lines, text)
    })
}

/// A module says first what it is for. Tests named after what they test need not.
fn check_opening(file: &File) -> Option<Finding> {
    let opened = file.text.lines().next().is_some_and(|line| line.starts_with("//!"));
    let test = file.path.ends_with("/tests.rs") || file.path.contains("/tests/");
    (!opened && !test).then(|| {
        let text = "no opening doc; begin with `//!`: what it is for and what it must never do";
        Finding::new(&file.path, 1, text)
    })
}

fn check_line(file: &File, line: &str) -> Option<String> {
    if file.is_any(CODE) {
        if let Some(word) = UNFINISHED.iter().find(|word| has_word(line, word)) {
            return Some(format!("{word} in the code; do it, or file an issue"));
        }
        if let Some(call) = UNWRITTEN.iter().find(|call| line.contains(*call)) {
            return Some(format!("{call}…) in the code; write it"));
        }
    }
    if file.is_any(&["rs"]) && line.trim_start().starts_with(IGNORED) && !line.contains("= \"") {
        return Some("a test ignored without a reason; write #[…ignore = \"why\"]".to_owned());
    }
    let place = PLACES.iter().find(|place| starts_path(line, place))?;
    Some(format!("the path {place}… of one machine; derive it or make it an option"))
}

/// Whether `word` stands in `line` on its own.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let (before, after) = line.split_at(at);
        !joins(before.chars().next_back()) && !joins(after.chars().nth(word.len()))
    })
}

/// Whether an absolute path that begins with `place` stands in `line`.
fn starts_path(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line.split_at(at).0.chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "/._-}*)>$~".contains(c))
    })
}
