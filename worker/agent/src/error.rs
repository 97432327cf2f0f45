//! What can end the agent. Each text says what failed, on what, and what to try. What an
//! attempt runs into is not here: that is reported and the agent goes on.

use std::{io, net::SocketAddr, path::PathBuf};

use trainyard_jobs::{ClusterId, NodeId};
use trainyard_pki::PkiError;
use trainyard_store::StoreError;

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or environment variable cannot be read as configuration.
    #[error("cannot read the worker's configuration: {0}")]
    Load(#[from] Box<figment::Error>),
    /// The file named does not exist.
    #[error("there is no configuration file `{}`", path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
    },
    /// No scheduler is named.
    #[error("no scheduler is named: set `endpoints` to one or more `host:port`")]
    NoEndpoint,
    /// A scheduler's address is not one.
    #[error(
        "`{endpoint}` is not a scheduler's address: expected `host:port`, as in 127.0.0.1:7401"
    )]
    Endpoint {
        /// The text as given.
        endpoint: String,
    },
    /// The range of ports is empty or reserved.
    #[error(
        "the port range {first}-{last} cannot be used: give a first and a last port from 1024 up"
    )]
    Ports {
        /// The first port.
        first: u16,
        /// The last port.
        last: u16,
    },
    /// The metrics would be open to everybody.
    #[error(
        "metrics_listen = {address} is not a loopback address: leave `metrics_plaintext` out, and let Prometheus show a certificate"
    )]
    OpenMetrics {
        /// The address as given.
        address: SocketAddr,
    },
    /// More CPU slots than a node can have.
    #[error("{slots} CPU slots are too many: give at most {max}")]
    Slots {
        /// The number as given.
        slots: u32,
        /// The most.
        max: u32,
    },
    /// One share is a whole GPU, and very many are of no use.
    #[error("GPUs cannot be split into {shares} shares: give 2 to {max}, or leave it out")]
    Shares {
        /// The number as given.
        shares: u16,
        /// The most.
        max: u16,
    },
    /// The data directory must not depend on where the agent was started.
    #[error("data_dir = `{}` is not absolute: give the whole path", path.display())]
    RelativeDataDir {
        /// The path as given.
        path: PathBuf,
    },
}

/// The agent cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory cannot be used.
    #[error("cannot use the data directory `{}`: {source}", path.display())]
    DataDir {
        /// The directory, or the file in it.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another agent has the data directory.
    #[error(
        "another worker runs on `{}`: stop it first, or give this one a data directory of its own",
        path.display()
    )]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// The data directory was written by a later version.
    #[error(
        "`{}` has format {found}, this version reads up to {known}: run the newer version, or use another data directory",
        path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that is read.
        known: u32,
    },
    /// The data directory belongs to another cluster than the scheduler's.
    #[error(
        "the data directory `{}` belongs to cluster {own}, the scheduler leads cluster {theirs}: check `endpoints`, or use another data directory",
        path.display()
    )]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// The cluster that the worker has joined.
        own: ClusterId,
        /// The scheduler's cluster.
        theirs: ClusterId,
    },
    /// Certificates or keys cannot be used.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The certificate is not of a worker.
    #[error("the certificate in `{}` is of {found}, not of a worker: check `pki_dir`", path.display())]
    NotWorker {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: String,
    },
    /// The certificate and the data directory are of different nodes.
    #[error(
        "the certificate in `{}` is of node {certificate}, the data directory of node {own}: check `pki_dir` and `data_dir`",
        path.display()
    )]
    OtherNode {
        /// The directory of the certificate.
        path: PathBuf,
        /// The node that it names.
        certificate: NodeId,
        /// The node that the data directory is of.
        own: NodeId,
    },
    /// A scheduler's certificate, or ours to it, is of somebody else's cluster.
    #[error("there is no trust between this worker and {endpoint}: {message}")]
    Untrusted {
        /// The scheduler's address.
        endpoint: String,
        /// What is wrong, and what to try.
        message: String,
    },
    /// The scheduler refuses this worker for good.
    #[error("the scheduler at {endpoint} refuses this worker: {message}")]
    Refused {
        /// The scheduler's address.
        endpoint: String,
        /// Its words.
        message: String,
    },
    /// Another worker has this name.
    #[error(
        "the scheduler at {endpoint} refuses this worker: {message}; give it a `name` of its own"
    )]
    DuplicateName {
        /// The scheduler's address.
        endpoint: String,
        /// Its words.
        message: String,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address for metrics cannot be listened on.
    #[error("cannot serve metrics on {address}: {source}; is the port taken?")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// A thread or task of the agent cannot be started or died.
    #[error("the agent's {part} stopped: {message}")]
    Internal {
        /// Which part.
        part: &'static str,
        /// Why.
        message: String,
    },
}

impl WorkerError {
    /// A part of the agent that must not stop did.
    pub(crate) fn stopped(part: &'static str, error: impl std::fmt::Display) -> Self {
        Self::Internal { part, message: error.to_string() }
    }

    /// An error of a file in the data directory.
    pub(crate) fn data(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::DataDir { path, source }
    }
}
