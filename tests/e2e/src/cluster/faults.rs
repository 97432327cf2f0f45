//! Faults that single daemons of a cluster meet: signals, restarts, clocks, files.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::sys::signal::Signal;

use super::{Cluster, scheduler::Scheduler};
use crate::clock::Clock;

impl Cluster {
    fn scheduler_mut(&mut self, number: usize) -> anyhow::Result<&mut Scheduler> {
        self.schedulers.get_mut(number).context("no such scheduler")
    }

    fn scheduler(&self, number: usize) -> anyhow::Result<&Scheduler> {
        self.schedulers.get(number).context("no such scheduler")
    }

    /// How many schedulers the cluster has, up or down.
    #[must_use]
    pub fn members(&self) -> usize {
        self.schedulers.len()
    }

    /// Sends a scheduler a signal. `SIGSTOP` freezes it until `SIGCONT`.
    pub fn signal_scheduler(&mut self, number: usize, signal: Signal) -> anyhow::Result<()> {
        self.scheduler_mut(number)?.daemon().signal(signal)
    }

    /// Sends a worker's agent a signal; its shims and ranks get none.
    pub fn signal_agent(&mut self, name: &str, signal: Signal) -> anyhow::Result<()> {
        self.worker_mut(name)?.daemon().signal(signal)
    }

    /// Starts a scheduler that does not run.
    pub fn start_scheduler(&mut self, number: usize) -> anyhow::Result<()> {
        self.scheduler_mut(number)?.start()
    }

    /// Whether a scheduler has ended.
    pub fn scheduler_has_ended(&mut self, number: usize) -> anyhow::Result<bool> {
        self.scheduler_mut(number)?.daemon().ended()
    }

    /// Gives a scheduler a clock of its own when it is started next.
    pub fn set_clock(&mut self, number: usize, clock: &Clock) -> anyhow::Result<()> {
        let daemon = self.scheduler_mut(number)?.daemon();
        for (variable, value) in clock.environment() {
            daemon.set(variable, &value);
        }
        Ok(())
    }

    /// Where a scheduler keeps its log and its snapshots.
    pub fn scheduler_data(&self, number: usize) -> anyhow::Result<PathBuf> {
        Ok(self.scheduler(number)?.data().to_owned())
    }

    /// All that a scheduler has said.
    pub fn scheduler_words(&self, number: usize) -> anyhow::Result<String> {
        Ok(self.scheduler(number)?.words())
    }

    /// All that a worker's agent has said.
    pub fn agent_words(&self, name: &str) -> anyhow::Result<String> {
        Ok(self.worker(name)?.words())
    }

    /// Where a worker keeps its attempts.
    pub fn worker_data(&self, name: &str) -> anyhow::Result<&Path> {
        Ok(self.worker(name)?.data())
    }
}
