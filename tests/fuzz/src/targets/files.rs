//! Files that people, trainers and other machines write.

use std::fs;

use trainyard_jobs::{JobSpec, Manifest, checkpoint::Description, spec::Format};
use trainyard_store::{bundle, keys, log};

fn spec(input: &[u8], name: &str, format: Format) {
    let Ok(text) = str::from_utf8(input) else { return };
    let Ok(spec) = JobSpec::read(name, text, format) else { return };
    // What was taken travels as canonical JSON, and is the same on the other side.
    let canonical = spec.canonical_json();
    let read = JobSpec::from_canonical(canonical.as_bytes());
    assert!(read.is_ok_and(|read| read == spec), "{canonical}");
}

pub(super) fn spec_toml(input: &[u8]) {
    spec(input, "job.toml", Format::Toml);
}

pub(super) fn spec_yaml(input: &[u8]) {
    spec(input, "job.yaml", Format::Yaml);
}

pub(super) fn spec_json(input: &[u8]) {
    spec(input, "job.json", Format::Json);
    if let Ok(spec) = JobSpec::from_canonical(input) {
        assert!(JobSpec::from_canonical(spec.canonical_json().as_bytes()).is_ok());
    }
}

pub(super) fn manifest(input: &[u8]) {
    let _ = serde_json::from_slice::<Description>(input);
    let Ok(manifest) = serde_json::from_slice::<Manifest>(input) else { return };
    let taken = manifest.files.iter().filter(|file| keys::check_path(&file.path).is_ok());
    for file in taken {
        assert!(!file.path.starts_with('/') && !file.path.split('/').any(|part| part == ".."));
    }
}

/// Whatever a bundle holds, nothing appears beside the folder that it is unpacked into.
pub(super) fn bundle(input: &[u8]) {
    let Ok(folder) = tempfile::tempdir() else { return };
    let (file, inside) = (folder.path().join("bundle"), folder.path().join("inside"));
    if fs::write(&file, input).is_err() {
        return;
    }
    let _ = bundle::unpack(&file, &inside);
    let beside = fs::read_dir(folder.path()).map(Iterator::count).unwrap_or_default();
    assert!(beside <= 2, "the bundle left its folder");
}

pub(super) fn log_segment(input: &[u8]) {
    let records: Vec<_> = log::parse(input).filter_map(Result::ok).collect();
    let encoded = log::encode(&records);
    let read: Vec<_> = log::parse(&encoded).filter_map(Result::ok).collect();
    assert_eq!(read, records);
}

/// The daemons' configuration files.
pub(super) fn config(input: &[u8]) {
    let Ok(folder) = tempfile::tempdir() else { return };
    let file = folder.path().join("daemon.toml");
    if fs::write(&file, input).is_err() {
        return;
    }
    if let Ok(config) = trainyard_scheduler::Config::load(Some(&file)) {
        let _ = config.validate();
    }
    let _ = trainyard_worker::Config::load(Some(&file));
}
