//! Every job spec that the repository gives as an example is a right one.

#![allow(clippy::panic, reason = "a test")]

use std::{fs, path::Path};

use trainyard_jobs::spec::{Format, JobSpec};

#[test]
fn the_example_specs_read() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for entry in fs::read_dir(examples).into_iter().flatten().flatten() {
        let path = entry.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if !["toml", "yaml", "yml", "json"].contains(&ending) {
            continue;
        }
        let name = path.display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        if let Err(errors) = JobSpec::read(&name, &text, Format::of_path(&path)) {
            panic!("{}", errors.lines().collect::<Vec<_>>().join("\n"));
        }
    }
}
