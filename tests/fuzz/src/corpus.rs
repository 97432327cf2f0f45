//! Inputs kept in files: `corpus/<target>/` holds real encodings and, under names that begin with
//! `found-`, inputs that once broke something.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// The folder of a target's inputs.
#[must_use]
pub fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// A target's inputs, by file name.
///
/// # Errors
/// When they cannot be read.
pub fn read(target: &str) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let folder = folder(target);
    let entries =
        fs::read_dir(&folder).with_context(|| format!("no corpus {}", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        found.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
    }
    found.sort();
    Ok(found)
}
