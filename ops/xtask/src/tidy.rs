//! The repository's rules that no other tool knows: sizes, unfinished work, who may import whom,
//! licences. One file a kind of rule; each yields findings and none of them stops another.
//!
//! The result depends on the tree and the lock file alone, and comes in the order of the files.

mod docs;
mod licence;
mod rooms;
mod supply;
mod text;
mod tree;

#[cfg(test)]
mod tests;

use std::{fmt, path::Path};

use crate::metadata::Metadata;

/// One thing to mend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    file: String,
    line: usize,
    text: String,
}

impl Finding {
    pub(crate) fn new(file: &str, line: usize, text: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.text)
    }
}

/// Checks the repository at `root`.
pub(crate) fn run(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let files = tree::files(root)?;
    let metadata = Metadata::read(root)?;
    let policy = supply::Policy::read(root)?;
    let mut findings: Vec<Finding> = files.iter().flat_map(text::check).collect();
    findings.extend(docs::check_changelog(&files));
    findings.extend(docs::check_named_tests(&files));
    findings.extend(rooms::check(&metadata, root));
    findings.extend(supply::check(&metadata, &policy));
    findings.sort();
    Ok(findings)
}
