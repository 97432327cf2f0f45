//! Reading a checkpoint back, with its fit to this run checked before anything is changed.

use std::fs;
use std::path::Path;

use tch::Tensor;

use super::{DESCRIPTION_FILE, Description, FORMAT, TRAINER_FILE, TrainerState, from_safetensors};
use crate::Error;

/// Reads the trainer's state from `folder`, for a run that looks like `expected` (whose step,
/// evaluation and seconds do not matter).
///
/// # Errors
/// [`Error::Checkpoint`] saying which of format, world size, batch size, seed or data differs.
pub fn read_state(folder: &Path, expected: &TrainerState) -> Result<TrainerState, Error> {
    let refuse = |why: String| Error::Checkpoint { path: folder.to_owned(), why };
    let description: Description = read_json(folder, DESCRIPTION_FILE)?;
    if description.format != FORMAT {
        return Err(refuse(format!(
            "has format {}; this yard-train reads format {FORMAT}",
            description.format
        )));
    }
    let state: TrainerState = read_json(folder, TRAINER_FILE)?;
    if state.step != description.step {
        return Err(refuse(format!(
            "{DESCRIPTION_FILE} is of step {}, {TRAINER_FILE} of step {}",
            description.step, state.step
        )));
    }
    let same = |what: &str, stored: u64, now: u64| match stored == now {
        true => Ok(()),
        false => Err(refuse(format!(
            "was made with {what} {stored}, this run has {now}; resume with {stored}, or start anew"
        ))),
    };
    same("world size", state.world_size.into(), expected.world_size.into())?;
    same("batch_size", wide(state.batch_size), wide(expected.batch_size))?;
    same("seed", state.seed, expected.seed)?;
    same("a training set of", wide(state.samples), wide(expected.samples))?;
    Ok(state)
}

/// Loads one of the checkpoint's tensor files into `named`.
///
/// # Errors
/// [`Error::Checkpoint`] or [`Error::Io`] naming the file.
pub fn load_tensors<'a, N: AsRef<str>>(
    folder: &Path,
    file: &str,
    named: impl Iterator<Item = (N, &'a Tensor)>,
) -> Result<(), Error> {
    let path = folder.join(file);
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    from_safetensors(&path, &bytes, named)
}

fn read_json<T: serde::de::DeserializeOwned>(folder: &Path, file: &str) -> Result<T, Error> {
    let path = folder.join(file);
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::Checkpoint { path, why: e.to_string() })
}

fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
