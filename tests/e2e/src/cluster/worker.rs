//! A worker of a test's cluster: its agent, and what the agent leaves behind when it dies.

use std::path::{Path, PathBuf};

use super::{Options, daemon::Daemon};
use crate::{Pki, process, programs};

#[derive(Debug)]
pub(super) struct Worker {
    name: String,
    data: PathBuf,
    daemon: Daemon,
}

impl Worker {
    /// The worker `name` of a cluster at `root`; its ranks meet on ports of the given range.
    pub(super) fn new(
        root: &Path,
        name: &str,
        ports: (u16, u16),
        members: &[String],
        pki: &Pki,
        options: &Options,
    ) -> anyhow::Result<Self> {
        let folder = root.join(name);
        let data = folder.join("data");
        let mut toml = format!(
            "name = \"{name}\"\ndata_dir = \"{}\"\npki_dir = \"{}\"\n\
             endpoints = {members:?}\nstore = \"file://{}\"\nslots = {}\nports = [{}, {}]\ncgroup = false\n",
            data.display(),
            pki.worker(name)?.display(),
            root.join("store").display(),
            options.slots,
            ports.0,
            ports.1,
        );
        if let Ok(trainer) = programs::trainer() {
            toml += &format!("trainer = \"{}\"\n", trainer.display());
        }
        Ok(Self { name: name.to_owned(), data, daemon: Daemon::new("worker", &folder, &toml)? })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    pub(super) fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    pub(super) fn words(&self) -> String {
        self.daemon.words()
    }

    pub(super) fn config(&self) -> &Path {
        self.daemon.config()
    }

    pub(super) fn set(&mut self, variable: &'static str, value: &Path) {
        self.daemon.set(variable, value);
    }

    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        self.daemon.start()
    }

    pub(super) fn kill_agent(&mut self) -> anyhow::Result<()> {
        self.daemon.kill()
    }

    /// The agent goes first, so that it tells nobody what befalls the rest.
    pub(super) fn lose(&mut self) -> anyhow::Result<()> {
        self.daemon.kill()?;
        process::kill_all(&self.data)
    }

    pub(super) fn last_words(&self) -> String {
        self.daemon.last_words()
    }
}
