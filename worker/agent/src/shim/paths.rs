//! Where the shim's files lie in an attempt's directory, and whether a shim lives there.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use crate::durable;

/// An attempt's directory, as the shim sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShimDir(PathBuf);

impl ShimDir {
    /// The files of the shim that runs in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What the agent asks for: a [`super::Plan`].
    #[must_use]
    pub fn plan(&self) -> PathBuf {
        self.0.join("start.json")
    }

    /// Locked by the shim for as long as it lives.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("shim.lock")
    }

    /// The shim's and the ranks' processes: a [`super::StartedRecord`].
    #[must_use]
    pub fn started(&self) -> PathBuf {
        self.0.join("started.json")
    }

    /// How it ended: a [`super::ExitRecord`].
    #[must_use]
    pub fn exit(&self) -> PathBuf {
        self.0.join("exit.json")
    }

    /// The ranks' output, one [`trainyard_store::log::Record`] a line.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.0.join("log.jsonl")
    }

    /// What the shim itself has to say.
    #[must_use]
    pub fn errors(&self) -> PathBuf {
        self.0.join("shim.err")
    }

    /// Requests to the ranks: `$YARD_CONTROL`.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.0.join("control")
    }

    /// Takes the shim's lock, or says that a live shim holds it. The lock is given up when
    /// every copy of the file is closed, also by death.
    ///
    /// # Errors
    /// When the file cannot be opened or locked.
    pub fn try_lock(&self) -> io::Result<Option<File>> {
        let file = durable::lock_file(&self.lock())?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether a shim lives here.
    ///
    /// # Errors
    /// When the lock cannot be tried.
    pub fn is_alive(&self) -> io::Result<bool> {
        Ok(self.lock().exists() && self.try_lock()?.is_none())
    }
}
