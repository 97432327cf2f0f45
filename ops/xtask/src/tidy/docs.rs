//! What the documents promise: a changelog for the version in the making, and tests that exist
//! where the architecture page names them as `file::test`.

use super::{Finding, tree::File};

/// The changelog names the version in the making, so that a change has a place to be told.
pub(crate) fn check_changelog(files: &[File]) -> Option<Finding> {
    let path = "CHANGELOG.md";
    let version = env!("CARGO_PKG_VERSION");
    let Some(file) = files.iter().find(|file| file.path == path) else {
        return Some(Finding::new(path, 1, "no changelog; write one"));
    };
    let first = file.text.lines().find(|line| line.starts_with("## "));
    let named = first
        .is_some_and(|line| line.to_lowercase().contains("unreleased") || line.contains(version));
    (!named).then(|| {
        let text =
            format!("the first section is not about {version} or what is unreleased; add it");
        Finding::new(path, 1, text)
    })
}

/// Every `file::test` that the architecture page names is a test of a file or folder of that name.
pub(crate) fn check_named_tests(files: &[File]) -> Vec<Finding> {
    let path = "ARCHITECTURE.md";
    let mut findings = Vec::new();
    let Some(page) = files.iter().find(|file| file.path == path) else {
        return vec![Finding::new(path, 1, "no architecture page; write one")];
    };
    for (index, line) in page.text.lines().enumerate() {
        for word in line.split('`').skip(1).step_by(2) {
            let Some((room, test)) = word.split_once("::") else { continue };
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            if !room.chars().all(plain) || !test.chars().all(plain) {
                continue;
            }
            if !files.iter().any(|file| holds(file, room, test)) {
                let text = format!("there is no test `{word}`; name the one that checks this");
                findings.push(Finding::new(path, index + 1, text));
            }
        }
    }
    findings
}

fn holds(file: &File, room: &str, test: &str) -> bool {
    let named = file.path.split('/').any(|part| part.strip_suffix(".rs").unwrap_or(part) == room);
    named && file.is_any(&["rs"]) && file.text.contains(&format!("fn {test}("))
}
