//! Tests against a library that has NVML's interface (`tests/fixtures/nvml.rs`).

use std::{path::PathBuf, process::Command};

use super::*;
use crate::{config::Config, telemetry::inventory};

#[test]
fn models_have_short_names() {
    for (name, short) in [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-40GB", "a100"),
        ("Tesla V100-SXM2-16GB", "v100"),
        ("Tesla T4", "t4"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA RTX A6000", "a6000"),
        ("NVIDIA H200", "h200"),
        ("", "gpu"),
    ] {
        assert_eq!(short_model(name), short, "{name}");
    }
}

#[test]
fn a_missing_library_is_no_error_unless_it_was_named() {
    let named = Gpus::open(Some(Path::new("/nonexistent/libnvidia-ml.so")), None);
    assert!(named.state().starts_with("cannot load the NVML library /nonexistent"));
    assert!(named.devices().is_empty());
    assert!(named.sample(BTreeSet::new).devices.is_empty());
    let missing = unusable(&NvmlError::LibRmVersionMismatch, None);
    assert!(missing.contains("differ in version"));
}

/// Builds the library with `rustc`, which is there where tests are built.
fn library(dir: &Path, cfg: &[&str]) -> PathBuf {
    let path = dir.join("libnvidia-ml.so.1");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/nvml.rs");
    let mut rustc = Command::new("rustc");
    rustc.args(["--crate-type", "cdylib", "--edition", "2024", "-o"]).arg(&path).arg(source);
    rustc.args(cfg.iter().flat_map(|flag| ["--cfg", flag]));
    let output = rustc.args(["-A", "warnings"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

#[test]
fn a_lost_gpu_is_reported_and_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let gpus = Gpus::open(Some(&library(dir.path(), &[])), None);
    assert_eq!(gpus.state(), "nvml");
    let devices = gpus.devices();
    let good = &devices[&UnitId("GPU-good".into())];
    assert_eq!((good.model.as_str(), good.memory), ("h100", Bytes(80 << 30)));
    let samples = gpus.sample(|| BTreeSet::from([4242])).devices;
    let [good, lost] = &samples[..] else { panic!("{samples:?}") };
    let expected = DeviceSample {
        unit: "GPU-good".into(),
        utilisation_percent: Some(97.0),
        memory_used: Some(3 << 30),
        power_watts: Some(612.5),
        temperature_celsius: Some(61.0),
        foreign_pids: vec![4343],
        problem: None,
        sm_clock_mhz: Some(1980),
    };
    assert_eq!(*good, expected);
    assert_eq!(lost.unit, "GPU-lost");
    assert!(lost.problem.as_ref().unwrap().contains("fallen off the bus"), "{lost:?}");
}

#[test]
fn gpus_with_links_to_each_other_are_an_island() {
    let dir = tempfile::tempdir().unwrap();
    let library = library(dir.path(), &["nvlink"]);
    let gpus = Gpus::open(Some(&library), None);
    let islands = [BTreeSet::from([0, 1]), BTreeSet::from([2, 3]), BTreeSet::from([4])];
    assert_eq!(gpus.islands().unwrap(), islands);
    let near = BTreeMap::new();
    let mut config = Config { nvml_library: Some(library), ..Config::default() };
    let told = |config: &Config| inventory(config, (&gpus, &near), dir.path()).labels;
    assert_eq!(told(&config)["nvlink"], "0,1;2,3;4");
    config.labels.insert("nvlink".into(), "0-3".into());
    assert_eq!(told(&config)["nvlink"], "0-3", "what an operator says is not looked for");
}

#[test]
fn a_library_that_knows_no_links_says_nothing_of_islands() {
    let dir = tempfile::tempdir().unwrap();
    let gpus = Gpus::open(Some(&library(dir.path(), &[])), None);
    assert_eq!(gpus.islands(), None);
    let told = inventory(&Config::default(), (&gpus, &BTreeMap::new()), dir.path());
    assert!(!told.labels.contains_key("nvlink"), "{:?}", told.labels);
}

#[test]
fn a_library_that_cannot_be_used_says_why() {
    let dir = tempfile::tempdir().unwrap();
    for (cfg, reason) in [("mismatch", "differ in version"), ("old", "lacks")] {
        let gpus = Gpus::open(Some(&library(dir.path(), &[cfg])), None);
        assert!(gpus.state().contains(reason), "{}", gpus.state());
        assert!(gpus.devices().is_empty());
    }
}

#[test]
fn a_gpu_in_mig_mode_is_its_slices_and_never_whole() {
    let dir = tempfile::tempdir().unwrap();
    let gpus = Gpus::open(Some(&library(dir.path(), &["mig"])), Some(4));
    let mut devices = gpus.devices();
    // The lost GPU tells no mode, and is marked as broken whatever it is offered as.
    devices.retain(|unit, _| unit.gpu() != "GPU-lost");
    let told: Vec<_> = devices
        .iter()
        .map(|(unit, d)| (unit.0.as_str(), d.part.to_string(), d.part.milli(), d.memory.0 >> 30))
        .collect();
    assert_eq!(told, [("MIG-0", "3g.40gb".into(), 429, 40), ("MIG-4", "1g.10gb".into(), 143, 10)]);
    let parent = UnitId("GPU-good".into());
    assert!(devices.values().all(|d| d.model == "h100" && d.part.parent() == Some(&parent)));
    let reading = gpus.sample(|| BTreeSet::from([4242]));
    let first = &reading.devices[0];
    assert_eq!((first.unit.as_str(), first.memory_used), ("MIG-0", Some(1 << 30)));
    assert_eq!(first.utilisation_percent, None, "NVML does not tell it");
    assert_eq!(first.foreign_pids, [4343]);
    assert!(reading.memory.is_empty(), "the hardware keeps slices apart");
}

#[test]
fn a_gpu_is_split_into_equal_shares() {
    let dir = tempfile::tempdir().unwrap();
    let gpus = Gpus::open(Some(&library(dir.path(), &[])), Some(4));
    let devices = gpus.devices();
    let good: Vec<_> = devices.iter().filter(|(unit, _)| unit.gpu() == "GPU-good").collect();
    assert_eq!(good.len(), 4);
    let (unit, device) = good[1];
    assert_eq!((unit.0.as_str(), device.memory), ("GPU-good/1-of-4", Bytes(20 << 30)));
    assert_eq!(trainyard_jobs::check_parts(&devices), Ok(()));
    let reading = gpus.sample(|| BTreeSet::from([4242]));
    let sample = |unit: &str| reading.devices.iter().find(|sample| sample.unit == unit).unwrap();
    let share = sample("GPU-good/1-of-4");
    assert_eq!((share.utilisation_percent, share.power_watts), (Some(97.0), None));
    assert_eq!((share.memory_used, &share.foreign_pids), (Some(0), &vec![4343]));
    assert!(sample("GPU-lost/3-of-4").problem.is_some(), "a lost GPU loses all of its shares");
    let [memory] = &reading.memory[..] else { panic!("{:?}", reading.memory) };
    assert_eq!((memory.gpu.0.as_str(), memory.total), ("GPU-good", Bytes(80 << 30)));
    assert_eq!(memory.by_pid, BTreeMap::from([(4242, Bytes(1)), (4343, Bytes(1))]));
}
