//! A wrong clock for one process: libfaketime, which Debian's package `faketime` brings. The
//! monotonic clock stays as it is, as on a machine whose wall clock is set.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// A clock that can be set while a process runs under it.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// A clock that is right until it is set; `file` is where it is set.
    pub fn new(file: &Path) -> anyhow::Result<Self> {
        let name = "faketime/libfaketime.so.1";
        let triple = format!("{}-linux-gnu", env::consts::ARCH);
        let places = [format!("/usr/lib/{triple}"), "/usr/lib64".into(), "/usr/lib".into()];
        let found = places.iter().map(|place| Path::new(place).join(name)).find(|p| p.exists());
        let library =
            found.context("libfaketime is not installed: run `make setup`, or install faketime")?;
        let clock = Self { library, file: file.to_owned() };
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets it `seconds` ahead of the true time; behind it, if negative.
    pub fn set(&self, seconds: i64) -> anyhow::Result<()> {
        // Renamed into place: a reader finds the old offset or the new one.
        let beside = self.file.with_extension("next");
        fs::write(&beside, format!("{seconds:+}\n"))?;
        fs::rename(&beside, &self.file)?;
        Ok(())
    }

    /// What makes a process live by it.
    pub(crate) fn environment(&self) -> [(&'static str, PathBuf); 4] {
        [
            ("LD_PRELOAD", self.library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }
}
