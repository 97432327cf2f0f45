//! `image-classifier`: small grey images in IDX files (MNIST's format), a residual network, SGD.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::params;
use crate::data::{Dataset, FASHION_MNIST, Split};
use crate::model::{Model, ResidualNet};
use crate::optim::SgdOptions;
use crate::output::say;
use crate::runtime::Runtime;
use crate::trainer::{Outcome, Settings, Trainer};
use crate::{Error, export};

/// The parameters. Their defaults reach about 91 % on Fashion-MNIST in a minute on two CPU cores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageClassifier {
    /// The folder with the four IDX files.
    pub data: PathBuf,
    /// Passes over the training set.
    pub epochs: u64,
    /// Samples a rank and step.
    pub batch_size: usize,
    /// The highest learning rate.
    pub lr: f64,
    /// Of SGD.
    pub momentum: f64,
    /// L2 penalty.
    pub weight_decay: f64,
    /// The share of all steps over which the learning rate rises.
    pub warmup: f64,
    /// Of the initial weights and the order of samples.
    pub seed: u64,
    /// Channels after the stem.
    pub width: i64,
    /// End after this many steps; 0 for no such limit.
    pub max_steps: u64,
}

impl Default for ImageClassifier {
    fn default() -> Self {
        Self {
            data: PathBuf::from("/usr/share/datasets/fashion-mnist"),
            epochs: 4,
            batch_size: 64,
            lr: 0.1,
            momentum: 0.9,
            weight_decay: 5e-4,
            warmup: 0.1,
            seed: 1,
            width: 16,
            max_steps: 0,
        }
    }
}

impl ImageClassifier {
    /// Reads and checks parameters.
    ///
    /// # Errors
    /// [`Error::Params`] naming the parameter.
    pub fn parse(given: &Map<String, Value>) -> Result<Self, Error> {
        let this: Self = params::parse("image-classifier", given)?;
        this.validate()?;
        Ok(this)
    }

    fn validate(&self) -> Result<(), Error> {
        let refuse = |name: &str, value: &dyn std::fmt::Display, need: &str| {
            Err(Error::Params(format!("parameter {name}: is {value}, but must be {need}")))
        };
        let lr_is_positive = self.lr.is_finite() && self.lr > 0.0;
        match self {
            _ if self.epochs == 0 => refuse("epochs", &0, "at least 1"),
            _ if self.batch_size == 0 => refuse("batch_size", &0, "at least 1"),
            _ if !lr_is_positive => refuse("lr", &self.lr, "above 0"),
            _ if !(0.0..1.0).contains(&self.momentum) => {
                refuse("momentum", &self.momentum, "from 0 to below 1")
            }
            _ if !(0.0..=1.0).contains(&self.warmup) => {
                refuse("warmup", &self.warmup, "a share from 0 to 1")
            }
            _ if self.weight_decay < 0.0 => {
                refuse("weight_decay", &self.weight_decay, "0 or above")
            }
            _ if !(1..=1024).contains(&self.width) => {
                refuse("width", &self.width, "from 1 to 1024")
            }
            _ => Ok(()),
        }
    }

    /// Trains on `runtime`'s ranks.
    ///
    /// # Errors
    /// Whatever reading, training or exporting meets.
    pub fn run(&self, runtime: &Runtime, trace: Option<PathBuf>) -> Result<Outcome, Error> {
        let train = Dataset::load(&self.data, Split::Train, FASHION_MNIST)?;
        let test = Dataset::load(&self.data, Split::Test, FASHION_MNIST)?;
        tch::manual_seed(i64::try_from(self.seed).unwrap_or(i64::MAX));
        let classes = train.classes().max(test.classes());
        let model = ResidualNet::new(self.width, classes, runtime.device())?;
        let env = runtime.env();
        say(&format!(
            "rank {} of {}: {} parameters, {} training images, {:?} over {}",
            env.rank,
            env.world_size,
            model.weights().count(),
            train.len(),
            runtime.device(),
            runtime.backend().name(),
        ));
        let trainer = Trainer {
            runtime,
            model: &model,
            train: &train,
            test: &test,
            settings: self.settings(trace),
        };
        let outcome = trainer.run()?;
        if let (Outcome::Finished(summary), Some(folder), true) =
            (&outcome, &env.paths.artifacts, runtime.is_first())
        {
            export::write_artifacts(folder, &model, &test, summary, env.world_size)?;
        }
        Ok(outcome)
    }

    fn settings(&self, trace: Option<PathBuf>) -> Settings {
        Settings {
            epochs: self.epochs,
            batch_size: self.batch_size,
            seed: self.seed,
            lr: self.lr,
            warmup: self.warmup,
            sgd: SgdOptions {
                momentum: self.momentum,
                weight_decay: self.weight_decay,
                nesterov: false,
            },
            max_steps: (self.max_steps > 0).then_some(self.max_steps),
            checkpoint_every: Duration::from_secs(60),
            trace,
        }
    }
}
