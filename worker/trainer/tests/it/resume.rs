//! A run that was killed and resumed ends with the bits of one that was not.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::tempdir;

use crate::dataset;
use crate::ranks::{Start, checkpoints, json as read};

fn params(data: &Path, epochs: u64) -> Value {
    json!({"data": data, "epochs": epochs, "batch_size": 16, "width": 8, "seed": 11})
}

fn digest(folder: &Path) -> Vec<u8> {
    Sha256::digest(fs::read(folder.join("artifacts/model.safetensors")).unwrap()).to_vec()
}

/// Three ranks: with two, sums of gradients have but one order, and half of what could go wrong
/// cannot.
#[test]
fn killed_and_resumed_equals_undisturbed_to_the_bit() {
    let data = tempdir().unwrap();
    dataset::write(data.path(), 1536);
    let params = params(data.path(), 3);

    let whole = tempdir().unwrap();
    let mut undisturbed =
        Start::new(whole.path(), 3, params.clone()).env("YARD_CHECKPOINT_EVERY", 3600).go();
    undisturbed.finish();
    assert!(undisturbed.checkpoints().is_empty());

    let broken = tempdir().unwrap();
    let mut killed =
        Start::new(broken.path(), 3, params.clone()).env("YARD_CHECKPOINT_EVERY", 0.1).go();
    let checkpoint = killed.until("a checkpoint", |folder| checkpoints(folder).pop());
    for child in &mut killed.children {
        child.kill().unwrap();
    }
    assert_eq!(killed.wait(), [-1, -1, -1]);
    let manifest = read(&checkpoint.join("checkpoint.json"));
    let step = manifest["step"].as_u64().unwrap();
    assert!(step > 0 && step < 96, "{manifest}");
    assert!(checkpoint.ends_with(format!("step-{step:012}")));
    assert_eq!(
        (&manifest["format"], &manifest["parts"], &manifest["world_size"]),
        (&json!(1), &json!(1), &json!(3))
    );

    let rest = tempdir().unwrap();
    let mut resumed = Start::new(rest.path(), 3, params)
        .env("YARD_RESUME_DIR", checkpoint.display())
        .env("YARD_ATTEMPT", 2)
        .env("YARD_CHECKPOINT_EVERY", 3600)
        .go();
    resumed.finish();
    assert!(resumed.log(0).contains(&format!("resumed from step {step}")), "{}", resumed.log(0));
    assert_eq!(digest(rest.path()), digest(whole.path()), "resumed at step {step}");
    let final_step = |folder: &Path| read(&folder.join("artifacts/metrics.json"))["steps"].clone();
    assert_eq!(final_step(rest.path()), final_step(whole.path()));
}

#[test]
fn a_checkpoint_of_another_run_is_refused_with_the_difference() {
    let (data, first, second) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    dataset::write(data.path(), 256);
    fs::create_dir_all(first.path().join("control")).unwrap();
    fs::write(
        first.path().join("control/request.json"),
        r#"{"checkpoint_before_unix_s": 0, "then": "stop"}"#,
    )
    .unwrap();
    let mut run = Start::new(first.path(), 1, params(data.path(), 50)).go();
    assert_eq!(run.wait(), [75], "{}", run.log(0));
    let checkpoint = run.checkpoints().pop().unwrap();

    let refused = |changed: Value, files: &Path| {
        let mut params = params(data.path(), 50);
        params.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
        let mut run =
            Start::new(second.path(), 1, params).env("YARD_RESUME_DIR", files.display()).go();
        assert_eq!(run.wait(), [1]);
        run.log(0).lines().last().unwrap().replace(&files.display().to_string(), "CKPT")
    };
    let text = refused(json!({"batch_size": 8}), &checkpoint);
    assert_eq!(
        text,
        "error: checkpoint CKPT: was made with batch_size 16, this run has 8; resume with 16, or start anew"
    );
    let text = refused(json!({"width": 4}), &checkpoint);
    assert!(text.starts_with("error: checkpoint CKPT/model.safetensors: stem.conv.weight is F32 [8, 1, 3, 3], but this model needs F32 [4, 1, 3, 3]"), "{text}");

    let manifest = fs::read_to_string(checkpoint.join("checkpoint.json")).unwrap();
    fs::write(
        checkpoint.join("checkpoint.json"),
        manifest.replace("\"format\": 1", "\"format\": 9"),
    )
    .unwrap();
    let text = refused(json!({}), &checkpoint);
    assert_eq!(text, "error: checkpoint CKPT: has format 9; this yard-train reads format 1");
}
