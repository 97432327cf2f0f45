//! What only a machine with a GPU can show: the trainer over NCCL, and over Gloo with CUDA tensors.
//! NCCL takes one rank a GPU, so on one GPU it is checked with a world of one.

use super::bench::{BenchOptions, RankResult, bench_ranks};
use crate::Error;
use crate::c10d::{self, Backend};
use crate::runtime::{Wishes, cuda_devices};

/// The check's result.
#[derive(Debug, Clone, PartialEq)]
pub enum GpuCheck {
    /// There is nothing to check, and why.
    NoGpu(String),
    /// Rows of a table: what, whether it went well, details.
    Ran(Vec<(String, bool, String)>),
}

/// Runs the check, starting ranks of this program.
///
/// # Errors
/// Never for a failed check, which is a row; only when this program cannot be started at all.
pub fn gpu_check() -> Result<GpuCheck, Error> {
    if !c10d::cuda_driver_present() {
        return Ok(GpuCheck::NoGpu("no CUDA driver (libcuda.so.1) on this machine".to_owned()));
    }
    if let Err(why) = c10d::load_cuda() {
        return Ok(GpuCheck::Ran(vec![(
            "load libtorch's CUDA libraries".to_owned(),
            false,
            why.to_string(),
        )]));
    }
    let devices = cuda_devices();
    if devices == 0 {
        return Ok(GpuCheck::NoGpu("a CUDA driver, but no GPU that libtorch can use".to_owned()));
    }
    let all = u32::try_from(devices).unwrap_or(1);
    let mut rows = vec![("CUDA devices".to_owned(), true, devices.to_string())];
    rows.push(row("1 rank over NCCL", 1, Backend::Nccl));
    if all > 1 {
        rows.push(row(&format!("{all} ranks over NCCL"), all, Backend::Nccl));
    }
    rows.push(row("2 ranks over Gloo, CUDA tensors", 2, Backend::Gloo));
    Ok(GpuCheck::Ran(rows))
}

fn row(what: &str, ranks: u32, backend: Backend) -> (String, bool, String) {
    let options = BenchOptions { ranks, width: 256, batch_size: 64, steps: 100, warmup: 10 };
    let wishes = Wishes { cuda: Some(true), backend: Some(backend), threads: None };
    match bench_ranks(&options, wishes).map(|results| judge(&results)) {
        Ok(Ok(detail)) => (what.to_owned(), true, detail),
        Ok(Err(why)) => (what.to_owned(), false, why),
        Err(error) => (what.to_owned(), false, error.to_string()),
    }
}

/// The loss must fall, and all ranks must hold the same weights.
fn judge(results: &[RankResult]) -> Result<String, String> {
    let first = results.first().ok_or("no rank answered")?;
    if results.iter().any(|result| result.weights_sum.to_bits() != first.weights_sum.to_bits()) {
        return Err("ranks ended with different weights".to_owned());
    }
    let fell = first.last_loss < first.first_loss;
    if !fell {
        return Err(format!("the loss went from {} to {}", first.first_loss, first.last_loss));
    }
    Ok(format!(
        "{:.0} steps/s, loss {:.3} to {:.3}",
        first.steps_per_s, first.first_loss, first.last_loss
    ))
}

#[cfg(test)]
mod tests {
    use super::judge;
    use crate::tools::RankResult;

    fn result(weights_sum: f64, last_loss: f64) -> RankResult {
        RankResult {
            implementation: String::new(),
            backend: String::new(),
            device: String::new(),
            width: 1,
            batch_size: 1,
            world_size: 2,
            steps: 1,
            steps_per_s: 10.0,
            first_loss: 2.0,
            last_loss,
            weights_sum,
        }
    }

    #[test]
    fn drifting_ranks_and_rising_losses_fail() {
        assert!(judge(&[result(1.0, 1.0), result(1.0, 1.1)]).is_ok());
        assert!(judge(&[result(1.0, 1.0), result(1.000_1, 1.0)]).is_err());
        assert!(judge(&[result(1.0, 3.0)]).is_err());
        assert!(judge(&[result(1.0, f64::NAN)]).is_err());
    }
}
