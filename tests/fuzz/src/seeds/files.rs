//! Files: specs in three formats, manifests, bundles, log segments, configurations, words.

use std::{fs, os::unix::fs::symlink};

use anyhow::anyhow;
use trainyard_jobs::{
    AttemptNo, AttemptRef, Generation, JobId, JobSpec, Manifest, checkpoint::Description,
    spec::Format,
};
use trainyard_store::{
    bundle,
    log::{self, Record},
};

use super::{Seed, state::file};

const TOML: &str = r#"name = "char-gpt"
project = "research"
[resources]
gpus = 8
min_gpus = 4
gpu_type = ["h100", "a100"]
[run]
command = ["python", "train.py"]
workdir = "."
[run.env]
OMP_NUM_THREADS = "1"
[checkpoint]
every = "10m"
keep = 3
[limits]
time = "2d"
max_cost_usd = 400
max_restarts = 20
[register]
model = "char-gpt"
metric = "val_loss"
goal = "minimize"
"#;

const YAML: &str = "name: char-gpt\nresources: {gpus: 2, device: cpu}\nrun:\n  command: [python, train.py]\n  env:\n    A: \"1\"\ncheckpoint:\n  every: 10m\nlimits:\n  time: 2d\n";

const SCHEDULER: &str = "id = 1\ncluster = \"0190c0de-0000-7000-8000-000000000001\"\n\
    listen = \"127.0.0.1:7401\"\ndata_dir = \"/tmp/x\"\nstore = \"file:///tmp/y\"\n\
    node_grace = \"30s\"\nheartbeat = \"500ms\"\n[peers]\n1 = \"127.0.0.1:7401\"\n";

const WORKER: &str = "name = \"node-1\"\ndata_dir = \"/tmp/x\"\nendpoints = [\"127.0.0.1:7401\"]\n\
    store = \"file:///tmp/y\"\nslots = 2\nports = [20000, 20099]\n[labels]\nzone = \"a\"\n";

pub(super) fn seeds() -> anyhow::Result<Vec<Seed>> {
    let seed = |target, name: &str, bytes: &[u8]| (target, name.to_owned(), bytes.to_vec());
    let spec = JobSpec::read("job.yaml", YAML, Format::Yaml).map_err(|e| anyhow!("{e}"))?;
    let canonical = spec.canonical_json();
    let attempt =
        AttemptRef { job: JobId::from_random(1), attempt: AttemptNo(1), generation: Generation(1) };
    let description: Description = serde_json::from_str(
        r#"{"format":1,"step":100,"epoch":2,"world_size":2,"parts":1,"metrics":{"loss":0.5}}"#,
    )?;
    let files = vec![file(&attempt, "model.safetensors"), file(&attempt, "optimizer/state")];
    let manifest =
        Manifest { format: 1, attempt, part: 0, description: description.clone(), files };
    let record = |t, l: &str| Record { t, r: 0, e: t % 2 == 0, l: l.into() };
    let segment =
        log::encode(&[record(1, "loss \"0.5\"\tok"), record(2, ""), record(3, "ä\u{2028}\r")]);
    Ok(vec![
        seed("spec_toml", "full", TOML.as_bytes()),
        seed("spec_yaml", "small", YAML.as_bytes()),
        seed("spec_json", "canonical", canonical.as_bytes()),
        seed("manifest", "manifest", &serde_json::to_vec(&manifest)?),
        seed("manifest", "description", &serde_json::to_vec(&description)?),
        seed("bundle", "small", &packed()?),
        seed("log_segment", "three-lines", &segment),
        seed("config", "scheduler", SCHEDULER.as_bytes()),
        seed("config", "worker", WORKER.as_bytes()),
        seed("words", "job", b"0123456789ab"),
        seed("words", "uuid", b"0190c0de-0000-7000-8000-000000000001"),
        seed(
            "words",
            "digest",
            manifest.files.first().map(|f| f.digest.to_string()).unwrap_or_default().as_bytes(),
        ),
        seed("words", "span", b"1h30m500ms"),
        seed("words", "size", b"1.5GiB"),
        seed("words", "name", b"node-1"),
        seed("words", "role", b"researcher"),
    ])
}

/// A bundle with a folder, a program and a link.
fn packed() -> anyhow::Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("code"))?;
    fs::write(folder.path().join("code/train.py"), "print('hello')\n")?;
    fs::write(folder.path().join("README"), "read me\n")?;
    symlink("code/train.py", folder.path().join("main.py"))?;
    let packed = bundle::pack(folder.path())?;
    Ok(fs::read(packed.file.path())?)
}
