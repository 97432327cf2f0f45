//! The store that the daemons and the command line hold: files, bundles, deletion. Manifests
//! and log segments have a file each beside this one.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use trainyard_jobs::{Bytes as Size, Digest, FileEntry};

use crate::{StoreError, keys, open, transfer::length};

/// Object storage, by URL. Cloning is cheap and shares the connection.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<dyn ObjectStore>,
}

impl Store {
    /// Opens `file:///dir` (made if missing, written with fsync), `s3://bucket/prefix`
    /// (credentials and endpoint from `AWS_*` variables) or `memory://` (an empty one each time).
    ///
    /// # Errors
    /// [`StoreError::InvalidUrl`], also for a plain-http endpoint that is not on loopback.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        open::backend(url).map(|inner| Self { inner })
    }

    /// Uploads a file under `key` and records it as `path_name`. Large files go up in parts;
    /// the object appears complete or not at all.
    ///
    /// # Errors
    /// The key or name is invalid, the file cannot be read, or the backend fails.
    pub async fn put_file(
        &self,
        key: &str,
        path_name: &str,
        file: &Path,
    ) -> Result<FileEntry, StoreError> {
        keys::check_path(path_name)?;
        let (size, digest) = self.upload(key, file, None).await?;
        Ok(FileEntry { path: path_name.to_owned(), key: key.to_owned(), size: Size(size), digest })
    }

    /// Stores bytes under `key` and records them as `path_name`.
    ///
    /// # Errors
    /// The key or name is invalid, or the backend fails.
    pub async fn put_bytes(
        &self,
        key: &str,
        path_name: &str,
        bytes: Bytes,
    ) -> Result<FileEntry, StoreError> {
        keys::check_path(path_name)?;
        let location = keys::object_path(key)?;
        let entry = entry_of(key, path_name, &bytes);
        let put = self.inner.put(&location, bytes.into()).await;
        put.map_err(StoreError::backend("the upload", key))?;
        Ok(entry)
    }

    /// Downloads an object to `dest`, whose folder is made if missing. `dest` is replaced
    /// only by bytes of the recorded size and digest, flushed to disk.
    ///
    /// # Errors
    /// The object is missing or corrupt, the backend fails, or `dest` cannot be written.
    pub async fn get_file(&self, entry: &FileEntry, dest: &Path) -> Result<(), StoreError> {
        self.download(entry, dest).await
    }

    /// Streams an object. Whoever reads must not trust the bytes before the stream has ended:
    /// the last item is an error if size or digest differ from the record.
    pub fn read(
        &self,
        entry: &FileEntry,
    ) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + use<> {
        self.chunks(entry)
    }

    /// Reads every byte of an object and compares size and digest.
    ///
    /// # Errors
    /// The object is missing or corrupt, or the backend fails.
    pub async fn verify(&self, entry: &FileEntry) -> Result<(), StoreError> {
        self.chunks(entry).try_for_each(|_| async { Ok(()) }).await
    }

    /// Deletes every object below `prefix`, which must not be empty. Nothing there is fine.
    ///
    /// # Errors
    /// The prefix is invalid, or the backend fails; what is left can be deleted again.
    pub async fn delete_prefix(&self, prefix: &str) -> Result<(), StoreError> {
        let path = keys::prefix_path(prefix)?;
        let found = self.inner.list(Some(&path)).map_ok(|object| object.location).boxed();
        let deleted = self.inner.delete_stream(found);
        let mut deleted = std::pin::pin!(deleted.filter(|result| {
            // Someone else deleted it in between, which is what was asked for.
            let gone = matches!(result, Err(object_store::Error::NotFound { .. }));
            std::future::ready(!gone)
        }));
        while let Some(result) = deleted.next().await {
            result.map_err(StoreError::backend("the deletion", prefix))?;
        }
        Ok(())
    }

    /// Whether the bundle of this digest is stored.
    ///
    /// # Errors
    /// The backend fails.
    pub async fn has_bundle(&self, digest: &Digest) -> Result<bool, StoreError> {
        match self.size_of(&keys::bundle(digest)).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Stores a bundle under its digest. Storing it again writes the same bytes.
    ///
    /// # Errors
    /// [`StoreError::WrongDigest`] if the file is another; or it cannot be read, or the backend
    /// fails.
    pub async fn put_bundle(&self, digest: &Digest, file: &Path) -> Result<(), StoreError> {
        self.upload(&keys::bundle(digest), file, Some(digest)).await.map(drop)
    }

    /// Downloads a bundle to `dest`, verified.
    ///
    /// # Errors
    /// The bundle is missing or corrupt, the backend fails, or `dest` cannot be written.
    pub async fn get_bundle(&self, digest: &Digest, dest: &Path) -> Result<(), StoreError> {
        let key = keys::bundle(digest);
        let size = Size(self.size_of(&key).await?);
        let entry = FileEntry { path: key.clone(), key, size, digest: *digest };
        self.download(&entry, dest).await
    }

    /// The size of an object, without its bytes.
    pub(crate) async fn size_of(&self, key: &str) -> Result<u64, StoreError> {
        let location = keys::object_path(key)?;
        let found = self.inner.head(&location).await;
        found.map(|meta| meta.size).map_err(StoreError::backend("the look-up", key))
    }

    /// Stores bytes under a key that must not exist yet. If it does and holds the same bytes,
    /// an earlier try of ours arrived and only its answer was lost.
    pub(crate) async fn create(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        let location = keys::object_path(key)?;
        let options = PutOptions::from(PutMode::Create);
        let expected = bytes.clone();
        match self.inner.put_opts(&location, bytes.into(), options).await {
            Ok(_) => Ok(()),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => {
                if self.size_of(key).await? == length(expected.len())
                    && self.read_all(key).await? == expected
                {
                    Ok(())
                } else {
                    Err(StoreError::Conflict { key: key.to_owned() })
                }
            }
            Err(error) => Err(StoreError::backend("the commit", key)(error)),
        }
    }

    /// All bytes of a small object, not verified.
    pub(crate) async fn read_all(&self, key: &str) -> Result<Bytes, StoreError> {
        let location = keys::object_path(key)?;
        let found = self.inner.get(&location).await;
        let found = found.map_err(StoreError::backend("the download", key))?;
        found.bytes().await.map_err(StoreError::backend("the download", key))
    }
}

/// What is recorded of `bytes` stored under `key`.
pub(crate) fn entry_of(key: &str, path_name: &str, bytes: &Bytes) -> FileEntry {
    FileEntry {
        path: path_name.to_owned(),
        key: key.to_owned(),
        size: Size(length(bytes.len())),
        digest: Digest::of(bytes),
    }
}

#[cfg(test)]
mod tests;
