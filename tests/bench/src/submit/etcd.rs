//! A cluster of three members of etcd, as Debian's package brings it, with its defaults.

use std::{path::Path, process::Command, time::Duration};

use anyhow::Context as _;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use trainyard_jobs::{ClusterId, Role};
use trainyard_pki::{
    AUTHORITY_LIFE, Authority, Connector, Credentials, Expected, Holder, PkiDir, Subject,
};

use super::{BODY, load::Writer, unary::Unary};
use crate::{
    cluster::{issue, scratch},
    process::{Daemon, find_program, free_ports, wait_for},
};

/// The wire, generated from `proto/etcd.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::as_conversions,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "generated code"
)]
mod pb {
    tonic::include_proto!("etcdserverpb");
}

use pb::{
    PutRequest, PutResponse, StatusRequest, kv_client::KvClient,
    maintenance_client::MaintenanceClient,
};

const PUT: &str = "/etcdserverpb.KV/Put";
const MEMBERS: usize = 3;
const START: Duration = Duration::from_secs(20);

/// A running cluster. Ends with its data when dropped.
pub(crate) struct Etcd {
    daemons: Vec<Daemon>,
    /// How each member is started, over and over.
    commands: Vec<Command>,
    clients: Vec<String>,
    /// How clients speak TLS to it, if they do.
    connector: Option<Connector>,
    version: String,
    dir: tempfile::TempDir,
}

impl Etcd {
    /// With the settings that it ships, and certificates of the same kind as Trainyard's on both
    /// ends of a client's connection.
    pub(super) async fn start(data: &Path) -> anyhow::Result<Self> {
        let dir = scratch(data, "etcd-")?;
        let pki = dir.path().join("pki");
        let authority = Authority::create(ClusterId(uuid::Uuid::now_v7()), AUTHORITY_LIFE)?;
        issue(&authority, &pki, Holder::Node, Subject::Scheduler(1))?;
        let admin = Subject::Person { role: Role::Admin, name: "bench".into() };
        issue(&authority, &pki, Holder::Person, admin)?;
        let connector = Connector::to(&Credentials::person(&pki)?, Expected::AnyScheduler)?;
        let file = |name: &str| pki.join(name).display().to_string();
        let arguments = [
            // It would call the member under a name that is in no certificate here.
            "--enable-grpc-gateway=false".to_owned(),
            "--client-cert-auth".to_owned(),
            format!("--trusted-ca-file={}", file("ca.crt")),
            format!("--cert-file={}", PkiDir::new(&pki).certificate_file(Holder::Node).display()),
            format!("--key-file={}", file("node.key")),
        ];
        Self::start_in(dir, &arguments, Some(connector)).await
    }

    /// With further arguments for each member, and without TLS.
    pub(crate) async fn start_with(data: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        Self::start_in(scratch(data, "etcd-")?, &arguments, None).await
    }

    async fn start_in(
        dir: tempfile::TempDir,
        arguments: &[String],
        connector: Option<Connector>,
    ) -> anyhow::Result<Self> {
        let program = find_program("etcd", "etcd-server")?;
        let ports = free_ports(2 * MEMBERS)?;
        let (clients, peers) = ports.split_at(MEMBERS);
        let scheme = if connector.is_some() { "https" } else { "http" };
        let urls = |scheme: &str, ports: &[u16]| -> Vec<String> {
            ports.iter().map(|port| format!("{scheme}://127.0.0.1:{port}")).collect()
        };
        let (clients, peers) = (urls(scheme, clients), urls("http", peers));
        let names: Vec<String> = (1..=MEMBERS).map(|number| format!("member-{number}")).collect();
        let members: Vec<String> =
            names.iter().zip(&peers).map(|(name, peer)| format!("{name}={peer}")).collect();
        let (mut daemons, mut commands) = (Vec::new(), Vec::new());
        for ((name, client), peer) in names.iter().zip(&clients).zip(&peers) {
            let mut command = Command::new(&program);
            command
                .args(["--name", name, "--initial-cluster", &members.join(",")])
                .args(["--listen-client-urls", client, "--advertise-client-urls", client])
                .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
                .args(["--log-level", "warn", "--data-dir"])
                .arg(dir.path().join(name))
                .args(arguments);
            daemons.push(Daemon::start(name, &mut command, dir.path())?);
            commands.push(command);
        }
        let version = String::new();
        let mut etcd = Self { daemons, commands, clients, connector, version, dir };
        etcd.version = wait_for("etcd's election", START, async || {
            etcd.check()?;
            Ok(etcd.leader().await.ok().map(|(_, version)| version))
        })
        .await?;
        Ok(etcd)
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// An error if a member has ended.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        self.daemons.iter_mut().try_for_each(Daemon::check)
    }

    /// Seconds of processor time that its members have used.
    pub(super) fn cpu(&self) -> f64 {
        self.daemons.iter().map(Daemon::cpu).sum()
    }

    /// Every member's address for clients.
    pub(crate) fn urls(&self) -> &[String] {
        &self.clients
    }

    /// A member's process, by its place among the addresses.
    pub(crate) fn member(&mut self, number: usize) -> anyhow::Result<&mut Daemon> {
        self.daemons.get_mut(number).context("no such member of etcd")
    }

    /// Starts a member again that has ended.
    pub(crate) fn restart(&mut self, number: usize) -> anyhow::Result<()> {
        let command = self.commands.get_mut(number).context("no such member of etcd")?;
        let daemon = Daemon::start(&format!("member-{}", number + 1), command, self.dir.path())?;
        *self.member(number)? = daemon;
        Ok(())
    }

    /// What a member has applied, if it follows or leads.
    pub(crate) async fn applied(&self, number: usize) -> anyhow::Result<u64> {
        let url = self.clients.get(number).context("no such member of etcd")?;
        let mut client = MaintenanceClient::connect(url.clone()).await?;
        let status = client.status(StatusRequest {}).await?.into_inner();
        anyhow::ensure!(status.leader != 0, "it knows no leader");
        Ok(status.raft_applied_index)
    }

    /// The leader's address and version.
    pub(crate) async fn leader(&self) -> anyhow::Result<(String, String)> {
        for url in &self.clients {
            let Ok(channel) = self.connect(url).await else { continue };
            let mut client = MaintenanceClient::new(channel);
            let Ok(status) = client.status(StatusRequest {}).await else { continue };
            let status = status.into_inner();
            let id = status.header.map(|header| header.member_id);
            if id == Some(status.leader) {
                return Ok((url.clone(), status.version));
            }
        }
        anyhow::bail!("no member of etcd leads")
    }

    async fn connect(&self, url: &str) -> Result<Channel, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(url.to_owned())?;
        match &self.connector {
            Some(connector) => endpoint.connect_with_connector(connector.clone()).await,
            None => endpoint.connect().await,
        }
    }

    pub(super) async fn writers(&self, count: usize) -> anyhow::Result<Vec<Putter>> {
        let (url, _) = self.leader().await?;
        let connector = self.connector.as_ref().context("this etcd speaks in the clear")?;
        let address = url.trim_start_matches("https://");
        let mut writers = Vec::with_capacity(count);
        for _ in 0..count {
            let calls = Unary::connect(connector, address, PUT).await;
            let calls = calls.context("cannot connect to etcd")?;
            writers.push(Putter { calls, value: vec![b'x'; BODY] });
        }
        Ok(writers)
    }
}

/// Puts a key at one member, over a connection that is made when it is needed.
pub(crate) struct Member {
    client: KvClient<Channel>,
}

impl Member {
    pub(crate) fn new(url: &str, connect: Duration) -> anyhow::Result<Self> {
        let channel = Channel::from_shared(url.to_owned())?.connect_timeout(connect).connect_lazy();
        Ok(Self { client: KvClient::new(channel) })
    }

    pub(crate) async fn put(&mut self, key: &str, value: &[u8]) -> Result<(), Status> {
        let request = PutRequest { key: key.into(), value: value.to_vec() };
        self.client.put(request).await.map(drop)
    }
}

/// A client that puts one new key after another.
pub(super) struct Putter {
    calls: Unary,
    value: Vec<u8>,
}

impl Writer for Putter {
    async fn write(&mut self) -> Result<(), Status> {
        let key = crate::cluster::key().into_bytes();
        let request = PutRequest { key, value: self.value.clone() };
        self.calls.call::<PutResponse>(&request).await.map(drop)
    }
}
