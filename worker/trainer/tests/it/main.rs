//! The trainer as the agent runs it: processes, files and exit codes. Every test starts real ranks
//! over Gloo on loopback.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests may panic; that is how they fail"
)]

mod artifacts;
mod command_line;
mod control;
mod dataset;
mod parity;
mod peers;
mod ranks;
mod resume;
