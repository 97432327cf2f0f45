//! What a finished run hands over: weights as safetensors, a TorchScript graph that plain Python
//! loads, its signature, final metrics, and a few outputs to check a loaded copy against.

use std::fs;
use std::path::Path;

use serde_json::json;
use tch::{CModule, Tensor};

use crate::checkpoint::to_safetensors;
use crate::data::Dataset;
use crate::model::{Mode, Model};
use crate::trainer::Summary;
use crate::{Error, files};

/// How many test images `sample_outputs.json` covers.
const SAMPLES: i64 = 8;

/// Writes all artifacts into `folder`. Each file appears whole, and the graph is loaded again and
/// compared before anything is called done.
///
/// # Errors
/// [`Error::Io`] with the file, or [`Error::Torch`] when the graph does not give the model's outputs.
pub fn write_artifacts(
    folder: &Path,
    model: &impl Model,
    test: &Dataset,
    summary: &Summary,
    world_size: u32,
) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    model.weights().record_gradients(false)?;
    let indices: Vec<i64> =
        (0..SAMPLES).filter(|i| usize::try_from(*i).is_ok_and(|i| i < test.len())).collect();
    let batch = test.batch(&indices, model.weights().device())?;
    let outputs = model.forward(&batch.inputs, Mode::Evaluate)?;
    write_graph(&folder.join("model.pt"), model, &batch.inputs, &outputs)?;
    files::replace(&folder.join("model.safetensors"), &to_safetensors(model.weights().named())?)?;
    let logits: Vec<Vec<f32>> = (&outputs.f_to_device(tch::Device::Cpu)?).try_into()?;
    let labels: Vec<i64> = (&batch.targets.f_to_device(tch::Device::Cpu)?).try_into()?;
    let (rows, columns) = test.image_size();
    let scaling = test.scaling();
    let documents = [
        (
            "signature.json",
            json!({
                "inputs": [{"name": "images", "dtype": "float32", "shape": [null, 1, rows, columns]}],
                "outputs": [{"name": "logits", "dtype": "float32", "shape": [null, test.classes()]}],
                "normalization": {"formula": "(byte / 255 - mean) / std", "mean": scaling.mean, "std": scaling.std},
            }),
        ),
        (
            "sample_outputs.json",
            json!({"inputs": "the first test images", "indices": indices, "labels": labels, "logits": logits}),
        ),
        (
            "metrics.json",
            json!({
                "val_accuracy": summary.evaluation.accuracy,
                "val_loss": summary.evaluation.loss,
                "steps": summary.steps,
                "seconds": summary.seconds,
                "samples_per_s": summary.samples_per_s,
                "world_size": world_size,
                "parameters": model.weights().count(),
            }),
        ),
    ];
    for (name, document) in documents {
        files::replace(&folder.join(name), &serde_json::to_vec_pretty(&document)?)?;
    }
    Ok(())
}

/// Traces the model in evaluation mode; weights become constants of the graph, the number of images
/// stays free.
fn write_graph(
    path: &Path,
    model: &impl Model,
    inputs: &Tensor,
    expected: &Tensor,
) -> Result<(), Error> {
    let mut failure = None;
    let mut forward =
        |inputs: &[Tensor]| match inputs.first().map(|x| model.forward(x, Mode::Evaluate)) {
            Some(Ok(outputs)) => vec![outputs],
            Some(Err(error)) => {
                failure = Some(error);
                Vec::new()
            }
            None => Vec::new(),
        };
    let graph =
        CModule::create_by_tracing("Model", "forward", &[inputs.shallow_clone()], &mut forward);
    if let Some(error) = failure {
        return Err(error);
    }
    let tmp = path.with_extension("pt.tmp");
    graph?.save(&tmp)?;
    let mut again = CModule::load_on_device(&tmp, inputs.device())?;
    again.f_set_eval()?;
    if !again.forward_ts(&[inputs])?.f_equal(expected)? {
        return Err(tch::TchError::Convert(format!(
            "{} does not give the model's outputs",
            tmp.display()
        ))
        .into());
    }
    files::sync(&tmp)?;
    files::rename_synced(&tmp, path)
}
