//! The files that are the repository: what git tracks, and what it would on the next `git add`.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, ensure};

/// A text file, by its path from the root.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// Whether its name ends in one of `extensions`.
    pub(crate) fn is_any(&self, extensions: &[&str]) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, found)| extensions.contains(&found))
    }
}

/// Every text file, sorted by path. What is not UTF-8 is data, which has no lines to check.
pub(crate) fn files(root: &Path) -> anyhow::Result<Vec<File>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("could not run git")?;
    ensure!(output.status.success(), "git ls-files failed in {}", root.display());
    let list = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let mut paths: Vec<&str> = list.split('\0').filter(|path| !path.is_empty()).collect();
    paths.sort_unstable();
    paths.dedup();
    let read = |path: &&str| {
        let text = fs::read_to_string(root.join(path)).ok()?;
        Some(File { path: (*path).to_owned(), text })
    };
    Ok(paths.iter().filter_map(read).collect())
}
