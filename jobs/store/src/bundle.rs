//! Code bundles: a work directory as one `tar.zst`, known by the digest of its bytes.
//!
//! Packing is deterministic, so an unchanged directory is uploaded once. Unpacking trusts
//! nothing: no entry may leave the destination, and what comes out is bounded.

use std::path::{Component, Path, PathBuf};

use trainyard_jobs::Bytes;

mod pack;
mod unpack;

pub use pack::{Packed, pack};
pub use unpack::unpack;

/// The most bytes that a bundle may hold, unpacked.
pub const MAX_BYTES: Bytes = Bytes(10 << 30);
/// The most files, folders and links that a bundle may hold.
pub const MAX_ENTRIES: usize = 200_000;

/// What a bundle may hold, unpacked.
#[derive(Debug, Clone, Copy)]
struct Limits {
    bytes: u64,
    entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: MAX_BYTES.0, entries: MAX_ENTRIES }
    }
}

/// A bundle could not be packed or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The work directory is missing or is no directory.
    #[error("`{path}` is not a directory: set `[run] workdir` to the one that holds the code")]
    NotADirectory {
        /// What was to be packed.
        path: PathBuf,
    },
    /// A link leads out of the work directory, where a node has nothing.
    #[error(
        "link `{path}` leads to `{target}`, outside of the work directory: copy what it names, or list it in .gitignore"
    )]
    LinkOutside {
        /// The link, relative to the work directory.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A socket, pipe or device.
    #[error("`{path}` is neither a file, a folder nor a link: remove it, or list it in .gitignore")]
    Unsupported {
        /// The entry, relative to the work directory.
        path: PathBuf,
    },
    /// The bundle exceeds a limit.
    #[error(
        "the bundle holds more than {}: list data and results in .gitignore, and read data from the store",
        limit(*.bytes, *.entries)
    )]
    TooLarge {
        /// The limit on bytes, unpacked.
        bytes: u64,
        /// The limit on entries.
        entries: usize,
    },
    /// The archive has an entry that would leave the destination.
    #[error("the bundle is hostile: entry `{path}` would lie outside of the work directory")]
    Escape {
        /// The entry's path as it stands in the archive.
        path: PathBuf,
    },
    /// The archive cannot be read.
    #[error("`{path}` is not a bundle: {source}; download it again")]
    Malformed {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// A file could not be read or written.
    #[error("cannot {operation} `{path}`: {source}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The directory cannot be walked, or a .gitignore in it cannot be read.
    #[error("cannot list the work directory: {0}")]
    Walk(#[from] ignore::Error),
}

impl BundleError {
    fn file(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { operation, path, source }
    }

    const fn too_large(limits: Limits) -> Self {
        Self::TooLarge { bytes: limits.bytes, entries: limits.entries }
    }
}

fn limit(bytes: u64, entries: usize) -> String {
    format!("{} or {entries} entries", Bytes(bytes))
}

/// Whether a link at `path` (relative, of plain names) stays inside, whatever its neighbours.
///
/// `..` may stand at the front of a target alone: there it climbs real folders, whose depth is
/// known. After a name it would climb from wherever another link leads.
fn stays_inside(path: &Path, target: &Path) -> bool {
    let folders = path.components().count().saturating_sub(1);
    let climbs = target.components().take_while(|c| matches!(c, Component::ParentDir)).count();
    let plain = target
        .components()
        .skip(climbs)
        .all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    plain && climbs <= folders && target.components().next().is_some()
}

#[cfg(test)]
mod tests;
