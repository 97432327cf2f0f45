//! What the node has and how it is doing: GPUs by NVML, processors, memory and disk by the
//! system. Read on a thread of its own, so that a driver that hangs holds nothing else up. A
//! figure that cannot be read is absent, never zero.

mod gpu;
mod host;
mod inventory;
mod sampler;

pub(crate) use gpu::{Gpus, Reading};
pub(crate) use inventory::inventory;
pub(crate) use sampler::{Sampler, Watch, unix_ms};
