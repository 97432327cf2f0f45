//! Calls to the store that are tried again while the store is away: what was written here is
//! kept until it can be stored.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use trainyard_jobs::AttemptRef;
use trainyard_store::{StoreError, keys};

use crate::backoff::Backoff;

/// Calls until the store answers with something that trying again would not change.
pub(super) async fn persist<T, F>(
    attempt: &AttemptRef,
    mut call: impl FnMut() -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut backoff = Backoff::store();
    loop {
        match call().await {
            // Credentials may be put right while the attempt runs.
            Err(error) if error.is_transient() || matches!(error, StoreError::Denied { .. }) => {
                tracing::warn!(%attempt, %error, "the store is away; trying again");
                backoff.wait().await;
            }
            answer => return answer,
        }
    }
}

/// The regular files below `root` with their paths relative to it, sorted. Links are not
/// followed: they could lead outside.
pub(super) fn files_below(root: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                files.push((relative(root, &path)?, path));
            } else {
                tracing::warn!(path = %path.display(), "not a regular file: not stored");
            }
        }
    }
    files.sort();
    Ok(files)
}

fn relative(root: &Path, path: &Path) -> io::Result<String> {
    let name = path.strip_prefix(root).ok().and_then(Path::to_str);
    let name = name.filter(|name| keys::check_path(name).is_ok());
    name.map(str::to_owned).ok_or_else(|| {
        let message = format!("the file name {} cannot be stored", path.display());
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}
