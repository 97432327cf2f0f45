//! A harness for end-to-end tests: clusters of real processes in a folder of their own, the `yard`
//! command run against them, and faults as they happen to machines.
//!
//! It speaks to a cluster through the binaries alone, never through the daemons' crates (of the
//! project's own it uses those for names and certificates), and it leaves no process behind. Every
//! wait is for a condition and has a deadline.

pub mod clock;
pub mod cluster;
pub mod disk;
pub mod history;
pub mod ledger;
pub mod linear;
pub mod load;
pub mod network;
pub mod nvml;
pub mod pki;
pub mod ports;
pub mod process;
pub mod programs;
pub mod specs;
pub mod text;
pub mod view;
pub mod wait;
pub mod yard;

pub use cluster::{Cluster, Options, on_cluster, on_networked_cluster, on_prepared_cluster};
pub use ledger::Ledger;
pub use load::Load;
pub use network::Network;
pub use pki::Pki;
pub use wait::until;
pub use yard::{Answer, Yard};
