//! Tests of reading and checking the configuration.

use super::*;

fn load(text: &str) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("worker.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(Some(&path))
}

#[test]
fn a_file_overrides_defaults() {
    let config =
        load("name = \"w1\"\nslots = 2\nports = [30000, 30010]\n[labels]\nrack = \"a\"").unwrap();
    assert_eq!(config.name.as_str(), "w1");
    assert_eq!(config.slots, Some(2));
    assert_eq!(config.ports, (30_000, 30_010));
    assert_eq!(config.labels["rack"], "a");
    assert_eq!(config.endpoints, Config::default().endpoints);
}

#[test]
fn bad_input_is_named() {
    let errors = [
        "slotz = 2",
        "slots = \"many\"",
        "slots = 5000",
        "gpu_shares = 1",
        "gpu_shares = 65",
        "endpoints = []",
        "endpoints = [\"http://x\"]",
        "ports = [30010, 30000]",
        "metrics_listen = \"0.0.0.0:9000\"\nmetrics_plaintext = true",
        "data_dir = \"here\"",
        "name = \"Not A Name\"",
    ]
    .map(|text| {
        let error = load(text).unwrap_err().to_string();
        // The file's place differs from run to run.
        let error = error.split(" in /").next().unwrap_or_default().to_owned();
        format!("{text}\n  {error}")
    });
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn a_missing_file_is_an_error() {
    assert!(matches!(
        Config::load(Some(Path::new("/nonexistent.toml"))),
        Err(ConfigError::NoFile { .. })
    ));
}

#[test]
fn any_host_name_gives_a_node_name() {
    assert_eq!(node_name("GPU_Node 7.example").as_str(), "gpu_node-7.example");
    assert_eq!(node_name("--x").as_str(), "x");
    assert_eq!(node_name("").as_str(), "worker");
    assert_eq!(node_name(&"a".repeat(100)).as_str().len(), 63);
}

#[test]
fn the_address_follows_the_schedulers() {
    let mut config = Config::default();
    assert_eq!(config.reachable_address(), "127.0.0.1");
    config.endpoints = vec!["[::1]:1".into(), "localhost:2".into()];
    assert_eq!(config.reachable_address(), "127.0.0.1");
    config.endpoints.push("10.0.0.1:7401".into());
    assert_eq!(config.reachable_address(), host_name());
    config.address = Some("10.0.0.9".into());
    assert_eq!(config.reachable_address(), "10.0.0.9");
}

#[test]
fn what_no_file_sets_is_as_by_default() {
    let config = Config::load(None).unwrap();
    assert_eq!(config.sysfs, Config::default().sysfs);
    assert!(config.pin_cpus);
}
