//! Recipes: whole trainings by name, with parameters from a job's `[run.params]`.

mod image_classifier;
mod params;

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::Error;
use crate::runtime::Runtime;
use crate::trainer::Outcome;
pub use image_classifier::ImageClassifier;
pub use params::{nearest, parse, set};

/// The names of all recipes.
pub const NAMES: [&str; 1] = ["image-classifier"];

/// A recipe with its parameters read and checked.
#[derive(Debug, Clone, PartialEq)]
pub enum Recipe {
    /// Labelled images, a small residual network.
    ImageClassifier(ImageClassifier),
}

impl Recipe {
    /// Reads parameters for the recipe of this name.
    ///
    /// # Errors
    /// [`Error::Params`] naming the nearest recipe or key.
    pub fn parse(name: &str, params: &Map<String, Value>) -> Result<Self, Error> {
        match name {
            "image-classifier" => Ok(Self::ImageClassifier(ImageClassifier::parse(params)?)),
            other => Err(Error::Params(format!(
                "no recipe {other:?}{}; there is {}",
                nearest(other, NAMES),
                NAMES.join(", ")
            ))),
        }
    }

    /// Trains, and on success writes artifacts where the environment says.
    ///
    /// # Errors
    /// Whatever the training meets.
    pub fn run(&self, runtime: &Runtime, trace: Option<PathBuf>) -> Result<Outcome, Error> {
        match self {
            Self::ImageClassifier(recipe) => recipe.run(runtime, trace),
        }
    }
}
