//! A directory of certificates and keys on disk. A node has `node.crt` and `node.key`, a person
//! `person.crt` and `person.key`, all `ca.crt`, and schedulers `ca.key` too. Keys are their
//! owner's alone. Whatever moment a crash comes at, certificate and key found here fit.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::{Authority, Issued, PkiError, Request};

/// Whose certificate a directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A scheduler or worker.
    Node,
    /// Somebody at a keyboard.
    Person,
}

impl Holder {
    const fn stem(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Person => "person",
        }
    }
}

const CA: &str = "ca.crt";
const CA_KEY: &str = "ca.key";

/// The largest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// A directory of certificates and keys.
#[derive(Debug, Clone)]
pub struct PkiDir {
    path: PathBuf,
}

impl PkiDir {
    /// The directory at `path`, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether somebody's certificate is here.
    #[must_use]
    pub fn holds(&self, holder: Holder) -> bool {
        self.certificate_file(holder).exists()
    }

    /// Where somebody's certificate lies.
    #[must_use]
    pub fn certificate_file(&self, holder: Holder) -> PathBuf {
        self.path.join(format!("{}.crt", holder.stem()))
    }

    /// The authority, if its key is here.
    ///
    /// # Errors
    /// When it is here and cannot be used.
    pub fn authority(&self) -> Result<Option<Authority>, PkiError> {
        let path = self.path.join(CA_KEY);
        if !path.exists() {
            return Ok(None);
        }
        let key = read_key(&path)?;
        let authority = Authority::from_pem(&self.roots()?, &key);
        authority.map(Some).map_err(|e| PkiError::Content { path, problem: e.to_string() })
    }

    /// The authorities that are trusted, PEM.
    ///
    /// # Errors
    /// When the file is not there or cannot be read.
    pub fn roots(&self) -> Result<String, PkiError> {
        read(&self.path.join(CA))
    }

    /// Writes what everybody trusts, and makes the directory if need be.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_roots(&self, pem: &str) -> Result<(), PkiError> {
        self.make()?;
        write(&self.path.join(CA), pem, 0o644)
    }

    /// Writes the authority with its key, for a scheduler.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_authority(&self, certificate: &str, key: &str) -> Result<(), PkiError> {
        self.write_roots(certificate)?;
        write(&self.path.join(CA_KEY), key, 0o600)
    }

    /// Writes a certificate with its key; what was here before is replaced.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_issued(&self, holder: Holder, issued: &Issued) -> Result<(), PkiError> {
        self.make()?;
        // The new key waits beside the old one until its certificate is in place.
        let next = self.key_file(holder).with_extension("key.next");
        write(&next, &issued.key, 0o600)?;
        write(&self.certificate_file(holder), &issued.certificate, 0o644)?;
        self.promote(holder, &next)
    }

    /// A certificate with its key.
    ///
    /// # Errors
    /// When they are not here, or the key does not fit.
    pub fn read_issued(&self, holder: Holder) -> Result<Issued, PkiError> {
        let certificate = read(&self.certificate_file(holder))?;
        let path = self.key_file(holder);
        let next = path.with_extension("key.next");
        if next.exists() {
            let key = read_key(&next)?;
            if fits(&certificate, &key) {
                // A crash came between the certificate and its key.
                self.promote(holder, &next)?;
                return Ok(Issued { certificate, key });
            }
        }
        let key = read_key(&path)?;
        if !fits(&certificate, &key) {
            let problem = "it is not the key of the certificate beside it".to_owned();
            return Err(PkiError::Content { path, problem });
        }
        Ok(Issued { certificate, key })
    }

    /// A request whose key waits here for its certificate: one that asks again, after whatever came
    /// between, asks with the same key.
    ///
    /// # Errors
    /// When the key cannot be kept.
    pub fn request(&self, holder: Holder) -> Result<Request, PkiError> {
        self.make()?;
        let next = self.key_file(holder).with_extension("key.next");
        if next.exists() {
            return Request::from_key(&read_key(&next)?);
        }
        let request = Request::new()?;
        write(&next, &request.key(), 0o600)?;
        Ok(request)
    }

    fn key_file(&self, holder: Holder) -> PathBuf {
        self.path.join(format!("{}.key", holder.stem()))
    }

    fn promote(&self, holder: Holder, next: &Path) -> Result<(), PkiError> {
        fs::rename(next, self.key_file(holder)).map_err(PkiError::file(next))?;
        sync(&self.path).map_err(PkiError::file(&self.path))
    }

    fn make(&self) -> Result<(), PkiError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
        made.map_err(PkiError::file(&self.path))
    }
}

fn fits(certificate: &str, key: &str) -> bool {
    use rcgen::PublicKeyData as _;
    let Ok(key) = rcgen::KeyPair::from_pem(key) else { return false };
    let Ok(chain) = crate::parse::certificates(certificate.as_bytes()) else { return false };
    chain.first().is_some_and(|own| crate::parse::has_key(own, &key.subject_public_key_info()))
}

fn read_key(path: &Path) -> Result<String, PkiError> {
    let open = |path: &Path| fs::metadata(path).map(|meta| meta.permissions().mode() & 0o077 != 0);
    if open(path).map_err(missing(path))? {
        return Err(PkiError::Exposed { path: path.to_owned() });
    }
    read(path)
}

fn read(path: &Path) -> Result<String, PkiError> {
    let file = File::open(path).map_err(missing(path))?;
    io::read_to_string(io::Read::take(file, MAX_FILE)).map_err(PkiError::file(path))
}

fn missing(path: &Path) -> impl FnOnce(io::Error) -> PkiError {
    let path = path.to_owned();
    |source| match source.kind() {
        io::ErrorKind::NotFound => PkiError::Missing { path },
        _ => PkiError::File { path, source },
    }
}

/// Writes aside, syncs, renames, so that a reader finds the old or the new and never half.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let aside = PathBuf::from(name);
    let written = || -> io::Result<()> {
        let _ = fs::remove_file(&aside);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        path.parent().map_or(Ok(()), sync)
    };
    written().map_err(PkiError::file(path))
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
