//! Trainyard itself as the benchmarks run it: schedulers and workers from the release binary, in
//! a folder of their own, on loopback.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::json;
use tonic::transport::{Channel, Endpoint};
use trainyard_jobs::{ClusterId, JobSpec, NodeId, Role};
use trainyard_pki::{
    AUTHORITY_LIFE, Authority, Connector, Credentials, Expected, Holder, NODE_LIFE, PkiDir, Subject,
};
use trainyard_proto::v1::{ClusterStatusRequest, client_client::ClientClient};

use crate::process::{Daemon, free_ports, output, stop_shims, wait_for};

const START: Duration = Duration::from_secs(20);

/// One caller plays hundreds of clients here, so what one may ask for is out of reach.
const LIMITS: &str = "[limits]\ncalls = 100000\n\
    [limits.caller]\nper_second = 1000000\nburst = 1000000\n";

/// A running cluster. Ends with its data when dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Ended in this order: workers, then schedulers.
    daemons: Vec<Daemon>,
    addresses: Vec<String>,
    authority: Authority,
    connector: Connector,
    program: PathBuf,
    /// Further lines of each scheduler's configuration.
    settings: &'static str,
    dir: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.daemons.clear();
        stop_shims(self.dir.path());
    }
}

impl Cluster {
    /// Starts `members` schedulers and waits until one leads.
    pub(crate) async fn start(program: &Path, data: &Path, members: usize) -> anyhow::Result<Self> {
        Self::start_with(program, data, members, "").await
    }

    /// The same, with `settings` in each scheduler's configuration.
    pub(crate) async fn start_with(
        program: &Path,
        data: &Path,
        members: usize,
        settings: &'static str,
    ) -> anyhow::Result<Self> {
        if !program.is_file() {
            bail!("it is not built: cargo build --release -p yard");
        }
        let dir = scratch(data, "yard-")?;
        let ports = free_ports(members)?;
        let addresses: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let (daemons, program) = (Vec::new(), program.to_owned());
        let id = uuid::Uuid::now_v7();
        let authority = Authority::create(ClusterId(id), AUTHORITY_LIFE)?;
        let admin = Subject::Person { role: Role::Admin, name: "bench".into() };
        let pki = dir.path().join("pki");
        issue(&authority, &pki, Holder::Person, admin)?;
        let connector = Connector::to(&Credentials::person(&pki)?, Expected::AnyScheduler)?;
        let mut cluster = Self { daemons, addresses, authority, connector, program, settings, dir };
        for (number, address) in (1u64..).zip(cluster.addresses.clone()) {
            let name = format!("scheduler-{number}");
            let config = cluster.scheduler_config(&id, number, &address);
            let pki = PkiDir::new(cluster.dir.path().join(&name).join("pki"));
            pki.write_authority(cluster.authority.certificate(), &cluster.authority.key())?;
            let subject = Subject::Scheduler(number);
            issue(&cluster.authority, pki.path(), Holder::Node, subject)?;
            cluster.spawn("scheduler", &name, &config)?;
        }
        wait_for("the election of a leader", START, async || {
            cluster.check()?;
            Ok(cluster.leader().await.ok())
        })
        .await?;
        Ok(cluster)
    }

    /// Starts a worker and waits until the cluster lists it.
    pub(crate) async fn add_worker(&mut self, slots: u32) -> anyhow::Result<()> {
        self.add_worker_named("worker", slots, 1).await
    }

    /// Starts the worker `name` and waits until the cluster lists `nodes` of them.
    pub(crate) async fn add_worker_named(
        &mut self,
        name: &str,
        slots: u32,
        nodes: u32,
    ) -> anyhow::Result<()> {
        let port = free_ports(1)?.pop().unwrap_or_default();
        let last = port.saturating_add(999);
        let data = self.worker_data(name);
        let node = NodeId::from_random(u64::from(nodes));
        issue(&self.authority, &data.join("pki"), Holder::Node, Subject::Worker(node))?;
        let config = format!(
            "name = \"{name}\"\ndata_dir = {data:?}\nendpoints = {:?}\nstore = \"{}\"\n\
             slots = {slots}\nports = [{port}, {last}]\n",
            self.addresses,
            self.store(),
        );
        self.spawn("worker", name, &config)?;
        // First of the list, so that it ends before the schedulers do.
        self.daemons.rotate_right(1);
        let mut client = self.leader().await?;
        wait_for("the worker's registration", START, async || {
            self.check()?;
            let status = client.cluster_status(ClusterStatusRequest {}).await?.into_inner();
            Ok((status.nodes >= nodes).then_some(()))
        })
        .await
    }

    /// A client of the leader, on a connection of its own.
    pub(crate) async fn leader(&self) -> anyhow::Result<ClientClient<Channel>> {
        let mut clients = self.clients(1).await?;
        clients.pop().context("no client")
    }

    /// Clients of the leader, each on a connection of its own.
    pub(crate) async fn clients(&self, count: usize) -> anyhow::Result<Vec<ClientClient<Channel>>> {
        let address = self.leader_address().await?;
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(self.connect(&address).await?);
        }
        Ok(clients)
    }

    /// A connection with TLS, as every client has.
    pub(crate) async fn connect(&self, address: &str) -> anyhow::Result<ClientClient<Channel>> {
        let endpoint = Endpoint::from_shared(format!("https://{address}"))?;
        let channel = endpoint.connect_with_connector(self.connector.clone()).await?;
        Ok(ClientClient::new(channel))
    }

    /// The same, opened when it is first used, and again when it broke.
    pub(crate) fn channel(&self, address: &str, connect: Duration) -> anyhow::Result<Channel> {
        let endpoint = Endpoint::from_shared(format!("https://{address}"))?;
        let endpoint = endpoint.connect_timeout(connect);
        Ok(endpoint.connect_with_connector_lazy(self.connector.clone()))
    }

    /// What opens connections with TLS.
    pub(crate) const fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Where the leader listens.
    pub(crate) async fn leader_address(&self) -> anyhow::Result<String> {
        for address in &self.addresses {
            let Ok(mut client) = self.connect(address).await else { continue };
            let Ok(status) = client.cluster_status(ClusterStatusRequest {}).await else { continue };
            let status = status.into_inner();
            if status.leader == status.id {
                return Ok(address.clone());
            }
        }
        bail!("no scheduler leads")
    }

    pub(crate) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The folder of everything that the cluster keeps and runs.
    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Where a worker keeps its attempts.
    pub(crate) fn worker_data(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The daemon of that name.
    pub(crate) fn daemon(&mut self, name: &str) -> anyhow::Result<&mut Daemon> {
        let found = self.daemons.iter_mut().find(|daemon| daemon.name() == name);
        found.with_context(|| format!("no daemon {name} runs"))
    }

    /// Starts a daemon again that has ended, with the configuration that it had.
    pub(crate) fn restart(&mut self, role: &str, name: &str) -> anyhow::Result<()> {
        let daemon = self.launch(role, name)?;
        *self.daemon(name)? = daemon;
        Ok(())
    }

    pub(crate) fn version(&self) -> String {
        output(Command::new(&self.program).arg("--version")).unwrap_or_else(|e| format!("{e:#}"))
    }

    /// An error if a daemon has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        self.daemons.iter_mut().try_for_each(Daemon::check)
    }

    /// Seconds of processor time that its daemons have used.
    pub(crate) fn cpu(&self) -> f64 {
        self.daemons.iter().map(Daemon::cpu).sum()
    }

    fn scheduler_config(&self, id: &uuid::Uuid, number: u64, address: &str) -> String {
        let data = self.dir.path().join(format!("scheduler-{number}"));
        let peers: String = (1..)
            .zip(&self.addresses)
            .map(|(number, address): (u64, _)| format!("{number} = \"{address}\"\n"))
            .collect();
        let store = self.store();
        format!(
            "id = {number}\ncluster = \"{id}\"\nlisten = \"{address}\"\ndata_dir = {data:?}\n\
             store = \"{store}\"\n{}\n[peers]\n{peers}{LIMITS}",
            self.settings
        )
    }

    fn store(&self) -> String {
        format!("file://{}/store", self.dir.path().display())
    }

    fn spawn(&mut self, role: &str, name: &str, config: &str) -> anyhow::Result<()> {
        let file = self.dir.path().join(format!("{name}.toml"));
        std::fs::write(&file, config).with_context(|| format!("cannot write {file:?}"))?;
        let daemon = self.launch(role, name)?;
        self.daemons.push(daemon);
        Ok(())
    }

    fn launch(&self, role: &str, name: &str) -> anyhow::Result<Daemon> {
        let mut command = Command::new(&self.program);
        command.arg(role).arg("--config").arg(self.dir.path().join(format!("{name}.toml")));
        Daemon::start(name, &mut command, self.dir.path())
    }
}

/// Writes a certificate for `subject`, with its key and what it trusts.
pub(crate) fn issue(
    authority: &Authority,
    dir: &Path,
    holder: Holder,
    subject: Subject,
) -> anyhow::Result<()> {
    let dir = PkiDir::new(dir);
    dir.write_roots(authority.certificate())?;
    Ok(dir.write_issued(holder, &authority.issue(subject, NODE_LIFE)?)?)
}

/// A folder of this run alone below the data folder, absolute.
pub(crate) fn scratch(data: &Path, prefix: &str) -> anyhow::Result<tempfile::TempDir> {
    let data = data.canonicalize().with_context(|| format!("cannot use {data:?}"))?;
    tempfile::Builder::new()
        .prefix(prefix)
        .tempdir_in(&data)
        .with_context(|| format!("cannot make a folder in {data:?}"))
}

/// The canonical spec of a job that runs `/bin/true` on one CPU slot, padded to `size` bytes if
/// it is shorter.
pub(crate) fn spec(size: usize) -> anyhow::Result<Vec<u8>> {
    let with_pad = |pad: usize| -> anyhow::Result<Vec<u8>> {
        let spec: JobSpec = serde_json::from_value(json!({
            "name": "true",
            "resources": { "gpus": 1, "device": "cpu" },
            "run": { "command": ["/bin/true"], "env": { "PAD": "x".repeat(pad) } },
        }))?;
        Ok(spec.canonical_json().into_bytes())
    };
    let bare = with_pad(0)?;
    with_pad(size.saturating_sub(bare.len()))
}

/// A fresh idempotency key.
pub(crate) fn key() -> String {
    uuid::Uuid::now_v7().to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_spec_has_the_size_asked_for() {
        assert_eq!(super::spec(1024).unwrap().len(), 1024);
        assert!(super::spec(0).unwrap().len() < 400);
    }
}
