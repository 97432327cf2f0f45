//! Everything that reads bytes from outside, each as a function that must return whatever it is
//! given. One list of them serves three drivers: libFuzzer (`libfuzzer/`, on nightly Rust), the
//! plain driver of this crate's program, and the short seeded run that is part of the gate.
//!
//! What a target finds wrong it tells by a panic, which every driver reports with the input.

pub mod corpus;
pub mod driver;
pub mod mutate;
pub mod seeds;
pub mod targets;

pub use targets::{TARGETS, Target};
