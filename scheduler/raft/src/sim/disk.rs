//! A disk that loses power: of what was not synced, each write survives or not, by the seed. Holds
//! the two files of a data directory.

use std::{
    io,
    sync::{Arc, Mutex},
};

use redb::{Database, DatabaseError, StorageBackend};

use super::Rng;
use crate::storage::Disk;

#[derive(Debug, Default)]
struct Content {
    /// What a power cut leaves for certain.
    synced: Vec<u8>,
    /// What the program sees.
    live: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
}

#[derive(Debug, Default)]
struct State {
    files: [Content; 2],
    /// Files of an earlier life cannot write any more.
    life: u64,
    /// Operations until the disk fails.
    fuse: Option<u64>,
    /// It has failed, and whoever used it must go.
    failed: bool,
}

const DATABASE: usize = 0;
const ENTRIES: usize = 1;

/// The disk; outlives the files opened on it.
#[derive(Debug, Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    /// Opens the files on it.
    ///
    /// # Errors
    /// When the disk fails meanwhile, or what is on it is damaged.
    pub(crate) fn open(&self) -> Result<Disk, DatabaseError> {
        let db = Database::builder()
            .set_cache_size(1 << 20)
            .set_check_integrity_on_open(true)
            .create_with_backend(self.file(DATABASE))?;
        Ok(Disk { db, entries: self.entries() })
    }

    fn file(&self, which: usize) -> SimFile {
        let life = self.0.lock().unwrap().life;
        SimFile { disk: self.clone(), life, which }
    }

    /// The entries' file by itself.
    pub(crate) fn entries(&self) -> Box<dyn StorageBackend> {
        Box::new(self.file(ENTRIES))
    }

    /// Changes what lies in the entries' file, as a disk that rots does.
    pub fn damage(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock().unwrap();
        let file = &mut state.files[ENTRIES];
        change(&mut file.synced);
        file.live = file.synced.clone();
    }

    /// Lets the disk fail after so many writes and syncs.
    pub fn burn(&self, operations: u64) {
        self.0.lock().unwrap().fuse = Some(operations);
    }

    /// Mends it, if it has not failed yet.
    pub fn mend(&self) {
        self.0.lock().unwrap().fuse = None;
    }

    /// Whether it has failed since the power was last cut.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.0.lock().unwrap().failed
    }

    /// Cuts the power. Drop whatever was open on it afterwards.
    pub fn cut_power(&self, rng: &mut Rng) {
        let mut state = self.0.lock().unwrap();
        state.life += 1;
        state.fuse = None;
        state.failed = false;
        for (which, file) in state.files.iter_mut().enumerate() {
            let mut bytes = std::mem::take(&mut file.synced);
            for (offset, data) in std::mem::take(&mut file.pending) {
                if rng.chance(50) {
                    put(&mut bytes, offset, &data);
                } else if which == ENTRIES && rng.chance(50) {
                    // Torn: each sector by itself.
                    for (i, sector) in data.chunks(512).enumerate().filter(|_| rng.chance(50)) {
                        put(&mut bytes, offset + 512 * i, sector);
                    }
                }
            }
            file.live = bytes.clone();
            file.synced = bytes;
        }
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    life: u64,
    which: usize,
}

impl SimFile {
    fn with<R>(&self, changes: bool, act: impl FnOnce(&mut Content) -> R) -> io::Result<R> {
        let mut state = self.disk.0.lock().unwrap();
        if state.life != self.life {
            return Err(io::Error::other("the power was cut"));
        }
        if let (true, Some(left)) = (changes, state.fuse.as_mut()) {
            if *left == 0 {
                state.failed = true;
                return Err(io::Error::other("the disk failed"));
            }
            *left -= 1;
        }
        Ok(act(&mut state.files[self.which]))
    }
}

impl StorageBackend for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.with(false, |file| file.live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(false, |file| {
            out.copy_from_slice(&file.live[offset as usize..][..out.len()]);
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(true, |file| {
            file.live.resize(len as usize, 0);
            file.synced.resize(len as usize, 0);
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(true, |file| {
            for (offset, data) in std::mem::take(&mut file.pending) {
                put(&mut file.synced, offset, &data);
            }
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(true, |file| {
            put(&mut file.live, offset as usize, data);
            file.pending.push((offset as usize, data.to_vec()));
        })
    }
}
