//! From an archive to a work directory, whoever made the archive. Files and folders first,
//! links last: nothing is ever written through a link.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs,
    io::{self, Read},
    os::unix::fs::{OpenOptionsExt as _, symlink},
    path::{Component, Path, PathBuf},
    rc::Rc,
};

use super::{BundleError, Limits, stays_inside};

/// What headers, long names and padding of one entry may take.
const HEADER_ALLOWANCE: u64 = 64 << 10;

/// Unpacks the bundle `file` into `dest`, which is made if missing and must hold none of the
/// bundle's files.
///
/// # Errors
/// The archive is malformed or hostile, or exceeds [`super::MAX_BYTES`] or
/// [`super::MAX_ENTRIES`]; or `dest` cannot be written. What was unpacked until then stays:
/// delete `dest`.
pub fn unpack(file: &Path, dest: &Path) -> Result<(), BundleError> {
    unpack_within(file, dest, Limits::default())
}

pub(super) fn unpack_within(file: &Path, dest: &Path, limits: Limits) -> Result<(), BundleError> {
    let malformed = |source| BundleError::Malformed { path: file.to_owned(), source };
    let source = fs::File::open(file).map_err(BundleError::file("open", file))?;
    let decoder = zstd::Decoder::new(source).map_err(malformed)?;
    let allowance = Rc::new(Cell::new(HEADER_ALLOWANCE));
    let mut archive = tar::Archive::new(Metered { inner: decoder, left: Rc::clone(&allowance) });
    fs::create_dir_all(dest).map_err(BundleError::file("make", dest))?;

    let mut links: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    let mut left = limits;
    let mut entries = archive.entries().map_err(malformed)?;
    loop {
        allowance.set(HEADER_ALLOWANCE);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(malformed)?;
        left.entries = left.entries.checked_sub(1).ok_or(BundleError::too_large(limits))?;
        left.bytes = left.bytes.checked_sub(entry.size()).ok_or(BundleError::too_large(limits))?;
        allowance.set(entry.size().saturating_add(HEADER_ALLOWANCE));
        let name = plain_name(&entry.path().map_err(malformed)?)?;
        let path = dest.join(&name);
        match entry.header().entry_type() {
            tar::EntryType::Directory => {
                fs::create_dir_all(&path).map_err(BundleError::file("make", &path))?;
            }
            tar::EntryType::Regular => {
                let runs = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
                write_file(&mut entry, &path, runs)?;
            }
            tar::EntryType::Symlink => {
                let target = entry.link_name().map_err(malformed)?.unwrap_or_default();
                if !stays_inside(&name, &target) {
                    return Err(BundleError::Escape { path: name });
                }
                links.insert(name, target.into_owned());
            }
            _ => return Err(BundleError::Unsupported { path: name }),
        }
    }
    links.iter().try_for_each(|(name, target)| place_link(dest, name, target))
}

/// The entry's path, if it is relative and of plain names alone.
fn plain_name(path: &Path) -> Result<PathBuf, BundleError> {
    let escape = || BundleError::Escape { path: path.to_owned() };
    let mut name = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => name.push(part),
            Component::CurDir => {}
            _ => return Err(escape()),
        }
    }
    if name.as_os_str().is_empty() { Err(escape()) } else { Ok(name) }
}

fn write_file(source: &mut impl Read, path: &Path, runs: bool) -> Result<(), BundleError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(BundleError::file("make", parent))?;
    }
    let mode = if runs { 0o755 } else { 0o644 };
    // `create_new` never follows a link and never replaces: a name twice is an error.
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = file.map_err(BundleError::file("make", path))?;
    io::copy(source, &mut file).map(drop).map_err(BundleError::file("write", path))
}

/// Makes a link, unless a folder on the way to it is itself a link.
fn place_link(dest: &Path, name: &Path, target: &Path) -> Result<(), BundleError> {
    let mut folder = dest.to_owned();
    for part in name.parent().into_iter().flat_map(Path::components) {
        folder.push(part);
        match fs::symlink_metadata(&folder) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(BundleError::Escape { path: name.to_owned() }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::create_dir(&folder).map_err(BundleError::file("make", &folder))?;
            }
            Err(e) => return Err(BundleError::file("read", &folder)(e)),
        }
    }
    let path = dest.join(name);
    symlink(target, &path).map_err(BundleError::file("make", &path))
}

/// A reader that gives out no more than it was granted, so that neither a name of gigabytes
/// nor a file of zeros can be expanded past what its header and the limits allow.
struct Metered<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let rest = self.left.get().checked_sub(crate::transfer::length(read));
        self.left.set(rest.ok_or_else(|| io::Error::other("an entry is larger than it says"))?);
        Ok(read)
    }
}
