//! Manifests: the one small object that makes a node's part of a checkpoint exist. Its
//! create-only put is the commit; before it there is nothing, after it nothing changes.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};
use trainyard_jobs::{AttemptRef, FileEntry, Manifest, checkpoint::FORMAT};

use crate::{Store, StoreError, keys, store::entry_of};

/// Far above any real manifest (a million files), so that a wrong record cannot fill memory.
const MAX_SIZE: u64 = 256 << 20;
/// Look-ups in flight at once.
const CONCURRENCY: usize = 16;

impl Store {
    /// Commits a checkpoint part whose files are all uploaded. Of several writers one wins;
    /// writing the same bytes again is no error, so a lost answer can be asked for again.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if another manifest stands; [`StoreError::InvalidManifest`]; or
    /// the backend fails.
    pub async fn commit_manifest(&self, manifest: &Manifest) -> Result<FileEntry, StoreError> {
        let key = key_of(manifest);
        check(manifest, &key)?;
        let invalid = |e: serde_json::Error| invalid(&key, e.to_string());
        let bytes = bytes::Bytes::from(serde_json::to_vec(manifest).map_err(invalid)?);
        let entry = entry_of(&key, keys::MANIFEST_FILE, &bytes);
        self.create(&key, bytes).await?;
        Ok(entry)
    }

    /// The manifest of this part, if one is committed; what stands there is never replaced.
    ///
    /// # Errors
    /// What stands there is no manifest of this part; or the backend fails.
    pub async fn find_manifest(
        &self,
        attempt: &AttemptRef,
        step: u64,
        part: u32,
    ) -> Result<Option<FileEntry>, StoreError> {
        let key = keys::manifest(attempt, step, part);
        let bytes = match self.size_of(&key).await {
            Ok(size) if size > MAX_SIZE => {
                let size = trainyard_jobs::Bytes(size);
                return Err(invalid(&key, format!("{size} is more than any manifest has")));
            }
            Ok(_) => self.read_all(&key).await?,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let manifest = serde_json::from_slice(&bytes).map_err(|e| explain(&key, &bytes, &e))?;
        check(&manifest, &key)?;
        if key != key_of(&manifest) {
            return Err(invalid(&key, format!("it belongs at `{}`", key_of(&manifest))));
        }
        Ok(Some(entry_of(&key, keys::MANIFEST_FILE, &bytes)))
    }

    /// Reads a manifest, verified by digest and of a format that this version knows.
    ///
    /// # Errors
    /// It is missing, corrupt, of a newer format or inconsistent; or the backend fails.
    pub async fn read_manifest(&self, entry: &FileEntry) -> Result<Manifest, StoreError> {
        let key = &entry.key;
        if entry.size.0 > MAX_SIZE {
            return Err(invalid(key, format!("{} is more than any manifest has", entry.size)));
        }
        let bytes = self
            .chunks(entry)
            .try_fold(Vec::new(), |mut all, chunk| async move {
                all.extend_from_slice(&chunk);
                Ok(all)
            })
            .await?;
        let manifest = serde_json::from_slice(&bytes).map_err(|e| explain(key, &bytes, &e))?;
        check(&manifest, key)?;
        Ok(manifest)
    }

    /// Reads a manifest and looks up every file that it names: present, of the recorded size,
    /// and under the prefix of the attempt that wrote the manifest. Bytes are not read.
    ///
    /// # Errors
    /// As [`Store::read_manifest`], and [`StoreError::WrongSize`] or [`StoreError::NotFound`] of
    /// a file.
    pub async fn check_manifest(&self, entry: &FileEntry) -> Result<Manifest, StoreError> {
        let manifest = self.read_manifest(entry).await?;
        if entry.key != key_of(&manifest) {
            let reason = format!("it belongs at `{}`", key_of(&manifest));
            return Err(invalid(&entry.key, reason));
        }
        // Owned on purpose: a future over borrowed items cannot be proved `Send` by its callers.
        stream::iter(manifest.files.clone())
            .map(|file| {
                let store = self.clone();
                async move {
                    let found = trainyard_jobs::Bytes(store.size_of(&file.key).await?);
                    if found == file.size {
                        return Ok(());
                    }
                    Err(StoreError::WrongSize { key: file.key, expected: file.size, found })
                }
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect::<()>()
            .await?;
        Ok(manifest)
    }
}

fn key_of(manifest: &Manifest) -> String {
    keys::manifest(&manifest.attempt, manifest.description.step, manifest.part)
}

fn invalid(key: &str, reason: String) -> StoreError {
    StoreError::InvalidManifest { key: key.to_owned(), reason }
}

/// A newer format may not parse at all; then that is the thing to say.
fn explain(key: &str, bytes: &[u8], error: &serde_json::Error) -> StoreError {
    #[derive(serde::Deserialize)]
    struct Head {
        format: u32,
    }
    match serde_json::from_slice(bytes) {
        Ok(Head { format }) if format != FORMAT => invalid(key, other_format(format)),
        _ => invalid(key, error.to_string()),
    }
}

fn other_format(format: u32) -> String {
    format!("it has format {format}, this version reads {FORMAT}; upgrade trainyard")
}

/// What must hold of a manifest by itself, whoever wrote it.
fn check(manifest: &Manifest, key: &str) -> Result<(), StoreError> {
    if manifest.format != FORMAT {
        return Err(invalid(key, other_format(manifest.format)));
    }
    if manifest.part >= manifest.description.parts {
        let parts = manifest.description.parts;
        return Err(invalid(key, format!("part {} of {parts}: parts count from 0", manifest.part)));
    }
    let unreadable = manifest.description.metrics.iter().find(|(_, value)| !value.is_finite());
    if let Some((name, value)) = unreadable {
        return Err(invalid(key, format!("metric `{name}` is {value}, which JSON cannot hold")));
    }
    let prefix = keys::attempt_prefix(&manifest.attempt);
    let mut paths = BTreeSet::new();
    for file in &manifest.files {
        keys::check_path(&file.path)?;
        keys::check_path(&file.key)?;
        if !file.key.starts_with(&prefix) {
            let reason = format!("file `{}` lies outside of the attempt's `{prefix}`", file.key);
            return Err(invalid(key, reason));
        }
        if !paths.insert(file.path.as_str()) {
            return Err(invalid(key, format!("it names the file `{}` twice", file.path)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
