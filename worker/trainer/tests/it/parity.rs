//! The same training by Python's `DistributedDataParallel`: equal losses, step by step.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tempfile::tempdir;

use crate::ranks::{Attempt, Start, free_port, log_to, torchrun_env};

const STEPS: usize = 100;

/// `YARD_PYTHON`, or that of the installation whose libtorch this was built against.
pub(crate) fn python() -> PathBuf {
    if let Some(python) = std::env::var_os("YARD_PYTHON") {
        return python.into();
    }
    let torch = Path::new(env!("YARD_TORCH_ROOT"));
    let inside =
        torch.ancestors().map(|folder| folder.join("bin/python")).find(|python| python.exists());
    inside.unwrap_or_else(|| "python3".into())
}

fn losses(folder: &Path, rank: usize) -> Vec<f64> {
    let text = fs::read_to_string(folder.join(format!("losses-{rank}.txt"))).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// Fashion-MNIST, 2 ranks over Gloo, SGD with momentum and weight decay, the whole schedule.
#[test]
fn one_hundred_losses_equal_those_of_pythons_ddp() {
    let (ours, theirs) = (tempdir().unwrap(), tempdir().unwrap());
    let params = json!({
        "data": "/usr/share/datasets/fashion-mnist", "epochs": 1, "batch_size": 32, "width": 8, "seed": 5,
        "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "warmup": 0.1, "max_steps": STEPS,
    });
    let mut start = Start::new(ours.path(), 2, params.clone());
    start.extra_args = vec!["--trace".to_owned(), ours.path().display().to_string()];
    start.go().finish();

    fs::create_dir(theirs.path().join("logs")).unwrap();
    let port = free_port();
    let children = (0..2).map(|rank| {
        let mut command = Command::new(python());
        command
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity_ddp.py"))
            .args(["--params-json", &params.to_string()]);
        command
            .arg("--initial")
            .arg(ours.path().join("initial.safetensors"))
            .arg("--out")
            .arg(theirs.path());
        torchrun_env(&mut command, rank, 2, port);
        log_to(&mut command, theirs.path(), rank);
        command.spawn().unwrap()
    });
    Attempt { children: children.collect(), folder: theirs.path().to_owned() }.finish();

    for rank in 0..2 {
        let (ours, theirs) = (losses(ours.path(), rank), losses(theirs.path(), rank));
        assert_eq!((ours.len(), theirs.len()), (STEPS, STEPS));
        assert!(ours[STEPS - 1] < ours[0] / 2.0, "it should have learned something: {ours:?}");
        for (step, (a, b)) in ours.iter().zip(&theirs).enumerate() {
            assert_eq!(format!("{a:.6}"), format!("{b:.6}"), "rank {rank}, step {step}");
        }
    }
}
