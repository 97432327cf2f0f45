//! What a `yard dev` cluster consists of: ids and ports, drawn once and kept, so that a restart
//! finds the same cluster; and the configuration of each daemon.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, TcpListener},
    path::Path,
};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use trainyard_jobs::{ClusterId, Millis};
use uuid::Uuid;

use super::Layout;
use crate::error::CliError;

/// What the user asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wishes {
    /// 1 or 3.
    pub(crate) schedulers: usize,
    /// How many workers.
    pub(crate) workers: usize,
    /// CPU slots of each, if not the default.
    pub(crate) slots: Option<u32>,
    /// How long a node may be silent.
    pub(crate) node_grace: Millis,
}

/// What is kept between runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    format: u32,
    cluster: ClusterId,
    schedulers: Vec<SchedulerPorts>,
    workers: Vec<WorkerPorts>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SchedulerPorts {
    listen: u16,
    metrics: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkerPorts {
    metrics: u16,
    /// The first of the ports for ranks.
    ranks: u16,
}

const FORMAT: u32 = 1;

/// Ports for the ranks of one worker.
const RANK_PORTS: u16 = 100;

/// Ports for ranks lie below those that systems hand out by themselves, so none is taken by
/// chance; several clusters on one machine draw different blocks.
const RANK_BLOCKS: std::ops::Range<u16> = 100..320;

impl Plan {
    /// Reads what an earlier run drew, or draws anew; what is missing or taken is drawn again.
    pub(crate) fn load(layout: &Layout, wishes: Wishes) -> Result<Self, CliError> {
        let path = layout.saved();
        let mut plan = match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&path, &text)?,
            Err(_) if layout.is_new() => Self::new(),
            Err(error) => return Err(CliError::io("read", &path, &error)),
        };
        let saved = plan.schedulers.len();
        if saved != 0 && saved != wishes.schedulers {
            return Err(CliError::usage(format!(
                "`{}` holds a cluster of {saved} schedulers, not {}",
                layout.dir().display(),
                wishes.schedulers
            ))
            .help(format!("use --schedulers {saved}, another --dir, or --fresh to begin anew")));
        }
        plan.draw(wishes)?;
        let text = toml::to_string(&plan)
            .map_err(|error| CliError::internal(format!("cannot write the plan: {error}")))?;
        layout.write(&path, &format!("# Written by `yard dev`.\n{text}"))?;
        Ok(plan)
    }

    fn new() -> Self {
        let cluster = ClusterId(Uuid::new_v4());
        Self { format: FORMAT, cluster, schedulers: Vec::new(), workers: Vec::new() }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, CliError> {
        let wrong = |what: &str| {
            CliError::usage(format!("cannot use `{}`: {what}", path.display()))
                .help("--fresh begins anew and removes all jobs and models of this directory")
        };
        let table: Table = toml::from_str(text).map_err(|error| wrong(error.message()))?;
        match table.get("format").and_then(Value::as_integer) {
            Some(format) if format > i64::from(FORMAT) => {
                Err(wrong("it was written by a newer yard").help("update yard"))
            }
            _ => table.try_into().map_err(|error: toml::de::Error| wrong(error.message())),
        }
    }

    fn draw(&mut self, wishes: Wishes) -> Result<(), CliError> {
        let mut draw = Draw::default();
        let mut schedulers = Vec::new();
        for i in 0..wishes.schedulers {
            let saved = self.schedulers.get(i);
            let listen = draw.port(saved.map(|ports| ports.listen))?;
            schedulers
                .push(SchedulerPorts { listen, metrics: draw.port(saved.map(|p| p.metrics))? });
        }
        self.schedulers = schedulers;
        let mut blocks: BTreeSet<u16> = self.workers.iter().map(|worker| worker.ranks).collect();
        for i in 0..wishes.workers {
            let saved = self.workers.get(i).copied();
            let metrics = draw.port(saved.map(|ports| ports.metrics))?;
            let ranks = match saved {
                Some(ports) => ports.ranks,
                None => loop {
                    let first = rand::random_range(RANK_BLOCKS) * RANK_PORTS;
                    if blocks.insert(first) || blocks.len() >= RANK_BLOCKS.len() {
                        break first;
                    }
                },
            };
            let ports = WorkerPorts { metrics, ranks };
            match self.workers.get_mut(i) {
                Some(worker) => *worker = ports,
                None => self.workers.push(ports),
            }
        }
        Ok(())
    }

    /// The cluster.
    pub(crate) fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Where the schedulers listen.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.schedulers.iter().map(|ports| loopback(ports.listen)).collect()
    }

    /// The names of the schedulers.
    pub(crate) fn schedulers(&self) -> impl Iterator<Item = String> {
        (1..=self.schedulers.len()).map(|i| format!("scheduler-{i}"))
    }

    /// The names of the first `n` workers.
    pub(crate) fn workers(n: usize) -> impl Iterator<Item = String> {
        (1..=n).map(|i| format!("worker-{i}"))
    }

    /// Writes the configuration of every daemon.
    pub(crate) fn write_configs(&self, layout: &Layout, wishes: Wishes) -> Result<(), CliError> {
        layout.make(&layout.store())?;
        for (id, (name, ports)) in (1i64..).zip(self.schedulers().zip(&self.schedulers)) {
            layout.make(&layout.data(&name))?;
            let config = self.scheduler(layout, &name, id, *ports, wishes);
            layout.write(&layout.config(&name), &document(&config)?)?;
        }
        for (i, (name, ports)) in Self::workers(wishes.workers).zip(&self.workers).enumerate() {
            layout.make(&layout.data(&name))?;
            let config = self.worker(layout, &name, i, *ports, wishes);
            layout.write(&layout.config(&name), &document(&config)?)?;
        }
        Ok(())
    }

    fn scheduler(
        &self,
        layout: &Layout,
        name: &str,
        id: i64,
        ports: SchedulerPorts,
        wishes: Wishes,
    ) -> Table {
        let peers =
            (1..).zip(self.endpoints()).map(|(id, at): (u64, _)| (id.to_string(), at.into()));
        Table::from_iter([
            ("id".into(), id.into()),
            ("cluster".into(), self.cluster.to_string().into()),
            ("listen".into(), loopback(ports.listen).into()),
            ("metrics_listen".into(), loopback(ports.metrics).into()),
            ("data_dir".into(), path(&layout.data(name))),
            ("pki_dir".into(), path(&layout.pki(name))),
            ("store".into(), store(layout)),
            ("node_grace".into(), format!("{}ms", wishes.node_grace.0).into()),
            ("peers".into(), Value::Table(peers.collect())),
        ])
    }

    fn worker(
        &self,
        layout: &Layout,
        name: &str,
        index: usize,
        ports: WorkerPorts,
        wishes: Wishes,
    ) -> Table {
        let ranks = [ports.ranks, ports.ranks + RANK_PORTS - 1];
        let endpoints = self.endpoints().into_iter().map(Value::from).collect::<Vec<_>>();
        let mut config = Table::from_iter([
            ("name".into(), name.into()),
            ("endpoints".into(), endpoints.into()),
            ("metrics_listen".into(), loopback(ports.metrics).into()),
            ("data_dir".into(), path(&layout.data(name))),
            ("pki_dir".into(), path(&layout.pki(name))),
            ("store".into(), store(layout)),
            ("ports".into(), ranks.map(|port| Value::from(i64::from(port))).to_vec().into()),
        ]);
        if wishes.workers > 1 {
            // Each would hand out the same processors.
            config.insert("pin_cpus".into(), false.into());
        }
        if let Some(slots) = wishes.slots.or_else(|| share_of_processors(wishes.workers)) {
            config.insert("slots".into(), i64::from(slots).into());
        }
        if index > 0 && Path::new("/dev/nvidiactl").exists() {
            // The machine's GPUs are one worker's: two would give each away twice.
            config.insert("nvml_library".into(), "/dev/null".into());
        }
        config
    }
}

/// Several workers share the processors; one alone decides for itself.
fn share_of_processors(workers: usize) -> Option<u32> {
    let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (workers > 1).then(|| u32::try_from((all / workers).max(1)).unwrap_or(1))
}

fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn path(path: &Path) -> Value {
    path.display().to_string().into()
}

fn store(layout: &Layout) -> Value {
    format!("file://{}", layout.store().display()).into()
}

fn document(config: &Table) -> Result<String, CliError> {
    let text = toml::to_string(config)
        .map_err(|error| CliError::internal(format!("cannot write a configuration: {error}")))?;
    Ok(format!("# Written by `yard dev` at each start.\n{text}"))
}

/// Holds what it drew until all is drawn, so that no port is drawn twice.
#[derive(Debug, Default)]
struct Draw {
    held: Vec<TcpListener>,
}

impl Draw {
    /// The saved port if it is free, else one of the system's choice.
    fn port(&mut self, saved: Option<u16>) -> Result<u16, CliError> {
        let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = saved.and_then(|port| bind(port).ok()).map_or_else(|| bind(0), Ok);
        let drawn = listener.and_then(|l| l.local_addr().map(|address| (l, address.port())));
        let (listener, port) = drawn.map_err(|error| {
            CliError::internal(format!("cannot draw a port on 127.0.0.1: {error}"))
        })?;
        self.held.push(listener);
        Ok(port)
    }
}

#[cfg(test)]
mod tests;
