//! Requests from the agent, the spool's limit, and metrics.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::dataset;
use crate::ranks::{Start, checkpoints};

/// Long enough that only a request ends it.
fn endless(data: &Path) -> Value {
    json!({"data": data, "epochs": 100_000, "batch_size": 16, "width": 4})
}

fn request(folder: &Path, then: &str) {
    let text = json!({"checkpoint_before_unix_s": 4_000_000_000_u64, "then": then}).to_string();
    let (tmp, path) = (folder.join("control/request.tmp"), folder.join("control/request.json"));
    fs::write(&tmp, text).unwrap();
    fs::rename(tmp, path).unwrap();
}

#[test]
fn the_spool_is_bounded_and_requests_are_met() {
    let (data, folder) = (tempdir().unwrap(), tempdir().unwrap());
    dataset::write(data.path(), 512);
    let mut run =
        Start::new(folder.path(), 2, endless(data.path())).env("YARD_CHECKPOINT_EVERY", 0.1).go();
    run.until("a skipped checkpoint", |folder| {
        fs::read_to_string(folder.join("logs/0.log"))
            .unwrap()
            .contains("skipped a checkpoint, two await their upload")
            .then_some(())
    });
    assert_eq!(run.checkpoints().len(), 2);

    request(folder.path(), "continue");
    let third = run.until("the requested checkpoint", |folder| checkpoints(folder).get(2).cloned());
    for file in ["checkpoint.json", "model.safetensors", "optimizer.safetensors", "trainer.json"] {
        assert!(third.join(file).exists(), "{file}");
    }

    request(folder.path(), "stop");
    assert_eq!(run.wait(), [75, 75], "{}", run.log(0));
    assert_eq!(run.checkpoints().len(), 4);
    assert_eq!(fs::read_dir(folder.path().join("artifacts")).unwrap().count(), 0);
}

#[test]
fn metrics_are_finite_numbers_that_lead_to_the_last_step() {
    let (data, folder) = (tempdir().unwrap(), tempdir().unwrap());
    dataset::write(data.path(), 512);
    let params = json!({"data": data.path(), "epochs": 3, "batch_size": 16, "width": 4});
    let mut run = Start::new(folder.path(), 2, params).go();
    run.finish();
    for rank in 0..2 {
        let lines = run.metrics(rank);
        let last = lines.iter().rfind(|line| line.get("loss").is_some()).unwrap();
        assert_eq!(
            (&last["step"], &last["total_steps"], &last["epoch"]),
            (&json!(48), &json!(48), &json!(2))
        );
        let evaluations: Vec<_> =
            lines.iter().filter(|line| line.get("val_accuracy").is_some()).collect();
        assert_eq!(
            evaluations.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>(),
            [16, 32, 48]
        );
        for line in &lines {
            assert!(
                line.as_object()
                    .unwrap()
                    .values()
                    .all(|value| value.as_f64().is_some_and(f64::is_finite)),
                "{line}"
            );
        }
    }
    let accuracy =
        |rank: usize| run.metrics(rank).last().unwrap()["val_accuracy"].as_f64().unwrap();
    assert!((accuracy(0) - accuracy(1)).abs() < 1e-12);
}

#[test]
fn a_loss_without_bounds_ends_the_run_and_says_so() {
    let (data, folder) = (tempdir().unwrap(), tempdir().unwrap());
    dataset::write(data.path(), 256);
    let params = json!({"data": data.path(), "epochs": 2, "batch_size": 16, "width": 4, "lr": 1e30, "warmup": 0});
    let mut run = Start::new(folder.path(), 1, params).go();
    assert_eq!(run.wait(), [1]);
    let log = run.log(0);
    let last = log.lines().last().unwrap();
    assert!(
        last.starts_with("error: the loss is ")
            && last.ends_with(": lower `lr`, or raise `warmup`"),
        "{last}"
    );
}
