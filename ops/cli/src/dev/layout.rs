//! What lies where in a `yard dev` directory, and the lock that keeps a second one out.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use crate::{endpoint::DEV_FILE, error::CliError};

/// A `yard dev` directory, held by this process until it is dropped.
#[derive(Debug)]
pub(crate) struct Layout {
    dir: PathBuf,
    _lock: File,
}

const LOCK: &str = "lock";

impl Layout {
    /// Makes the directory if need be and takes it.
    pub(crate) fn take(dir: &Path) -> Result<Self, CliError> {
        let broken = |error: io::Error| CliError::io("use the directory", dir, &error);
        fs::create_dir_all(dir).map_err(broken)?;
        let dir = dir.canonicalize().map_err(broken)?;
        if !dir.join(LOCK).exists() && fs::read_dir(&dir).map_err(broken)?.next().is_some() {
            return Err(CliError::usage(format!("`{}` holds other things", dir.display()))
                .help("name an empty directory, or a new one, with --dir"));
        }
        let path = dir.join(LOCK);
        let lock = File::create(&path).map_err(|error| CliError::io("open", &path, &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir, _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(CliError::usage(format!("a `yard dev` runs from `{}` already", dir.display()))
                    .help("use it, stop it, or start another one with --dir"))
            }
            Err(TryLockError::Error(error)) => Err(CliError::io("lock", &path, &error)),
        }
    }

    /// The directory, absolute.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether nothing has run here yet.
    pub(crate) fn is_new(&self) -> bool {
        !self.saved().exists()
    }

    /// Removes all that earlier runs left.
    pub(crate) fn clear(&self) -> Result<(), CliError> {
        let broken = |error: io::Error| CliError::io("clear", &self.dir, &error);
        for entry in fs::read_dir(&self.dir).map_err(broken)? {
            let entry = entry.map_err(broken)?;
            if entry.file_name() == LOCK {
                continue;
            }
            let is_dir = entry.file_type().map_err(broken)?.is_dir();
            let path = entry.path();
            if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) }
                .map_err(broken)?;
        }
        Ok(())
    }

    /// What must be the same at the next start.
    pub(crate) fn saved(&self) -> PathBuf {
        self.dir.join("dev.toml")
    }

    /// The object store.
    pub(crate) fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// A daemon's configuration.
    pub(crate) fn config(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.toml"))
    }

    /// A daemon's data.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A daemon's log.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.dir.join("log").join(format!("{name}.log"))
    }

    /// A daemon's process id, while it runs.
    pub(crate) fn pid(&self, name: &str) -> PathBuf {
        self.dir.join("run").join(format!("{name}.pid"))
    }

    /// Makes a directory within.
    pub(crate) fn make(&self, path: &Path) -> Result<(), CliError> {
        fs::create_dir_all(path).map_err(|error| CliError::io("make", path, &error))
    }

    /// Writes a file within, with the folder it lies in.
    pub(crate) fn write(&self, path: &Path, text: &str) -> Result<(), CliError> {
        if let Some(parent) = path.parent() {
            self.make(parent)?;
        }
        fs::write(path, text).map_err(|error| CliError::io("write", path, &error))
    }

    /// Tells other terminals where the schedulers answer.
    pub(crate) fn announce(&self, endpoints: &[String]) -> Result<(), CliError> {
        self.write(&self.dir.join(DEV_FILE), &(endpoints.join(",") + "\n"))
    }

    /// Takes that back.
    pub(crate) fn unannounce(&self) {
        let _ = fs::remove_file(self.dir.join(DEV_FILE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = Layout::take(&dir.path().join("a")).unwrap();
        let second = Layout::take(first.dir()).unwrap_err();
        assert_eq!(second.exit().code(), 2);
        assert!(second.render(false, 200).contains("runs from"));
        drop(first);
        assert!(Layout::take(&dir.path().join("a")).is_ok());
    }

    #[test]
    fn a_directory_of_other_things_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "").unwrap();
        assert!(Layout::take(dir.path()).is_err());
        assert!(dir.path().join("thesis.tex").exists());
    }

    #[test]
    fn clearing_keeps_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::take(dir.path()).unwrap();
        layout.write(&layout.config("worker-1"), "").unwrap();
        layout.write(&layout.log("worker-1"), "").unwrap();
        layout.clear().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(Layout::take(dir.path()).is_err());
    }
}
