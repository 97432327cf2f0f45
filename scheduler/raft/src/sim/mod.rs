//! What simulations are made of: a member on a disk that tears and fails, a network that loses,
//! doubles and delays, all drawn from one seed. Shared by this crate's own tests and by the
//! simulation of the whole control plane; never part of a daemon.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::missing_panics_doc,
    clippy::cast_possible_truncation,
    reason = "a simulation may fail loudly"
)]

mod disk;
mod network;
mod rng;

pub use disk::SimDisk;
pub use network::{Faults, Network};
pub use rng::Rng;

use crate::{
    Config, Driver, OpenError, StateMachine, StorageError, Transport, counters::SharedCounters,
};

/// Opens a member whose log lies on a simulated disk; its snapshots are files in its directory.
///
/// # Errors
/// As [`Driver::open`].
pub fn open(
    config: &Config,
    disk: &SimDisk,
    machine: Box<dyn StateMachine>,
) -> Result<Driver, OpenError> {
    let db = disk.open().map_err(|source| {
        OpenError::Storage(StorageError::Database {
            action: "open",
            path: config.dir.join("log.redb"),
            source: Box::new(source.into()),
        })
    })?;
    Driver::open_on(config, db, machine, SharedCounters::default())
}

/// Collects what leaves a member in one flush: receiver, bytes, whether it is a snapshot.
#[derive(Debug, Default)]
pub struct Outbox(pub Vec<(u64, Vec<u8>, bool)>);

impl Transport for Outbox {
    fn send(&mut self, to: u64, message: Vec<u8>) {
        self.0.push((to, message, false));
    }

    fn send_snapshot(&mut self, to: u64, message: Vec<u8>) {
        self.0.push((to, message, true));
    }
}
