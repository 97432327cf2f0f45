//! A cluster of real processes in a temporary folder: schedulers, workers, an object store as files.
//!
//! Each daemon is started from a configuration file, as on a machine of its own. Dropping the
//! cluster ends every process that names its folder, shims and ranks included.

mod daemon;
mod faults;
mod options;
mod scheduler;
mod worker;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use trainyard_jobs::Role;

use crate::{
    Answer, Network, Pki, Yard, ports, process, until,
    view::{Job, List, Node, Status, Version},
};
pub use options::{CLUSTER, Options};
use scheduler::Scheduler;
use worker::Worker;

/// How long a fresh cluster may take until it is whole.
const START: Duration = Duration::from_secs(30);

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    yard: Yard,
    schedulers: Vec<Scheduler>,
    workers: Vec<Worker>,
    pki: Pki,
    ports: ports::Block,
    folder: TempDir,
}

/// Runs `test` on a cluster of its own. An error of it carries the end of each daemon's log.
pub fn on_cluster(
    options: Options,
    test: impl FnOnce(&mut Cluster) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    on_prepared_cluster(options, |_| Ok(()), |cluster, ()| test(cluster))
}

/// The same, with `prepare` between the cluster's making and its start. What it gives is dropped
/// after the cluster's processes have ended.
pub fn on_prepared_cluster<P>(
    options: Options,
    prepare: impl FnOnce(&mut Cluster) -> anyhow::Result<P>,
    test: impl FnOnce(&mut Cluster, &P) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (mut cluster, prepared);
    cluster = Cluster::new(options)?;
    prepared = prepare(&mut cluster)?;
    cluster.run_test(|cluster| test(cluster, &prepared))
}

/// Runs `test` on a cluster whose daemons are machines of a network of their own, named
/// `scheduler-1` and on, `node-1` and on.
pub fn on_networked_cluster(
    options: Options,
    test: impl FnOnce(&mut Cluster, &Network) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let schedulers = (1..=options.schedulers).map(|id| format!("scheduler-{id}"));
    let workers = (1..=options.workers).map(|n| format!("node-{n}"));
    let network = Network::new(schedulers.chain(workers))?;
    let mut cluster = Cluster::laid_out(options, Some(&network))?;
    cluster.run_test(|cluster| test(cluster, &network))
}

impl Cluster {
    /// A cluster that is laid out but not started, on loopback.
    pub fn new(options: Options) -> anyhow::Result<Self> {
        Self::laid_out(options, None)
    }

    fn laid_out(options: Options, network: Option<&Network>) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("trainyard-test-").tempdir()?;
        let ports = ports::Block::take()?;
        let root = folder.path();
        fs::create_dir_all(root.join("client"))?;
        let member = |id: u16| {
            let host = network.map(|n| n.address(&format!("scheduler-{id}"))).transpose()?;
            let host = host.unwrap_or_else(|| "127.0.0.1".to_owned());
            Ok(format!("{host}:{}", ports.port(id - 1)))
        };
        let members: Vec<String> =
            (1..=options.schedulers).map(member).collect::<anyhow::Result<_>>()?;
        let pki = Pki::new(&root.join("pki"), options.id)?;
        let mut schedulers: Vec<Scheduler> = (1..=options.schedulers)
            .map(|id| Scheduler::new(root, id, &members, &pki, &options))
            .collect::<anyhow::Result<_>>()?;
        let mut workers: Vec<Worker> = (1..=options.workers)
            .map(|n| {
                let first = ports.port(20 * n);
                let ports = (first, first + 19);
                Worker::new(root, &format!("node-{n}"), ports, &members, &pki, &options)
            })
            .collect::<anyhow::Result<_>>()?;
        if let Some(network) = network {
            for (id, scheduler) in (1..).zip(&mut schedulers) {
                scheduler.daemon().live_in(network.namespace(&format!("scheduler-{id}"))?);
            }
            for worker in &mut workers {
                let name = worker.name().to_owned();
                let address = network.address(&name)?;
                worker.daemon().live_in(network.namespace(&name)?);
                worker.daemon().configure(&format!("address = \"{address}\"\n"))?;
            }
        }
        let admin = pki.person("admin", Role::Admin)?;
        let yard = Yard::new(&members.join(","), &admin, &root.join("client"));
        Ok(Self { yard, schedulers, workers, pki, ports, folder })
    }

    /// Starts everything, tests, and ends everything.
    fn run_test(
        &mut self,
        test: impl FnOnce(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let result = self.start().and_then(|()| test(self));
        let result = result.map_err(|error| {
            let logs = self.logs();
            error.context(format!("the daemons' last words:\n{logs}\n"))
        });
        self.end();
        result
    }

    /// Starts every daemon and waits until a leader knows all workers.
    pub fn start(&mut self) -> anyhow::Result<()> {
        for scheduler in &mut self.schedulers {
            scheduler.start()?;
        }
        for worker in &mut self.workers {
            worker.start()?;
        }
        self.wait_for_workers(self.workers.len())
    }

    /// Waits until `count` workers are up.
    pub fn wait_for_workers(&self, count: usize) -> anyhow::Result<()> {
        until(&format!("{count} workers to be up"), START, || {
            let nodes: List<Node> = self.yard.json(&["node", "list"])?;
            let up = nodes.items.iter().filter(|node| node.state == "up").count();
            Ok((up == count).then_some(()))
        })
    }

    /// The `yard` command against this cluster.
    #[must_use]
    pub fn yard(&self) -> &Yard {
        &self.yard
    }

    /// Asks these schedulers from now on.
    pub fn ask_at(&mut self, endpoints: &[&str]) -> anyhow::Result<()> {
        let admin = self.pki.person("admin", Role::Admin)?;
        self.yard = Yard::new(&endpoints.join(","), &admin, &self.client());
        Ok(())
    }

    /// Who issues the certificates of this cluster.
    #[must_use]
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Runs `yard` against this cluster.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<Answer> {
        self.yard.run(arguments)
    }

    /// Runs `yard … -o json` against this cluster.
    pub fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> anyhow::Result<T> {
        self.yard.json(arguments)
    }

    /// Runs a daemon in the foreground, to the end that it is expected to come to.
    pub fn daemon(&self, kind: &str, config: &Path) -> anyhow::Result<Answer> {
        self.yard.run(&[kind, "--config", &config.display().to_string()])
    }

    /// The folder where `yard` runs: a place for specs and scripts.
    #[must_use]
    pub fn client(&self) -> PathBuf {
        self.folder.path().join("client")
    }

    /// The folder that holds all of the cluster.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the client's folder.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.client().join(name);
        fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))?;
        Ok(path)
    }

    /// Submits the spec `toml` and gives the job's id.
    pub fn submit(&self, toml: &str) -> anyhow::Result<String> {
        self.write("job.toml", toml)?;
        let answer = self.run(&["submit", "job.toml", "-q"])?.ok()?;
        Ok(answer.stdout.trim().to_owned())
    }

    /// The job `id`.
    pub fn job(&self, id: &str) -> anyhow::Result<Job> {
        self.json(&["job", "get", id])
    }

    /// Waits until `wanted` holds of job `id`, and gives the job.
    pub fn job_when(
        &self,
        id: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Job) -> bool,
    ) -> anyhow::Result<Job> {
        let mut last = None;
        let found = until(what, limit, || {
            let job = self.job(id)?;
            let met = wanted(&job);
            last = Some(job.clone());
            Ok(met.then_some(job))
        });
        found.with_context(|| format!("the job is {last:#?}"))
    }

    /// All versions of all models.
    pub fn models(&self) -> anyhow::Result<Vec<Version>> {
        Ok(self.json::<List<Version>>(&["model", "list"])?.items)
    }

    /// The schedulers, each as it sees itself.
    pub fn status(&self) -> anyhow::Result<Status> {
        self.json(&["cluster", "status"])
    }

    /// The number of the scheduler that leads, from 0.
    pub fn leader(&self) -> anyhow::Result<usize> {
        until("a leader", START, || {
            let leader = self.status()?.leader.context("nobody leads")?;
            let index = usize::try_from(leader)?.checked_sub(1);
            Ok(index.filter(|index| self.is_up(*index)))
        })
    }

    /// Waits until another scheduler than `old` leads, and gives its number, from 0.
    pub fn next_leader(&self, old: usize) -> anyhow::Result<usize> {
        until("another leader", START, || {
            let leader = self.status()?.leader.context("nobody leads")?;
            let leader = usize::try_from(leader)?.checked_sub(1);
            Ok(leader.filter(|leader| *leader != old))
        })
    }

    fn is_up(&self, scheduler: usize) -> bool {
        self.schedulers.get(scheduler).is_some_and(Scheduler::is_up)
    }

    /// Kills a scheduler without a warning.
    pub fn kill_scheduler(&mut self, number: usize) -> anyhow::Result<()> {
        self.schedulers.get_mut(number).context("no such scheduler")?.kill()
    }

    /// Kills all schedulers at once, without a warning.
    pub fn kill_schedulers(&mut self) -> anyhow::Result<()> {
        self.schedulers.iter_mut().try_for_each(Scheduler::kill)
    }

    /// Starts all schedulers that do not run.
    pub fn start_schedulers(&mut self) -> anyhow::Result<()> {
        self.schedulers.iter_mut().try_for_each(Scheduler::start)
    }

    /// The address that the scheduler of this number, from 0, has or would have.
    #[must_use]
    pub fn scheduler_address(&self, number: u16) -> String {
        format!("127.0.0.1:{}", self.ports.port(number))
    }

    /// Starts one more scheduler, with the configuration that `yard cluster add` or `replace` gave.
    /// Gives its number.
    pub fn join_scheduler(&mut self, config: &str) -> anyhow::Result<usize> {
        let number = self.schedulers.len();
        let id = u16::try_from(number)?.saturating_add(1);
        let mut scheduler = Scheduler::joining(self.folder.path(), id, &self.pki, config)?;
        scheduler.start()?;
        self.schedulers.push(scheduler);
        Ok(number)
    }

    /// Asks a scheduler to stop, as an operator would, and waits until it has.
    pub fn stop_scheduler(&mut self, number: usize) -> anyhow::Result<()> {
        self.schedulers.get_mut(number).context("no such scheduler")?.daemon().terminate()
    }

    /// Waits until a scheduler has ended by itself, and gives its exit code.
    pub fn scheduler_end(&mut self, number: usize, limit: Duration) -> anyhow::Result<Option<i32>> {
        self.schedulers.get_mut(number).context("no such scheduler")?.daemon().wait_for_end(limit)
    }

    /// Adds a line to a scheduler's configuration.
    pub fn configure_scheduler(&self, number: usize, line: &str) -> anyhow::Result<()> {
        self.schedulers.get(number).context("no such scheduler")?.configure(line)
    }

    /// What a scheduler said last.
    pub fn scheduler_log(&self, number: usize) -> anyhow::Result<String> {
        Ok(self.schedulers.get(number).context("no such scheduler")?.last_words())
    }

    /// Keeps a copy of what the schedulers, which must be down, have on disk.
    pub fn save_schedulers(&self, name: &str) -> anyhow::Result<()> {
        let copy = self.folder().join(name);
        self.schedulers.iter().try_for_each(|scheduler| scheduler.save(&copy))
    }

    /// Puts back what [`Self::save_schedulers`] kept. The schedulers must be down.
    pub fn restore_schedulers(&self, name: &str) -> anyhow::Result<()> {
        let copy = self.folder().join(name);
        self.schedulers.iter().try_for_each(|scheduler| scheduler.restore(&copy))
    }

    /// Kills all that runs on a worker, as if its machine were lost: agent, shims and ranks.
    pub fn lose_worker(&mut self, name: &str) -> anyhow::Result<()> {
        self.worker_mut(name)?.lose()
    }

    /// Kills a worker's agent alone.
    pub fn kill_agent(&mut self, name: &str) -> anyhow::Result<()> {
        self.worker_mut(name)?.kill_agent()
    }

    /// Starts a worker's agent.
    pub fn start_agent(&mut self, name: &str) -> anyhow::Result<()> {
        self.worker_mut(name)?.start()
    }

    /// Sets a variable for a worker's agent when it is started next.
    pub fn set(&mut self, name: &str, variable: &'static str, value: &Path) -> anyhow::Result<()> {
        self.worker_mut(name)?.set(variable, value);
        Ok(())
    }

    /// The configuration file of a worker.
    pub fn worker_config(&self, name: &str) -> anyhow::Result<PathBuf> {
        Ok(self.worker(name)?.config().to_owned())
    }

    /// The configuration file of a scheduler.
    pub fn scheduler_config(&self, number: usize) -> anyhow::Result<PathBuf> {
        Ok(self.schedulers.get(number).context("no such scheduler")?.config().to_owned())
    }

    /// The ranks that run on all workers: process ids by rank.
    #[must_use]
    pub fn ranks(&self) -> Vec<(u32, i32)> {
        let mut ranks: Vec<_> =
            self.workers.iter().flat_map(|worker| process::ranks(worker.data())).collect();
        ranks.sort_unstable();
        ranks
    }

    /// The ranks of one job on all workers: process ids by rank.
    #[must_use]
    pub fn ranks_of(&self, job: &str) -> Vec<(u32, i32)> {
        let of_job = |worker: &Worker| process::ranks_of(worker.data(), job);
        let mut ranks: Vec<_> = self.workers.iter().flat_map(of_job).collect();
        ranks.sort_unstable();
        ranks
    }

    /// Waits until `count` ranks run, and gives them.
    pub fn wait_for_ranks(&self, count: usize, limit: Duration) -> anyhow::Result<Vec<(u32, i32)>> {
        until(&format!("{count} ranks to run"), limit, || {
            let ranks = self.ranks();
            Ok((ranks.len() == count).then_some(ranks))
        })
    }

    fn worker(&self, name: &str) -> anyhow::Result<&Worker> {
        self.workers.iter().find(|worker| worker.name() == name).context("no such worker")
    }

    fn worker_mut(&mut self, name: &str) -> anyhow::Result<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.name() == name).context("no such worker")
    }

    fn logs(&self) -> String {
        let schedulers = self.schedulers.iter().map(Scheduler::last_words);
        schedulers.chain(self.workers.iter().map(Worker::last_words)).collect()
    }
}

impl Cluster {
    /// Ends every process. Daemons first, in their own drop, so that nothing starts ranks anew;
    /// then what outlives them.
    fn end(&mut self) {
        self.workers.clear();
        self.schedulers.clear();
        let _ = process::kill_all(self.folder.path());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end();
    }
}
