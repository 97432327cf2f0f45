//! Durable files: nothing appears under its final name before its bytes are on disk.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::Error;

/// Writes a file and flushes it to disk.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = File::create(path).map_err(Error::io("create", path))?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    file.sync_all().map_err(Error::io("flush", path))
}

/// Flushes a file or folder that something else wrote.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn sync(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::io("flush", path))
}

/// Gives a finished file or folder its name, and makes the name durable.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn rename_synced(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(Error::io("rename to", to))?;
    to.parent().map_or(Ok(()), sync)
}

/// Writes `path` by way of a temporary name beside it.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let tmp = path.with_file_name(name);
    write_synced(&tmp, bytes)?;
    rename_synced(&tmp, path)
}
