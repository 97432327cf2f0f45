//! The directory of one attempt, and that of all attempts. What a directory holds tells how far
//! the attempt came; nothing about it is kept anywhere else.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::json;
use trainyard_jobs::{AttemptRef, OverMemory};

use super::Order;
use crate::{durable, shim::ShimDir};

/// Directories on their way out, should a removal be interrupted.
const REMOVED: &str = ".removed";

/// An attempt's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttemptDir {
    path: PathBuf,
    shim: ShimDir,
}

impl AttemptDir {
    /// The directory of `attempt` below the agent's data directory.
    pub(crate) fn new(data_dir: &Path, attempt: &AttemptRef) -> Self {
        Self::at(attempts(data_dir).join(attempt.to_string()))
    }

    fn at(path: PathBuf) -> Self {
        Self { shim: ShimDir::new(&path), path }
    }

    /// The shim's files.
    pub(crate) fn shim(&self) -> &ShimDir {
        &self.shim
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the ranks start: the unpacked bundle, or an empty folder.
    pub(crate) fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    /// `$YARD_CHECKPOINT_DIR`: checkpoints that await their upload.
    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// `$YARD_RESUME_DIR`: the checkpoint that the attempt resumes from.
    pub(crate) fn resume(&self) -> PathBuf {
        self.path.join("resume")
    }

    /// `$YARD_ARTIFACT_DIR`: what the run hands back.
    pub(crate) fn artifacts(&self) -> PathBuf {
        self.path.join("artifacts")
    }

    /// The folder of [`Self::rank_metrics`].
    pub(crate) fn metrics(&self) -> PathBuf {
        self.path.join("metrics")
    }

    /// `$YARD_METRICS`: a rank's figures, as JSON lines.
    pub(crate) fn rank_metrics(&self, rank: u32) -> PathBuf {
        self.metrics().join(format!("rank-{rank}.jsonl"))
    }

    /// Asks the ranks for a checkpoint, by a time in milliseconds since 1970. They go on after it:
    /// whoever wants them to stop says so once it is stored.
    pub(crate) fn ask_to_save(&self, before_unix_ms: u64) -> io::Result<()> {
        let control = self.shim.control();
        durable::private_dir(&control)?;
        let before = before_unix_ms / 1000;
        let request = json!({ "checkpoint_before_unix_s": before, "then": "continue" });
        durable::write_json(&control.join("request.json"), &request)
    }

    /// How the agent remembers that it asked the shim to stop.
    fn stop_wish(&self) -> PathBuf {
        self.path.join("stop")
    }

    /// Puts on record that the stop which follows is the agent's own.
    pub(crate) fn record_stop_wish(&self) -> io::Result<()> {
        durable::write(&self.stop_wish(), b"")
    }

    /// Whether an agent asked the shim to stop.
    pub(crate) fn has_stop_wish(&self) -> bool {
        self.stop_wish().exists()
    }

    /// Why the agent stops the attempt, if for its memory.
    fn over_memory_file(&self) -> PathBuf {
        self.path.join("over-memory.json")
    }

    /// Puts on record that the stop which follows is for the memory of a rank.
    pub(crate) fn record_over_memory(&self, over: OverMemory) -> io::Result<()> {
        durable::write_json(&self.over_memory_file(), &over)
    }

    /// Whether the attempt was stopped for the memory of a rank.
    pub(crate) fn over_memory(&self) -> Option<OverMemory> {
        durable::read_json(&self.over_memory_file()).ok().flatten()
    }

    /// Whether it is certain that there is no such directory.
    pub(crate) fn is_absent(&self) -> bool {
        self.path.try_exists().is_ok_and(|exists| !exists)
    }

    /// Makes the directory with the order in it, or leaves nothing of it.
    pub(crate) fn create(&self, order: &Order) -> io::Result<()> {
        let made = self.try_create(order);
        if made.is_err() && !self.was_launched() {
            let _ = fs::remove_dir_all(&self.path);
        }
        made
    }

    fn try_create(&self, order: &Order) -> io::Result<()> {
        durable::private_dir(&self.path)?;
        if let Some(parent) = self.path.parent() {
            durable::sync_dir(parent)?;
        }
        durable::write_json(&self.path.join("attempt.json"), order)
    }

    /// Whether the shim was, or may have been, launched.
    pub(crate) fn was_launched(&self) -> bool {
        self.shim.plan().exists() || self.shim.exit().exists()
    }

    /// Removes the directory. An interrupted removal is finished by the next agent.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let mut aside = self.path.as_os_str().to_owned();
        aside.push(REMOVED);
        fs::rename(&self.path, &aside)?;
        fs::remove_dir_all(aside)
    }

    /// Every attempt in the data directory, with its order. What cannot be read is named in the
    /// log and left alone, unless it never became an attempt.
    pub(crate) fn scan(data_dir: &Path) -> io::Result<Vec<(Self, Order)>> {
        let root = attempts(data_dir);
        durable::private_dir(&root)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(&root)? {
            let dir = Self::at(entry?.path());
            let shown = dir.path.display();
            if dir.path.to_string_lossy().ends_with(REMOVED) {
                fs::remove_dir_all(&dir.path)?;
                continue;
            }
            match durable::read_json::<Order>(&dir.path.join("attempt.json")) {
                Ok(Some(order)) if order.is_known_format() => found.push((dir, order)),
                Ok(Some(_)) => {
                    tracing::error!(dir = %shown, "attempt of a newer agent: left alone")
                }
                Ok(None) if dir.was_launched() => {
                    tracing::error!(dir = %shown, "attempt without its order: left alone");
                }
                Ok(None) => fs::remove_dir_all(&dir.path)?,
                Err(error) => tracing::error!(dir = %shown, %error, "cannot read the attempt"),
            }
        }
        Ok(found)
    }
}

/// Where all attempts are, below the agent's data directory.
pub(crate) fn attempts(data_dir: &Path) -> PathBuf {
    data_dir.join("attempts")
}

#[cfg(test)]
mod tests {
    use trainyard_jobs::{AttemptNo, Bytes, Generation, JobId};
    use trainyard_proto::v1;

    use super::*;

    #[test]
    fn an_attempt_is_found_again_until_it_is_removed() {
        let data = tempfile::tempdir().unwrap();
        let attempt = AttemptRef {
            job: JobId::from_random(1),
            attempt: AttemptNo(2),
            generation: Generation(3),
        };
        let order = Order::from_wire(v1::DesiredAttempt {
            attempt: Some((&attempt).into()),
            started: Some(v1::Revision::default()),
            ..v1::DesiredAttempt::default()
        });
        let order = order.unwrap();
        let dir = AttemptDir::new(data.path(), &attempt);
        assert!(dir.is_absent());
        dir.create(&order).unwrap();
        assert!(!dir.is_absent());
        fs::create_dir_all(data.path().join("attempts/half-made")).unwrap();
        fs::create_dir_all(data.path().join("attempts/x.removed/y")).unwrap();
        assert_eq!(AttemptDir::scan(data.path()).unwrap(), [(dir.clone(), order.clone())]);
        assert_eq!(fs::read_dir(data.path().join("attempts")).unwrap().count(), 1);
        assert_eq!(dir.over_memory(), None);
        let over = OverMemory { rank: 1, used: Bytes(3), share: Bytes(2) };
        dir.record_over_memory(over).unwrap();
        assert_eq!(dir.over_memory(), Some(over));
        dir.remove().unwrap();
        assert_eq!(AttemptDir::scan(data.path()).unwrap(), []);

        // What cannot be finished leaves nothing that could be mistaken for an attempt.
        fs::create_dir_all(dir.path().join("attempt.json")).unwrap();
        assert!(dir.create(&order).is_err());
        assert!(dir.is_absent());
    }
}
