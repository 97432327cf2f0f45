//! The agent's configuration: a TOML file, over it environment variables `YARD_WORKER_…`, over
//! these whatever the command line sets. Defaults stand in one place, below.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    providers::{Env, Format as _, Serialized, Toml},
};
use serde::{Deserialize, Serialize};
use trainyard_jobs::{BitRate, Bytes, MAX_SHARES, NodeName};

use crate::error::ConfigError;

/// The prefix of the environment variables that configure the agent.
pub const ENV_PREFIX: &str = "YARD_WORKER_";

const MAX_SLOTS: u32 = 4096;
const FIRST_FREE_PORT: u16 = 1024;

/// Configuration of one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The node's name, unique in the cluster. Default: the host's.
    pub name: NodeName,
    /// Where the agent keeps its identity and its attempts.
    pub data_dir: PathBuf,
    /// Schedulers, as `host:port`; any of them leads to the leader.
    pub endpoints: Vec<String>,
    /// The object store: `file:///dir` or `s3://bucket/prefix`.
    pub store: String,
    /// Where other nodes' ranks reach this one. Default: the host's name, or 127.0.0.1 if all
    /// schedulers are on loopback.
    pub address: Option<String>,
    /// CPU slots to offer. Default: as many as processors, none if there are GPUs.
    pub slots: Option<u32>,
    /// Splits each GPU that is not in MIG mode into so many equal shares, each with its part of the
    /// memory, for jobs with `gpu_fraction`. Default: GPUs are whole.
    pub gpu_shares: Option<u16>,
    /// Limits processors and memory of ranks on shares through CUDA's multi-process service, where
    /// its daemon runs.
    pub mps: bool,
    /// Binds the ranks of a job with `cpus_per_rank` to processors of their own, near their GPUs.
    pub pin_cpus: bool,
    /// The network interface by which ranks reach each other: `GLOO_SOCKET_IFNAME` and
    /// `NCCL_SOCKET_IFNAME` of theirs. Default: the one that has the node's address; for NCCL, where
    /// there is no HCA, also those nearest to its GPUs that are no slower.
    pub network_interface: Option<String>,
    /// The HCAs by which ranks of several nodes reach each other: `NCCL_IB_HCA` of theirs. An empty
    /// list leaves it to NCCL. Default: those nearest to their GPUs.
    pub hcas: Option<Vec<String>>,
    /// Disk space to offer to attempts. Default: what the file system of `data_dir` has free beside
    /// what they have there.
    pub disk: Option<Bytes>,
    /// Bandwidth to offer to ranks. Default: that of the HCAs nearest to the GPUs, or else of the
    /// interface that has the node's address, as far as Linux tells.
    pub network: Option<BitRate>,
    /// First and last port from which an attempt's `MASTER_PORT` is chosen.
    pub ports: (u16, u16),
    /// Certificates and keys: `ca.crt`, `node.crt`, `node.key`. Default: `pki` in `data_dir`.
    pub pki_dir: Option<PathBuf>,
    /// Where to serve Prometheus metrics, for who shows a certificate of the cluster.
    pub metrics_listen: Option<SocketAddr>,
    /// Serves metrics without TLS, to this machine alone.
    pub metrics_plaintext: bool,
    /// The NVML library, where it is not found by its name.
    pub nvml_library: Option<PathBuf>,
    /// The native trainer, `yard-train`. Default: beside this program, then on `PATH`.
    pub trainer: Option<PathBuf>,
    /// Labels for placement.
    pub labels: BTreeMap<String, String>,
    /// Whether attempts get a cgroup of their own, where the system allows it.
    pub cgroup: bool,
    /// Where Linux tells of its devices.
    #[serde(skip)]
    #[doc(hidden)]
    pub sysfs: PathBuf,
    /// The program that runs `shim DIR`. Default: this one.
    #[serde(skip)]
    #[doc(hidden)]
    pub shim_program: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: node_name(&host_name()),
            data_dir: "/var/lib/trainyard/worker".into(),
            endpoints: vec!["127.0.0.1:7401".into()],
            store: "file:///var/lib/trainyard/store".into(),
            address: None,
            slots: None,
            gpu_shares: None,
            mps: false,
            pin_cpus: true,
            network_interface: None,
            hcas: None,
            disk: None,
            network: None,
            ports: (20_000, 20_999),
            pki_dir: None,
            metrics_listen: None,
            metrics_plaintext: false,
            nvml_library: None,
            trainer: None,
            labels: BTreeMap::new(),
            cgroup: true,
            sysfs: "/sys".into(),
            shim_program: None,
        }
    }
}

impl Config {
    /// Reads the configuration: defaults, under `file` if given, under the environment.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and where it stands.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(path) = file {
            if !path.is_file() {
                return Err(ConfigError::NoFile { path: path.to_owned() });
            }
            figment = figment.merge(Toml::file(path));
        }
        let config: Self = figment.merge(Env::prefixed(ENV_PREFIX)).extract().map_err(Box::new)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks what types cannot say.
    ///
    /// # Errors
    /// [`ConfigError`] says what to write instead.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.endpoints.is_empty() {
            return Err(ConfigError::NoEndpoint);
        }
        if let Some(endpoint) = self.endpoints.iter().find(|e| host_of(e).is_none()) {
            return Err(ConfigError::Endpoint { endpoint: endpoint.clone() });
        }
        let (first, last) = self.ports;
        if first > last || first < FIRST_FREE_PORT {
            return Err(ConfigError::Ports { first, last });
        }
        let open = self.metrics_listen.filter(|a| self.metrics_plaintext && !a.ip().is_loopback());
        if let Some(address) = open {
            return Err(ConfigError::OpenMetrics { address });
        }
        if let Some(slots) = self.slots.filter(|slots| *slots > MAX_SLOTS) {
            return Err(ConfigError::Slots { slots, max: MAX_SLOTS });
        }
        if let Some(shares) = self.gpu_shares.filter(|shares| !(2..=MAX_SHARES).contains(shares)) {
            return Err(ConfigError::Shares { shares, max: MAX_SHARES });
        }
        if !self.data_dir.is_absolute() {
            return Err(ConfigError::RelativeDataDir { path: self.data_dir.clone() });
        }
        Ok(())
    }

    /// Where certificates and keys lie.
    #[must_use]
    pub fn pki_dir(&self) -> PathBuf {
        self.pki_dir.clone().unwrap_or_else(|| self.data_dir.join("pki"))
    }

    /// Where other nodes' ranks reach this one.
    #[must_use]
    pub fn reachable_address(&self) -> String {
        let loopback = |e: &String| host_of(e).is_some_and(is_loopback);
        match &self.address {
            Some(address) => address.clone(),
            None if self.endpoints.iter().all(loopback) => "127.0.0.1".into(),
            None => host_name(),
        }
    }
}

/// The host of `host:port`, if the text is that.
fn host_of(endpoint: &str) -> Option<&str> {
    let (host, port) = endpoint.rsplit_once(':')?;
    let known = !host.is_empty() && !host.contains(['/', ' ', '@']);
    (known && port.parse::<u16>().is_ok_and(|port| port > 0)).then_some(host)
}

/// Whether a host name or address means this machine alone.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".into())
}

/// The nearest valid node name to a host's name.
#[expect(clippy::expect_used, reason = "a constant that a test reads")]
fn node_name(host: &str) -> NodeName {
    let valid = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = host.to_ascii_lowercase().chars().map(valid).collect();
    let name = name.trim_start_matches(['-', '_', '.']);
    let name: String = name.chars().take(trainyard_jobs::name::MAX_NAME).collect();
    name.parse().unwrap_or_else(|_| "worker".parse().expect("`worker` is a name"))
}

#[cfg(test)]
mod tests;
