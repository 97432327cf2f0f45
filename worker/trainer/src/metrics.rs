//! One JSON object a line into the file that `YARD_METRICS` names. Numbers in it are finite.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::Error;

/// Progress of the training itself.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct TrainLine {
    /// Seconds since 1970.
    pub t: f64,
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub total_steps: u64,
    /// The epoch, counted from 0.
    pub epoch: u64,
    /// This rank's loss at this step.
    pub loss: f64,
    /// Over all ranks, since the last line.
    pub samples_per_s: f64,
}

/// What the test set says, over all ranks.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct EvaluationLine {
    /// Seconds since 1970.
    pub t: f64,
    /// Steps done.
    pub step: u64,
    /// The epoch that ended, counted from 0.
    pub epoch: u64,
    /// Mean loss.
    pub val_loss: f64,
    /// Share of right answers.
    pub val_accuracy: f64,
}

/// An open metrics file, or none.
#[derive(Debug)]
pub struct MetricsFile {
    open: Option<(File, PathBuf)>,
}

impl MetricsFile {
    /// Opens `path` for appending.
    ///
    /// # Errors
    /// [`Error::Io`] with the path.
    pub fn append(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path else { return Ok(Self { open: None }) };
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(Error::io("open", path))?;
        Ok(Self { open: Some((file, path.to_owned())) })
    }

    /// Appends one line in one write, so that a reader never sees half of one.
    ///
    /// # Errors
    /// [`Error::Io`] with the path.
    pub fn write(&mut self, line: &impl Serialize) -> Result<(), Error> {
        let Some((file, path)) = &mut self.open else { return Ok(()) };
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        file.write_all(&bytes).map_err(Error::io("append to", path.as_path()))
    }
}

/// The wall clock as metrics carry it.
pub fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
