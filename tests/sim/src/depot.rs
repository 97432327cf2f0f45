//! The object store: the real layout and checks over memory, away now and then.

use bytes::Bytes;
use futures::executor::block_on;
use trainyard_jobs::{
    AttemptRef, FileEntry, Manifest,
    checkpoint::{Description, FORMAT},
};
use trainyard_store::{Store, StoreError, keys};

/// The store as every process reaches it.
pub struct Depot {
    pub store: Store,
    /// Nothing answers.
    pub away: bool,
}

impl Depot {
    pub fn new() -> Self {
        Self { store: Store::open("memory://").expect("a store in memory"), away: false }
    }

    /// Stores one node's part of a checkpoint, or finds the one that is there.
    pub fn checkpoint(
        &self,
        attempt: &AttemptRef,
        step: u64,
        part: u32,
        parts: u32,
    ) -> Result<FileEntry, StoreError> {
        block_on(async {
            if let Some(stored) = self.store.find_manifest(attempt, step, part).await? {
                return Ok(stored);
            }
            let prefix = keys::checkpoint_part(attempt, step, part);
            let bytes = Bytes::from(format!("{attempt} {step} {part}"));
            let file = self.store.put_bytes(&format!("{prefix}state"), "state", bytes).await?;
            let description = Description {
                format: FORMAT,
                step,
                epoch: 0,
                world_size: 0,
                parts,
                metrics: std::collections::BTreeMap::new(),
            };
            let attempt = attempt.clone();
            let files = vec![file];
            let manifest = Manifest { format: FORMAT, attempt, part, description, files };
            self.store.commit_manifest(&manifest).await
        })
    }

    /// The step of a checkpoint that is to be resumed from, once every byte of it was read.
    pub fn resume(&self, manifests: &[FileEntry]) -> Result<u64, StoreError> {
        block_on(async {
            let mut step = 0;
            for entry in manifests {
                let manifest = self.store.read_manifest(entry).await?;
                for file in &manifest.files {
                    self.store.verify(file).await?;
                }
                step = manifest.description.step;
            }
            Ok(step)
        })
    }

    /// Stores what a run hands back; damaged, if the draw says so.
    pub fn artifact(&self, attempt: &AttemptRef, damaged: bool) -> Result<FileEntry, StoreError> {
        block_on(async {
            let key = keys::artifact(attempt, "model");
            let bytes = Bytes::from(format!("model of {attempt}"));
            let stored = self.store.put_bytes(&key, "model", bytes).await?;
            if damaged {
                let bytes = Bytes::from(format!("MODEL of {attempt}"));
                self.store.put_bytes(&key, "model", bytes).await?;
            }
            Ok(stored)
        })
    }
}
