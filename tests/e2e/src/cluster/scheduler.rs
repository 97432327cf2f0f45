//! A scheduler of a test's cluster.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::{Options, daemon::Daemon};
use crate::Pki;

#[derive(Debug)]
pub(super) struct Scheduler {
    id: u16,
    data: PathBuf,
    daemon: Daemon,
}

impl Scheduler {
    /// Scheduler `id`, from 1, of a cluster at `root` with the given members.
    pub(super) fn new(
        root: &Path,
        id: u16,
        members: &[String],
        pki: &Pki,
        options: &Options,
    ) -> anyhow::Result<Self> {
        let folder = root.join(format!("scheduler-{id}"));
        let data = folder.join("data");
        let address = members.get(usize::from(id - 1)).context("a member's address")?;
        let mut toml = format!(
            "id = {id}\ncluster = \"{}\"\nlisten = \"{address}\"\ndata_dir = \"{}\"\n\
             pki_dir = \"{}\"\nstore = \"file://{}\"\nnode_grace = \"{}\"\nheartbeat = \"500ms\"\n[peers]\n",
            options.id,
            data.display(),
            pki.scheduler(id.into())?.display(),
            root.join("store").display(),
            options.node_grace,
        );
        for (number, member) in (1..).zip(members) {
            writeln!(toml, "{number} = \"{member}\"")?;
        }
        Ok(Self { id, data, daemon: Daemon::new("scheduler", &folder, &toml)? })
    }

    /// Scheduler `id` of a cluster at `root`, with the configuration that `yard cluster add` gave.
    pub(super) fn joining(
        root: &Path,
        id: u16,
        pki: &Pki,
        config: &str,
    ) -> anyhow::Result<Self> {
        let folder = root.join(format!("scheduler-{id}"));
        let data = folder.join("data");
        let line = |line: &str| match line.split_once(" = ") {
            Some(("data_dir", _)) => format!("data_dir = \"{}\"\n", data.display()),
            _ => format!("{line}\n"),
        };
        let own: String = config.lines().map(line).collect();
        let member = config.lines().find_map(|line| line.strip_prefix("id = ")?.parse().ok());
        let toml = format!(
            "node_grace = \"3s\"\nheartbeat = \"500ms\"\npki_dir = \"{}\"\n{own}",
            pki.scheduler(member.context("a member's id")?)?.display(),
        );
        Ok(Self { id, data, daemon: Daemon::new("scheduler", &folder, &toml)? })
    }

    /// Where it keeps its data.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// Adds a line to the top of its configuration.
    pub(super) fn configure(&self, line: &str) -> anyhow::Result<()> {
        let text = fs::read_to_string(self.daemon.config())?;
        Ok(fs::write(self.daemon.config(), format!("{line}\n{text}"))?)
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

    pub(super) fn is_up(&self) -> bool {
        self.daemon.is_up()
    }

    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        self.daemon.start()
    }

    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.daemon.kill()
    }

    /// Copies its data into `copy`.
    pub(super) fn save(&self, copy: &Path) -> anyhow::Result<()> {
        copy_tree(&self.data, &copy.join(self.id.to_string()))
    }

    /// Puts the data that [`Self::save`] copied in the place of its own.
    pub(super) fn restore(&self, copy: &Path) -> anyhow::Result<()> {
        fs::remove_dir_all(&self.data)?;
        copy_tree(&copy.join(self.id.to_string()), &self.data)
    }

    pub(super) fn last_words(&self) -> String {
        self.daemon.last_words()
    }
}

fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("no folder {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
