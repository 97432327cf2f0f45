//! What can go wrong with the store. Each text says which key, what, and what to try; the
//! variants tell callers whether trying again can help.

use std::path::PathBuf;

use trainyard_jobs::{Bytes, Digest};

/// An operation on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store's URL cannot be used.
    #[error("cannot open the store `{url}`: {reason}")]
    InvalidUrl {
        /// The URL as given.
        url: String,
        /// What is wrong with it and what to write instead.
        reason: String,
    },
    /// A key could name something outside of the store.
    #[error("`{key}` is not a key: {reason}")]
    InvalidKey {
        /// The key as given.
        key: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// No object has this key.
    #[error("no object `{key}` in the store: it was deleted or never uploaded")]
    NotFound {
        /// The missing key.
        key: String,
    },
    /// An object of this key exists and holds other bytes. What stands is never replaced.
    #[error(
        "`{key}` already holds other bytes: another writer committed it first; write under a key of your own attempt"
    )]
    Conflict {
        /// The contested key.
        key: String,
    },
    /// An object's bytes are not those that were written.
    #[error(
        "`{key}` is corrupt: expected {expected_size} with {expected}, read {size} with {found}; restore it from a copy, or fall back to an older one"
    )]
    Corrupt {
        /// The object's key.
        key: String,
        /// The size that was recorded.
        expected_size: Bytes,
        /// The digest that was recorded.
        expected: Digest,
        /// The bytes read, up to one past the recorded size.
        size: Bytes,
        /// The digest of what was read.
        found: Digest,
    },
    /// An object has another size than was recorded.
    #[error("`{key}` is {found}, recorded as {expected}: the upload was cut short or replaced")]
    WrongSize {
        /// The object's key.
        key: String,
        /// The size that was recorded.
        expected: Bytes,
        /// The size in the store.
        found: Bytes,
    },
    /// A local file does not have the digest that it is to be stored under.
    #[error(
        "`{path}` has {found}, expected {expected}: it changed since it was packed; pack it again"
    )]
    WrongDigest {
        /// The local file.
        path: PathBuf,
        /// The digest asked for.
        expected: Digest,
        /// The digest of its bytes.
        found: Digest,
    },
    /// A manifest says something that cannot be.
    #[error("manifest `{key}` is invalid: {reason}")]
    InvalidManifest {
        /// The manifest's key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store refuses these credentials.
    #[error(
        "the store refused {operation} of `{key}`: check the credentials (AWS_* variables) and the bucket's policy"
    )]
    Denied {
        /// What was tried.
        operation: &'static str,
        /// The object's key.
        key: String,
        /// The backend's answer.
        source: object_store::Error,
    },
    /// The backend failed; trying again may help.
    #[error("{operation} of `{key}` failed in the store: {source}; try again")]
    Backend {
        /// What was tried.
        operation: &'static str,
        /// The object's key.
        key: String,
        /// The backend's answer.
        source: object_store::Error,
    },
    /// A local file could not be read or written.
    #[error("cannot {operation} `{path}`: {source}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The local file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl StoreError {
    /// Whether the object itself is at fault: missing, damaged, or not where it may be.
    #[must_use]
    pub const fn is_verdict(&self) -> bool {
        matches!(
            self,
            Self::InvalidKey { .. }
                | Self::NotFound { .. }
                | Self::Corrupt { .. }
                | Self::WrongSize { .. }
                | Self::WrongDigest { .. }
        )
    }

    /// Whether the same call may succeed later: only when the backend itself failed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Backend { .. })
    }

    /// Sorts a backend's answer to `operation` on `key`.
    pub(crate) fn backend(
        operation: &'static str,
        key: impl Into<String>,
    ) -> impl FnOnce(object_store::Error) -> Self {
        let key = key.into();
        move |source| match source {
            object_store::Error::NotFound { .. } => Self::NotFound { key },
            object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. } => {
                Self::Denied { operation, key, source }
            }
            source => Self::Backend { operation, key, source },
        }
    }

    /// An error of a local file.
    pub(crate) fn file(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { operation, path, source }
    }
}
