//! Bytes to and from the backend: streamed, hashed on the way, never a whole large file in
//! memory. A download is seen at its destination complete and verified, or not at all.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::{ObjectStoreExt, WriteMultipart, path::Path as ObjectPath};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use trainyard_jobs::{Bytes as Size, Digest, FileEntry};

use crate::{Store, StoreError, keys};

/// Files of this size and above go up in parts of it; S3 wants at least 5 MiB. Tests keep to
/// parts that an unoptimized hash gets through in no time.
pub(crate) const PART: usize = if cfg!(test) { 64 << 10 } else { 8 << 20 };
/// Parts in flight at once, which bounds the memory that an upload takes.
const CONCURRENCY: usize = 4;

/// A length as a 64-bit count.
pub(crate) fn length(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

impl Store {
    /// Uploads `file` as `key`; if `expected` is given, only bytes of that digest arrive.
    pub(crate) async fn upload(
        &self,
        key: &str,
        file: &Path,
        expected: Option<&Digest>,
    ) -> Result<(u64, Digest), StoreError> {
        let location = keys::object_path(key)?;
        let mut source =
            tokio::fs::File::open(file).await.map_err(StoreError::file("open", file))?;
        let first = read_part(&mut source, file).await?;
        let check = |found: Digest| match expected {
            Some(expected) if *expected != found => {
                Err(StoreError::WrongDigest { path: file.to_owned(), expected: *expected, found })
            }
            _ => Ok(found),
        };
        if first.len() < PART {
            let digest = check(Digest::of(&first))?;
            let size = length(first.len());
            self.put(&location, first).await?;
            return Ok((size, digest));
        }
        let (upload, size, digest) = self.send_parts(&location, first, &mut source, file).await?;
        match check(digest) {
            Ok(digest) => {
                upload.finish().await.map_err(StoreError::backend("the upload", key))?;
                Ok((size, digest))
            }
            Err(error) => {
                abort(upload, key).await;
                Err(error)
            }
        }
    }

    /// Sends all parts of a large file; whoever calls decides whether they become an object.
    async fn send_parts(
        &self,
        location: &ObjectPath,
        first: Bytes,
        source: &mut tokio::fs::File,
        file: &Path,
    ) -> Result<(WriteMultipart, u64, Digest), StoreError> {
        let key = location.as_ref();
        let parts = self.inner.put_multipart(location).await;
        let mut upload = WriteMultipart::new_with_chunk_size(
            parts.map_err(StoreError::backend("the upload", key))?,
            PART,
        );
        let (mut hasher, mut size, mut part) = (Sha256::new(), 0, first);
        while !part.is_empty() {
            hasher.update(&part);
            size += length(part.len());
            upload.put(part);
            let ready = upload.wait_for_capacity(CONCURRENCY).await;
            let next = match ready.map_err(StoreError::backend("the upload", key)) {
                Ok(()) => read_part(source, file).await,
                Err(error) => Err(error),
            };
            match next {
                Ok(next) => part = next,
                Err(error) => {
                    abort(upload, key).await;
                    return Err(error);
                }
            }
        }
        Ok((upload, size, Digest::from_hasher(hasher)))
    }

    async fn put(&self, location: &ObjectPath, bytes: Bytes) -> Result<(), StoreError> {
        let put = self.inner.put(location, bytes.into()).await;
        put.map(drop).map_err(StoreError::backend("the upload", location.as_ref()))
    }

    /// The object's chunks; the last item is an error unless all bytes are as recorded.
    pub(crate) fn chunks(
        &self,
        entry: &FileEntry,
    ) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + use<> {
        let (store, entry) = (self.clone(), entry.clone());
        let open = async move {
            let location = keys::object_path(&entry.key)?;
            let found = store.inner.get(&location).await;
            let found = found.map_err(StoreError::backend("the download", &entry.key))?;
            let inner = found.into_stream();
            Ok(Verified { inner, entry, hasher: Sha256::new(), size: 0 }.into_stream())
        };
        stream::once(open).try_flatten()
    }

    /// Downloads to `dest` by way of a file beside it.
    pub(crate) async fn download(&self, entry: &FileEntry, dest: &Path) -> Result<(), StoreError> {
        let (parent, part) = staging_file(dest).await?;
        let failed = |operation| StoreError::file(operation, dest);
        let handle = part.as_file().try_clone().map_err(failed("write"))?;
        let mut file = tokio::fs::File::from_std(handle);
        let mut chunks = std::pin::pin!(self.chunks(entry));
        while let Some(chunk) = chunks.try_next().await? {
            file.write_all(&chunk).await.map_err(failed("write"))?;
        }
        file.flush().await.map_err(failed("write"))?;
        file.sync_all().await.map_err(failed("sync"))?;
        let dest = dest.to_owned();
        run_blocking(dest.clone(), move || {
            part.persist(&dest).map_err(|e| e.error)?;
            std::fs::File::open(parent)?.sync_all()
        })
        .await
    }
}

/// A download with what it must turn out to be.
struct Verified {
    inner: BoxStream<'static, object_store::Result<Bytes>>,
    entry: FileEntry,
    hasher: Sha256,
    size: u64,
}

impl Verified {
    fn into_stream(self) -> impl Stream<Item = Result<Bytes, StoreError>> + Send {
        stream::try_unfold(Some(self), |state| async move {
            let Some(mut this) = state else { return Ok(None) };
            match this.inner.next().await {
                None => this.finish().map(|()| None),
                Some(Err(error)) => Err(StoreError::backend("the download", this.entry.key)(error)),
                Some(Ok(chunk)) => {
                    this.size += length(chunk.len());
                    this.hasher.update(&chunk);
                    if this.size > this.entry.size.0 {
                        this.finish()?;
                    }
                    Ok(Some((chunk, Some(this))))
                }
            }
        })
    }

    fn finish(&self) -> Result<(), StoreError> {
        let found = Digest::from_hasher(self.hasher.clone());
        if self.size == self.entry.size.0 && found == self.entry.digest {
            return Ok(());
        }
        Err(StoreError::Corrupt {
            key: self.entry.key.clone(),
            expected_size: self.entry.size,
            expected: self.entry.digest,
            size: Size(self.size),
            found,
        })
    }
}

/// Reads up to one part; less only at the end of the file.
async fn read_part(source: &mut tokio::fs::File, path: &Path) -> Result<Bytes, StoreError> {
    let mut part = Vec::new();
    let read = source.take(length(PART)).read_to_end(&mut part).await;
    read.map_err(StoreError::file("read", path))?;
    Ok(part.into())
}

/// Best effort: what cannot be taken back is left to the bucket's lifecycle rules.
async fn abort(upload: WriteMultipart, key: &str) {
    if let Err(error) = upload.abort().await {
        tracing::warn!(key, %error, "could not abort an upload");
    }
}

/// A temporary file in the folder of `dest`, which is made if it is missing.
async fn staging_file(dest: &Path) -> Result<(PathBuf, tempfile::NamedTempFile), StoreError> {
    use std::os::unix::fs::PermissionsExt as _;

    let parent = match dest.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    run_blocking(dest.to_owned(), move || {
        std::fs::create_dir_all(&parent)?;
        // Ranks may run as another user than the agent that downloads for them.
        let readable = std::fs::Permissions::from_mode(0o644);
        let file = tempfile::Builder::new()
            .prefix(".download-")
            .permissions(readable)
            .tempfile_in(&parent)?;
        Ok((parent, file))
    })
    .await
}

async fn run_blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let result = tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other);
    result.and_then(|inner| inner).map_err(StoreError::file("write", path))
}
