//! The native trainer: data-parallel training on libtorch from Rust.
//!
//! A model ([`model::Model`]) is trained by a [`trainer::Trainer`] over a dataset ([`data::Dataset`])
//! on as many ranks as the environment says ([`env::RankEnv`], torchrun's contract), kept equal by
//! [`c10d`]. Checkpoints, metrics, requests and artifacts go through folders and files that the
//! agent watches. This crate knows nothing of clusters, schedulers or object storage.

pub mod c10d;
pub mod checkpoint;
pub mod control;
pub mod data;
pub mod env;
mod error;
pub mod export;
pub mod files;
pub mod metrics;
pub mod model;
pub mod optim;
pub mod output;
pub mod recipe;
pub mod runtime;
pub mod tools;
pub mod trainer;

pub use error::Error;
