//! What stands beside training: a benchmark, and the check of a machine's GPUs. Both start ranks of
//! this program on this machine.

mod bench;
mod gpu_check;
mod launch;

pub use bench::{BenchOptions, RankResult, bench_rank, bench_ranks};
pub use gpu_check::{GpuCheck, gpu_check};
