//! A small disk that can be filled: a tmpfs, mounted for the length of a test. Needs root.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

const FILLER: &str = "filler";

/// A mounted file system of a few megabytes.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one of `megabytes` at `folder`.
    pub fn mount(folder: &Path, megabytes: u32) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "trainyard-test"])
            .arg(folder)
            .output()
            .context("could not run mount")?;
        let words = String::from_utf8_lossy(&mounted.stderr);
        ensure!(
            mounted.status.success(),
            "cannot mount a small disk, which takes root: run the tests as root ({})",
            words.trim()
        );
        Ok(Self { folder: folder.to_owned() })
    }

    /// Takes all space that is left.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::create(self.folder.join(FILLER))?;
        for size in [1 << 20, 4096, 1] {
            let block = vec![0; size];
            loop {
                match file.write_all(&block) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("could not fill the disk"),
                }
            }
        }
        Ok(())
    }

    /// Gives the space back.
    pub fn free(&self) -> anyhow::Result<()> {
        fs::remove_file(self.folder.join(FILLER)).context("could not free the disk")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is still ending must not keep it mounted.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}
