//! One attempt on this node, from the order that a desired set gives to the last byte of its
//! log: fetch what it needs, launch its shim, deliver what its ranks leave, report its end.
//! What was started once is never started again; whatever was being done is taken up by the
//! next agent from the attempt's directory.

mod artifacts;
mod checkpoints;
mod dir;
mod end;
mod environment;
mod figures;
mod launch;
mod logs;
mod mps;
mod network;
mod order;
mod pins;
mod prepare;
mod registry;
mod supervise;
mod trainer;
mod transfer;
mod watch;

pub(crate) use dir::{AttemptDir, attempts};
pub(crate) use end::report_never_ran;
pub(crate) use launch::ShimProgram;
pub(crate) use mps::Mps;
pub(crate) use network::Network;
pub use order::{Order, Work};
pub(crate) use pins::Pins;
pub(crate) use registry::{Entry, Registry};
pub(crate) use supervise::{Context, supervise};
pub(crate) use trainer::Trainer;
pub(crate) use watch::Attempts;
