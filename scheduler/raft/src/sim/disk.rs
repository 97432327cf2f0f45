//! A disk for redb that loses power: of what was not synced, each write survives or not, by the
//! seed.

use std::{
    io,
    sync::{Arc, Mutex},
};

use redb::{Database, DatabaseError, StorageBackend};

use super::Rng;

#[derive(Debug, Default)]
struct State {
    /// What a power cut leaves for certain.
    synced: Vec<u8>,
    /// What the program sees.
    live: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
    /// Files of an earlier life cannot write any more.
    life: u64,
    /// Operations until the disk fails.
    fuse: Option<u64>,
    /// It has failed, and whoever used it must go.
    failed: bool,
}

/// The disk; outlives the files opened on it.
#[derive(Debug, Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    /// Opens the database on it.
    ///
    /// # Errors
    /// When the disk fails meanwhile, or what is on it is damaged.
    pub fn open(&self) -> Result<Database, DatabaseError> {
        let life = self.0.lock().unwrap().life;
        let file = SimFile { disk: self.clone(), life };
        Database::builder()
            .set_cache_size(1 << 20)
            .set_check_integrity_on_open(true)
            .create_with_backend(file)
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
        let mut bytes = std::mem::take(&mut state.synced);
        for (offset, data) in std::mem::take(&mut state.pending) {
            if rng.chance(50) {
                put(&mut bytes, offset, &data);
            }
        }
        state.live = bytes.clone();
        state.synced = bytes;
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
}

impl SimFile {
    fn with<R>(&self, changes: bool, act: impl FnOnce(&mut State) -> R) -> io::Result<R> {
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
        Ok(act(&mut state))
    }
}

impl StorageBackend for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.with(false, |state| state.live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(false, |state| {
            out.copy_from_slice(&state.live[offset as usize..][..out.len()]);
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(true, |state| {
            state.live.resize(len as usize, 0);
            state.synced.resize(len as usize, 0);
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(true, |state| {
            for (offset, data) in std::mem::take(&mut state.pending) {
                put(&mut state.synced, offset, &data);
            }
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(true, |state| {
            put(&mut state.live, offset as usize, data);
            state.pending.push((offset as usize, data.to_vec()));
        })
    }
}
