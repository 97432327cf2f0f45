//! Checkpoints: a folder of files that says all that a run needs to go on to the bit. This side
//! only ever writes new ones into the node's spool; uploading and deleting are the agent's.

mod resume;
mod spool;
mod tensors;

use serde::{Deserialize, Serialize};

pub use resume::{load_tensors, read_state};
pub use spool::Spool;
pub use tensors::{from_safetensors, to_safetensors};
pub use trainyard_jobs::checkpoint::{DESCRIPTION_FILE, Description, FORMAT};

/// `model.safetensors`: parameters and buffers.
pub const MODEL_FILE: &str = "model.safetensors";
/// `optimizer.safetensors`: the optimizer's state.
pub const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// `trainer.json`: [`TrainerState`].
pub const TRAINER_FILE: &str = "trainer.json";

/// `trainer.json`: what the trainer needs beside its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainerState {
    /// [`FORMAT`]
    pub format: u32,
    /// Steps done.
    pub step: u64,
    /// How many ranks trained.
    pub world_size: u32,
    /// Samples a rank and step.
    pub batch_size: usize,
    /// Of the order of samples.
    pub seed: u64,
    /// Samples in the training set.
    pub samples: usize,
    /// The last evaluation.
    pub evaluation: Option<Evaluation>,
    /// Seconds trained so far, over all attempts.
    pub seconds: f64,
}

/// The result of a pass over the test set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// After how many steps.
    pub step: u64,
    /// Mean loss.
    pub loss: f64,
    /// Share of right answers.
    pub accuracy: f64,
}
