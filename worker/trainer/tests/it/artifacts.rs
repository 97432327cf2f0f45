//! What a finished run hands over, read by plain Python.

use std::process::Command;

use serde_json::json;
use tempfile::tempdir;

use crate::dataset;
use crate::parity::python;
use crate::ranks::{Start, json as read};

/// Loads the graph, feeds it the first test images, and compares bits.
const CHECK: &str = r#"
import gzip, json, sys
import numpy as np, torch
folder, data = sys.argv[1:]
signature = json.load(open(folder + "/signature.json"))
samples = json.load(open(folder + "/sample_outputs.json"))
raw = gzip.open(data + "/t10k-images-idx3-ubyte.gz").read()[16:]
images = torch.from_numpy(np.frombuffer(raw, np.uint8).copy()).reshape(-1, *signature["inputs"][0]["shape"][1:])
scale = signature["normalization"]
inputs = images[samples["indices"]].float().div(255.0).sub(scale["mean"]).div(scale["std"])
model = torch.jit.load(folder + "/model.pt").eval()
expected = torch.tensor(samples["logits"], dtype=torch.float32)
assert torch.equal(model(inputs), expected), (model(inputs) - expected).abs().max()
assert model(images[:33].float()).shape == (33, signature["outputs"][0]["shape"][1])
print("equal")
"#;

#[test]
fn python_loads_the_model_with_equal_outputs() {
    let (data, folder) = (tempdir().unwrap(), tempdir().unwrap());
    dataset::write(data.path(), 512);
    let params = json!({"data": data.path(), "epochs": 4, "batch_size": 16, "width": 8});
    let mut run = Start::new(folder.path(), 2, params).go();
    run.finish();
    let artifacts = folder.path().join("artifacts");
    let metrics = read(&artifacts.join("metrics.json"));
    assert!(metrics["val_accuracy"].as_f64().unwrap() > 0.8, "{metrics}");
    let mut names: Vec<_> = std::fs::read_dir(&artifacts)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["metrics.json", "model.pt", "model.safetensors", "sample_outputs.json", "signature.json"]
    );

    let output = Command::new(python())
        .args(["-c", CHECK])
        .arg(&artifacts)
        .arg(data.path())
        .env("OMP_NUM_THREADS", "1")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "equal",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
