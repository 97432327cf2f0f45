//! From a work directory to an archive. Sorted by name, times zero, owners zero, and of the
//! modes only whether a file runs: equal trees give equal bytes.

use std::{
    fs,
    io::{self, Read, Seek, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use trainyard_jobs::Digest;

use super::{BundleError, Limits, stays_inside};

/// Fixed, as the level shapes the bytes and so the digest.
const LEVEL: i32 = 3;

/// A packed work directory.
#[derive(Debug)]
pub struct Packed {
    /// The SHA-256 of the archive.
    pub digest: Digest,
    /// The archive, gone when this is dropped.
    pub file: tempfile::NamedTempFile,
    /// How many files it holds, links included, folders not.
    pub files: usize,
    /// The archive's size in bytes.
    pub bytes: u64,
}

/// Packs `dir`, leaving out `.git` and what `.gitignore` files name (also those of folders
/// above, as git reads them, whether or not this is a repository).
///
/// # Errors
/// The directory cannot be read, a link leads out of it, it holds something that is no file,
/// or it is too large.
pub fn pack(dir: &Path) -> Result<Packed, BundleError> {
    pack_within(dir, Limits::default())
}

pub(super) fn pack_within(dir: &Path, limits: Limits) -> Result<Packed, BundleError> {
    if !dir.is_dir() {
        return Err(BundleError::NotADirectory { path: dir.to_owned() });
    }
    let temporary = tempfile::Builder::new().prefix("bundle-").suffix(".tar.zst").tempfile();
    let mut file = temporary.map_err(BundleError::file("make a file in", &std::env::temp_dir()))?;
    let broken = |path: &PathBuf| BundleError::file("write", path);
    let path = file.path().to_owned();
    let encoder = zstd::Encoder::new(file.as_file_mut(), LEVEL).map_err(broken(&path))?;
    let mut archive = tar::Builder::new(encoder);
    archive.sparse(false);
    let mut left = limits;
    let mut files = 0;
    for entry in walk(dir) {
        let entry = entry?;
        let Ok(name) = entry.path().strip_prefix(dir) else { continue };
        if name.as_os_str().is_empty() {
            continue;
        }
        left.entries = left.entries.checked_sub(1).ok_or(BundleError::too_large(limits))?;
        let kind = append(&mut archive, entry.path(), name, &mut left.bytes)?;
        match kind {
            Kind::Folder => {}
            Kind::File => files += 1,
            Kind::TooLarge => return Err(BundleError::too_large(limits)),
        }
    }
    let encoder = archive.into_inner().map_err(broken(&path))?;
    encoder.finish().map_err(broken(&path))?.flush().map_err(broken(&path))?;
    let (digest, bytes) = digest(file.as_file_mut()).map_err(broken(&path))?;
    Ok(Packed { digest, file, files, bytes })
}

fn walk(dir: &Path) -> ignore::Walk {
    ignore::WalkBuilder::new(dir)
        .standard_filters(false)
        .parents(true)
        .git_ignore(true)
        .require_git(false)
        .filter_entry(|entry| entry.depth() == 0 || entry.file_name() != ".git")
        .sort_by_file_name(Ord::cmp)
        .build()
}

enum Kind {
    File,
    Folder,
    TooLarge,
}

fn append(
    archive: &mut tar::Builder<impl Write>,
    path: &Path,
    name: &Path,
    left: &mut u64,
) -> Result<Kind, BundleError> {
    let failed = || BundleError::file("read", path);
    let meta = fs::symlink_metadata(path).map_err(failed())?;
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    if meta.is_dir() {
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        archive.append_data(&mut header, name, io::empty()).map_err(failed())?;
        return Ok(Kind::Folder);
    }
    if meta.is_symlink() {
        let target = fs::read_link(path).map_err(failed())?;
        if !stays_inside(name, &target) {
            return Err(BundleError::LinkOutside { path: name.to_owned(), target });
        }
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        archive.append_link(&mut header, name, target).map_err(failed())?;
        return Ok(Kind::File);
    }
    if !meta.is_file() {
        return Err(BundleError::Unsupported { path: name.to_owned() });
    }
    let Some(rest) = left.checked_sub(meta.len()) else { return Ok(Kind::TooLarge) };
    *left = rest;
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(if meta.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 });
    header.set_size(meta.len());
    let file = fs::File::open(path).map_err(failed())?;
    archive.append_data(&mut header, name, Exactly { file, left: meta.len() }).map_err(failed())?;
    Ok(Kind::File)
}

/// A file that must have the length that the header says: one that grows is cut off there, one
/// that shrinks is an error, either would spoil the entries after it.
struct Exactly {
    file: fs::File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = Read::by_ref(&mut self.file).take(self.left).read(buffer)?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::other("it shrank while it was packed"));
        }
        self.left = self.left.saturating_sub(crate::transfer::length(read));
        Ok(read)
    }
}

fn digest(file: &mut fs::File) -> io::Result<(Digest, u64)> {
    file.rewind()?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else { break };
        hasher.update(chunk);
        bytes += crate::transfer::length(read);
    }
    Ok((Digest::from_hasher(hasher), bytes))
}
