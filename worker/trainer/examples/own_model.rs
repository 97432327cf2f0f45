//! A model of one's own, trained like a recipe: on as many ranks as torchrun's environment says, with
//! checkpoints, resume and metrics. Try it alone, or under any launcher that sets that environment:
//!
//! `cargo run --release -p trainyard-train --example own_model`

use std::path::Path;
use std::time::Duration;

use tch::Tensor;
use trainyard_train::Error;
use trainyard_train::data::{Dataset, FASHION_MNIST, Split};
use trainyard_train::env::RankEnv;
use trainyard_train::model::{Mode, Model, Weights};
use trainyard_train::optim::SgdOptions;
use trainyard_train::output::say;
use trainyard_train::runtime::{Runtime, Wishes};
use trainyard_train::trainer::{Outcome, Settings, Trainer};

/// One layer: logistic regression on pixels.
struct Logistic {
    weights: Weights,
    matrix: Tensor,
}

impl Model for Logistic {
    fn weights(&self) -> &Weights {
        &self.weights
    }

    fn forward(&self, images: &Tensor, _mode: Mode) -> Result<Tensor, Error> {
        Ok(images.f_flatten(1, 3)?.f_linear::<&Tensor>(&self.matrix, None)?)
    }
}

fn main() -> Result<(), Error> {
    let runtime = Runtime::start(RankEnv::from_process()?, Wishes::default())?;
    let folder = Path::new("/usr/share/datasets/fashion-mnist");
    let train = Dataset::load(folder, Split::Train, FASHION_MNIST)?;
    let test = Dataset::load(folder, Split::Test, FASHION_MNIST)?;

    tch::manual_seed(1);
    let mut weights = Weights::new(runtime.device());
    let matrix = weights.uniform("matrix".to_owned(), &[train.classes(), 28 * 28], 28 * 28)?;
    let model = Logistic { weights, matrix };

    let settings = Settings {
        epochs: 2,
        batch_size: 64,
        seed: 1,
        lr: 0.02,
        warmup: 0.1,
        sgd: SgdOptions { momentum: 0.9, weight_decay: 0.0, nesterov: false },
        max_steps: None,
        checkpoint_every: Duration::from_secs(60),
        trace: None,
    };
    let trainer =
        Trainer { runtime: &runtime, model: &model, train: &train, test: &test, settings };
    if let Outcome::Finished(summary) = trainer.run()? {
        say(&format!("{:.1} % right", summary.evaluation.accuracy * 100.0));
    }
    Ok(())
}
