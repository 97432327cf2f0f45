//! The agent's data directory. Each write is whole or absent and durable, as the agent's own files
//! are; the process may be killed before any of them, and the disk may be full.

use std::collections::BTreeMap;

use trainyard_jobs::AttemptRef;
use trainyard_raft::sim::Rng;
use trainyard_worker::{decide::Order, shim::ExitRecord, standing::Standing};

/// Why a write did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The agent was killed before it.
    Killed,
    /// The disk took nothing.
    Full,
}

/// An attempt's directory.
#[derive(Debug, Clone)]
pub struct Dir {
    pub order: Order,
    /// The plan is written: the shim was, or may have been, launched.
    pub plan: bool,
    /// The shim says that it runs.
    pub started: bool,
    pub stop_wish: bool,
    pub exit: Option<ExitRecord>,
    /// Checkpoints that await their upload, each with its number of parts.
    pub spool: BTreeMap<u64, u32>,
    /// The step that the ranks begin at.
    pub resume: u64,
}

/// What is on the disk.
#[derive(Debug, Default)]
pub struct Disk {
    pub standing: Standing,
    pub dirs: BTreeMap<AttemptRef, Dir>,
    /// Writes until the agent is killed.
    pub fuse: Option<u64>,
    pub full: bool,
}

impl Disk {
    /// Carries one durable step out.
    pub fn write(&mut self, act: impl FnOnce(&mut Self)) -> Result<(), Trouble> {
        match self.fuse {
            Some(0) => return Err(Trouble::Killed),
            Some(left) => self.fuse = Some(left - 1),
            None => {}
        }
        if self.full {
            return Err(Trouble::Full);
        }
        act(self);
        Ok(())
    }

    /// What ranks had written without syncing may be gone.
    pub fn cut_power(&mut self, rng: &mut Rng) {
        for dir in self.dirs.values_mut() {
            dir.spool.retain(|_, _| rng.chance(50));
        }
    }
}
