//! Snapshot files: `snapshot-<index>.bin`, whole or absent, the newest two kept.
//!
//! A file is written beside its name, fsynced, renamed, and its folder fsynced, so that a name
//! never stands for half a snapshot. Which snapshot counts is the log's word, not the folder's.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::codec::SnapshotFrame;
use crate::{error::StorageError, machine::Capture};

const KEPT: usize = 2;

/// The extension of a draft that is written beside the raft thread.
const DRAFT: &str = "draft";

/// The snapshot files of one data directory.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFiles {
    dir: PathBuf,
}

impl SnapshotFiles {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(crate) fn path(&self, index: u64) -> PathBuf {
        self.dir.join(format!("snapshot-{index}.bin"))
    }

    /// Makes the snapshot durable under its name.
    pub(crate) fn save(&self, index: u64, encoded: &[u8]) -> Result<(), StorageError> {
        self.fill(index, "tmp", |file| file.write_all(encoded))
    }

    /// Makes a state durable as the snapshot that `frame` describes, and gives its size. The draft
    /// has a name of its own: another snapshot may be saved meanwhile.
    pub(crate) fn save_captured(
        &self,
        frame: &SnapshotFrame,
        state: &dyn Capture,
    ) -> Result<u64, StorageError> {
        let mut bytes = 0;
        self.fill(frame.index, DRAFT, |file| {
            bytes = frame.write(state, file)?;
            Ok(())
        })?;
        Ok(bytes)
    }

    fn fill(
        &self,
        index: u64,
        extension: &str,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), StorageError> {
        let path = self.path(index);
        let draft = path.with_extension(extension);
        let fill = || -> io::Result<()> {
            let mut file = File::create(&draft)?;
            write(&mut file)?;
            file.sync_all()?;
            fs::rename(&draft, &path)
        };
        fill().map_err(|source| StorageError::Io { action: "write the snapshot", path, source })?;
        sync_dir(&self.dir)
    }

    /// Removes drafts that an earlier life left: in this one nobody writes yet.
    pub(crate) fn remove_drafts(&self) {
        self.remove_with(DRAFT);
    }

    fn remove_with(&self, extension: &str) {
        if let Ok(items) = fs::read_dir(&self.dir) {
            for path in items.flatten().map(|item| item.path()) {
                if path.extension().is_some_and(|e| e == extension) {
                    let _ = fs::remove_file(path);
                }
            }
        }
    }

    /// The snapshot at `index`, checked, with its encoded bytes.
    pub(crate) fn load(
        &self,
        index: u64,
        cluster: [u8; 16],
    ) -> Result<(SnapshotFrame, Bytes), StorageError> {
        let path = self.path(index);
        let encoded = fs::read(&path).map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                return StorageError::SnapshotCorrupt {
                    path: path.clone(),
                    detail: "it is missing".to_owned(),
                };
            }
            StorageError::Io { action: "read the snapshot", path: path.clone(), source }
        })?;
        let encoded = Bytes::from(encoded);
        let frame = SnapshotFrame::decode(&encoded).and_then(|frame| {
            if frame.index != index {
                return Err(format!("it says that it is of index {}", frame.index));
            }
            if frame.cluster != cluster {
                return Err("it belongs to another cluster".to_owned());
            }
            Ok(frame)
        });
        match frame {
            Ok(frame) => Ok((frame, encoded)),
            Err(detail) => Err(StorageError::SnapshotCorrupt { path, detail }),
        }
    }

    /// The indices of the snapshots that lie here, newest first.
    pub(crate) fn list(&self) -> Result<Vec<u64>, StorageError> {
        let fail = |source| StorageError::Io { action: "list", path: self.dir.clone(), source };
        let mut found = Vec::new();
        for item in fs::read_dir(&self.dir).map_err(fail)? {
            let name = item.map_err(fail)?.file_name();
            let index = name
                .to_str()
                .and_then(|n| n.strip_prefix("snapshot-"))
                .and_then(|n| n.strip_suffix(".bin"));
            found.extend(index.and_then(|n| n.parse::<u64>().ok()));
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }

    /// Removes what is not needed beside `current`: drafts and files newer than it, which a crash
    /// left before the log knew of them, and all but the newest two. A file that cannot be removed
    /// is tried again next time.
    pub(crate) fn prune(&self, current: u64) -> Result<(), StorageError> {
        let mut kept = 0usize;
        for index in self.list()? {
            if index > current || kept == KEPT {
                let _ = fs::remove_file(self.path(index));
            } else {
                kept = kept.saturating_add(1);
            }
        }
        self.remove_with("tmp");
        Ok(())
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    File::open(dir).and_then(|folder| folder.sync_all()).map_err(|source| StorageError::Io {
        action: "sync the folder",
        path: dir.to_owned(),
        source,
    })
}
