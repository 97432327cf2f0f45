//! GPUs for machines that have none: the agent's stand-in for NVML's library, which knows one GPU that
//! works and one that has fallen off the bus.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

use crate::programs;

/// Builds the library in `folder`. No process is on its GPUs.
pub fn library(folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join("libnvidia-ml.so.1");
    let processes = folder.join("processes");
    fs::write(&processes, "")?;
    let source = programs::repository().join("worker/agent/tests/fixtures/nvml.rs");
    let mut rustc = Command::new("rustc");
    rustc.args(["--crate-type", "cdylib", "--edition", "2024", "-A", "warnings", "-o"]);
    rustc.arg(&path).arg(source).env("PROCESSES", processes);
    let output = rustc.output().context("could not run rustc")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(path)
}
