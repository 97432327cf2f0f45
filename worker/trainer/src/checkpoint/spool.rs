//! Writing into the spool: a folder under a hidden name, every file flushed, then one rename. A
//! folder named `step-<N>` is therefore always whole.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, files};

/// Checkpoints that await their upload before periodic ones are skipped.
const LIMIT: usize = 2;

/// The spool folder of this node.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
}

impl Spool {
    /// Uses `folder`, making it if need be.
    ///
    /// # Errors
    /// [`Error::Io`] with the folder.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Whether the agent is behind with its uploads.
    pub fn is_full(&self) -> bool {
        let Ok(entries) = fs::read_dir(&self.folder) else { return false };
        let waiting = entries.flatten().filter(|entry| {
            entry.file_name().to_str().is_some_and(|name| name.starts_with("step-"))
        });
        waiting.count() >= LIMIT
    }

    /// Writes a checkpoint of `step` and gives its folder. One that is already there is left as it
    /// is: equal steps of one run are equal to the bit.
    ///
    /// # Errors
    /// [`Error::Io`] with the file; the spool then holds no `step-<N>`.
    pub fn write(&self, step: u64, content: &[(&str, Vec<u8>)]) -> Result<PathBuf, Error> {
        let name = format!("step-{step:012}");
        let (tmp, done) = (self.folder.join(format!(".{name}.tmp")), self.folder.join(&name));
        if done.exists() {
            return Ok(done);
        }
        if tmp.exists() {
            fs::remove_dir_all(&tmp)
                .map_err(Error::io("remove what an earlier start left at", &tmp))?;
        }
        fs::create_dir(&tmp).map_err(Error::io("create", &tmp))?;
        for (file, bytes) in content {
            files::write_synced(&tmp.join(file), bytes)?;
        }
        files::sync(&tmp)?;
        files::rename_synced(&tmp, &done)?;
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::Spool;
    use std::fs;

    #[test]
    fn a_checkpoint_appears_whole_and_the_spool_fills() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        fs::create_dir(folder.path().join(".step-000000000450.tmp")).unwrap();
        let done = spool.write(450, &[("a.json", b"{}".to_vec())]).unwrap();
        assert!(done.ends_with("step-000000000450"));
        assert_eq!(fs::read(done.join("a.json")).unwrap(), b"{}");
        assert!(!spool.is_full());
        spool.write(451, &[]).unwrap();
        assert!(spool.is_full());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
