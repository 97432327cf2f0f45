//! Short jobs on Slurm: a controller and a node daemon by hand from Debian's packages, with
//! munge, all in one folder. No cgroups and no accounting, so it has the least to do.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use super::{LIMIT, Queue};
use crate::{
    cluster::scratch,
    process::{Daemon, find_program, free_ports, output, wait_for},
};

const START: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// A running cluster of one node. Ends with its data when dropped.
pub(crate) struct Slurm {
    /// Ended in this order: node, controller, munge.
    daemons: Vec<Daemon>,
    controller: PathBuf,
    config: PathBuf,
    dir: tempfile::TempDir,
}

impl Drop for Slurm {
    fn drop(&mut self) {
        let _ = output(self.client("scancel").args(["--user", "root"]));
        self.daemons.clear();
    }
}

impl Slurm {
    pub(crate) async fn start(data: &Path, slots: u32) -> anyhow::Result<Self> {
        let controller = find_program("slurmctld", "slurm-wlm")?;
        let node = find_program("slurmd", "slurm-wlm")?;
        let munge = find_program("munged", "munge")?;
        if !nix::unistd::geteuid().is_root() {
            bail!("its daemons need root here");
        }
        let dir = scratch(data, "slurm-")?;
        let root = dir.path().to_owned();
        let config = root.join("slurm.conf");
        // munge wants a folder that others can enter, and every folder above it.
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755))?;
        for folder in ["state", "spool", "munge"] {
            std::fs::create_dir(root.join(folder))?;
        }
        let key = root.join("munge/key");
        std::fs::write(&key, uuid::Uuid::new_v4().to_string().repeat(4))?;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o400))?;
        let host = output(&mut Command::new("hostname"))?;
        let ports = free_ports(2)?;
        std::fs::write(&config, settings(&root, &host, &ports, slots))?;

        let mut slurm = Self { daemons: Vec::new(), controller, config, dir };
        slurm.spawn(
            "munge",
            Command::new(munge).args(["-F", "--force"]).args(munge_places(&root)),
        )?;
        wait_for("munge's socket", START, async || {
            slurm.check()?;
            Ok(root.join("munge/socket").exists().then_some(()))
        })
        .await?;
        for (name, program) in [("controller", slurm.controller.clone()), ("node", node)] {
            slurm
                .spawn(name, Command::new(program).args(["-D", "-f"]).arg(slurm.config.clone()))?;
        }
        wait_for("slurm's node", START, async || {
            slurm.check()?;
            let state = output(slurm.client("sinfo").args(["-h", "-o", "%T"]));
            Ok(state.is_ok_and(|state| state == "idle").then_some(()))
        })
        .await?;
        Ok(slurm)
    }

    fn spawn(&mut self, name: &str, command: &mut Command) -> anyhow::Result<()> {
        let daemon = Daemon::start(name, command, self.dir.path())?;
        self.daemons.insert(0, daemon);
        Ok(())
    }

    fn check(&mut self) -> anyhow::Result<()> {
        self.daemons.iter_mut().try_for_each(Daemon::check)
    }

    /// Submits a script of one line, and gives the job's number.
    pub(crate) fn batch(&self, line: &str) -> anyhow::Result<String> {
        output(self.client("sbatch").args(["--parsable", "--output=/dev/null", "--wrap", line]))
    }

    /// Whether no job waits or runs.
    pub(crate) fn is_idle(&self) -> anyhow::Result<bool> {
        Ok(output(self.client("squeue").arg("--noheader"))?.is_empty())
    }

    pub(crate) fn version(&self) -> String {
        output(Command::new(&self.controller).arg("-V")).unwrap_or_else(|e| format!("{e:#}"))
    }

    fn client(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env("SLURM_CONF", &self.config).current_dir(self.dir.path());
        command
    }
}

fn munge_places(root: &Path) -> Vec<String> {
    let place =
        |flag: &str, file: &str| format!("--{flag}={}", root.join("munge").join(file).display());
    vec![
        place("socket", "socket"),
        place("key-file", "key"),
        place("pid-file", "pid"),
        place("log-file", "log"),
        place("seed-file", "seed"),
    ]
}

fn settings(root: &Path, host: &str, ports: &[u16], slots: u32) -> String {
    let root = root.display();
    let (controller, node) = (ports.first().unwrap_or(&0), ports.last().unwrap_or(&0));
    format!(
        "ClusterName=bench\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={controller}\n\
         SlurmdPort={node}\nSlurmUser=root\nSlurmdUser=root\nAuthType=auth/munge\n\
         AuthInfo=socket={root}/munge/socket\nStateSaveLocation={root}/state\n\
         SlurmdSpoolDir={root}/spool\nSlurmctldPidFile={root}/controller.pid\n\
         SlurmdPidFile={root}/node.pid\nProctrackType=proctrack/linuxproc\n\
         TaskPlugin=task/none\nJobAcctGatherType=jobacct_gather/none\n\
         AccountingStorageType=accounting_storage/none\nJobCompType=jobcomp/none\n\
         MpiDefault=none\nReturnToService=2\nSelectType=select/cons_tres\n\
         SelectTypeParameters=CR_CPU\nSchedulerType=sched/backfill\n\
         SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1\n\
         SlurmdParameters=config_overrides\n\
         CommunicationParameters=NoInAddrAny,NoCtldInAddrAny\nMaxArraySize=20000\n\
         MaxJobCount=50000\nNodeName={host} NodeAddr=127.0.0.1 CPUs={slots} State=UNKNOWN\n\
         PartitionName=bench Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
    )
}

#[async_trait::async_trait(?Send)]
impl Queue for Slurm {
    async fn run(&mut self, jobs: u32) -> anyhow::Result<Duration> {
        self.check()?;
        let started = Instant::now();
        let array = format!("--array=1-{jobs}");
        let script = ["--output=/dev/null", "--wrap", "/bin/true"];
        let id = output(self.client("sbatch").args(["--parsable", &array]).args(script))?;
        loop {
            let left = output(self.client("squeue").args(["--noheader", "--jobs", &id]));
            if left.is_ok_and(|left| left.is_empty()) {
                break;
            }
            self.check()?;
            if started.elapsed() > LIMIT {
                bail!("jobs have not ended after {LIMIT:?}");
            }
            tokio::time::sleep(POLL).await;
        }
        let time = started.elapsed();
        let shown = output(self.client("scontrol").args(["--oneliner", "show", "job", &id]))
            .context("the jobs' end is not known")?;
        let ended = shown.lines().filter(|line| line.contains("JobState=COMPLETED")).count();
        if u32::try_from(ended) != Ok(jobs) {
            bail!("{ended} of {jobs} jobs completed");
        }
        Ok(time)
    }

    fn version(&self) -> String {
        Self::version(self)
    }
}
