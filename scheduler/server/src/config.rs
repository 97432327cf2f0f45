//! A scheduler's configuration: file, then environment (`YARD_SCHEDULER_…`), then flags.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    providers::{Env, Format, Toml},
};
use serde::{Deserialize, Serialize};
use trainyard_jobs::{Bytes, ClusterId, Millis};
use trainyard_pki::NODE_LIFE;

use crate::access::LimitsConfig;

/// One scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// This member's id, one of `peers`; never used again once its data directory was wiped.
    pub id: u64,
    /// The cluster, a UUID that all members share. Draw one with `uuidgen`.
    pub cluster: ClusterId,
    /// Where clients, workers and the other members connect.
    pub listen: SocketAddr,
    /// Wait for a leader's snapshot instead of founding a cluster, while the data directory is
    /// empty. `yard cluster add` prints the configuration of such a member.
    pub join: bool,
    /// The first members with their addresses, this one too: `1 = "127.0.0.1:7401"`. Once the
    /// cluster has them on record, its own record counts; a member that joins is told some here.
    #[serde(with = "numbered")]
    pub peers: BTreeMap<u64, String>,
    /// Log and snapshots.
    pub data_dir: PathBuf,
    /// Bundles, checkpoints, logs and artifacts: `file:///…` or `s3://bucket/prefix`.
    pub store: String,
    /// Certificates and keys: `ca.crt`, `ca.key`, `node.crt`, `node.key`. Default: `pki` in
    /// `data_dir`.
    pub pki_dir: Option<PathBuf>,
    /// How long the certificates are valid that this member signs for nodes, its own too. Each is
    /// renewed when two thirds are over.
    pub certificate_life: Millis,
    /// Prometheus metrics, for who shows a certificate of the cluster; none when absent.
    pub metrics_listen: Option<SocketAddr>,
    /// Serves metrics without TLS, to this machine alone.
    pub metrics_plaintext: bool,
    /// How long a node may be silent before it is called lost.
    pub node_grace: Millis,
    /// How often workers report.
    pub heartbeat: Millis,
    /// Applied commands between two snapshots.
    pub snapshot_every: u64,
    /// Applied commands kept in the log behind a snapshot: a member that was away for no more than
    /// these needs no snapshot.
    pub keep_entries: u64,
    /// How long an ended job stays in memory before it moves to the archive, where it is still
    /// found.
    pub archive_after: Millis,
    /// Raft's unit of time. A follower waits 50 to 100 of them for a leader's word, drawn anew
    /// each time, and a leader speaks every 10: fine enough that votes rarely split.
    pub tick: Millis,
    /// How far a leader's clock may be off the median of the members' clocks.
    pub max_clock_skew: Millis,
    /// A member whose data is damaged sets it aside and comes back under a new id by itself.
    pub auto_replace: bool,
    /// Milliseconds by which this scheduler's clock is wrong: for tests.
    #[serde(skip)]
    #[doc(hidden)]
    pub clock_offset_ms: i64,
    /// The longest that records of the audit trail wait for their export.
    pub audit_every: Millis,
    /// What each scheduler's disk keeps free for the reports of what runs, or a fiftieth of a disk
    /// that is small: while most disks have less, new work is refused. 0 keeps nothing.
    pub disk_reserve: Bytes,
    /// What one caller may ask for.
    pub limits: LimitsConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            id: 0,
            cluster: ClusterId(uuid::Uuid::nil()),
            listen: SocketAddr::from(([127, 0, 0, 1], 7401)),
            join: false,
            peers: BTreeMap::new(),
            data_dir: PathBuf::from("/var/lib/trainyard/scheduler"),
            store: String::new(),
            pki_dir: None,
            certificate_life: Millis(NODE_LIFE.as_secs() * 1000),
            metrics_listen: None,
            metrics_plaintext: false,
            node_grace: Millis(30_000),
            heartbeat: Millis(1000),
            snapshot_every: 10_000,
            keep_entries: 2_000,
            archive_after: Millis(3_600_000),
            tick: Millis(10),
            max_clock_skew: Millis(5000),
            auto_replace: false,
            clock_offset_ms: 0,
            audit_every: Millis(600_000),
            disk_reserve: Bytes(256 << 20),
            limits: LimitsConfig::default(),
        }
    }
}

/// Shorter lives would be over before they are renewed.
const SHORTEST_LIFE: Millis = Millis(5000);

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the scheduler's configuration: {0}")]
    Read(#[from] Box<figment::Error>),
    /// A value does not do.
    #[error("scheduler configuration: `{field}` {problem}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong, and what to write.
        problem: String,
    },
}

impl Config {
    /// Reads a file, if one is named, and the environment over it.
    ///
    /// # Errors
    /// When the file cannot be read, or a key or value is not known.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut figment = Figment::new();
        if let Some(file) = file {
            figment = figment.merge(Toml::file_exact(file));
        }
        figment.merge(Env::prefixed("YARD_SCHEDULER_")).extract().map_err(|e| Box::new(e).into())
    }

    /// Where certificates and keys lie.
    #[must_use]
    pub fn pki_dir(&self) -> PathBuf {
        self.pki_dir.clone().unwrap_or_else(|| self.data_dir.join("pki"))
    }

    /// Checks what types cannot say.
    ///
    /// # Errors
    /// Names the first value that does not do.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let invalid =
            |field, problem: &str| Err(ConfigError::Invalid { field, problem: problem.to_owned() });
        if self.cluster.0.is_nil() {
            return invalid("cluster", "is missing: draw a UUID with `uuidgen`, the same for all");
        }
        if self.store.is_empty() {
            return invalid("store", "is missing: name `file:///…` or `s3://bucket/prefix`");
        }
        if self.id == 0 {
            return invalid("id", "is missing: each scheduler has one of its own, from 1");
        }
        if self.join && self.peers.keys().all(|id| *id == self.id) {
            return invalid("peers", "names nobody to join: `yard cluster add` prints whom");
        }
        if !self.join && !self.peers.contains_key(&self.id) {
            return invalid("peers", "does not name this member's own `id`");
        }
        if !self.join && !matches!(self.peers.len(), 1 | 3 | 5) {
            return invalid("peers", "must name 1, 3 or 5 members: others gain nothing");
        }
        let open = |address: &SocketAddr| !address.ip().is_loopback();
        if self.metrics_plaintext && self.metrics_listen.as_ref().is_some_and(open) {
            return invalid(
                "metrics_plaintext",
                "is for loopback addresses: leave it out, and let Prometheus show a certificate",
            );
        }
        if self.certificate_life < SHORTEST_LIFE {
            return invalid("certificate_life", "must be at least 5s: clocks are not that exact");
        }
        if self.max_clock_skew.0 == 0 {
            return invalid("max_clock_skew", "must be above 0: clocks are never quite equal");
        }
        if self.heartbeat.0 == 0 || self.node_grace.0 < 3 * self.heartbeat.0 {
            return invalid("node_grace", "must be at least three times `heartbeat`");
        }
        Ok(())
    }
}

/// TOML's keys are text: reads `[peers] 1 = "…"`.
mod numbered {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        map: &BTreeMap<u64, String>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        map.iter().map(|(id, to)| (id.to_string(), to)).collect::<BTreeMap<_, _>>().serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<BTreeMap<u64, String>, D::Error> {
        let number = |(id, to): (String, String)| {
            let id =
                id.parse().map_err(|_| de::Error::custom(format!("`{id}` is no member id")))?;
            Ok((id, to))
        };
        BTreeMap::<String, String>::deserialize(d)?.into_iter().map(number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> Config {
        Config {
            id: 1,
            cluster: ClusterId(uuid::Uuid::from_u128(7)),
            peers: BTreeMap::from([(1, "127.0.0.1:7401".to_owned())]),
            store: "file:///tmp/x".to_owned(),
            ..Config::default()
        }
    }

    #[test]
    fn survives_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("scheduler.toml");
        let text = "id = 1\ncluster = \"00000000-0000-0000-0000-000000000007\"\n\
                    store = \"file:///tmp/x\"\n[peers]\n1 = \"127.0.0.1:7401\"\n";
        std::fs::write(&file, text).unwrap();
        assert_eq!(Config::load(Some(&file)).unwrap(), valid());
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("scheduler.toml");
        std::fs::write(&file, "idd = 1\n").unwrap();
        let error = Config::load(Some(&file)).unwrap_err().to_string();
        assert!(error.contains("idd"), "{error}");
    }

    #[test]
    fn plaintext_never_leaves_the_machine() {
        let mut config = valid();
        let open = SocketAddr::from(([0, 0, 0, 0], 7401));
        config.listen = open;
        config.metrics_listen = Some(open);
        config.validate().unwrap();
        config.metrics_plaintext = true;
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains("loopback"), "{error}");
    }

    #[test]
    fn two_members_are_refused() {
        let mut config = valid();
        config.peers.insert(2, "127.0.0.1:7402".to_owned());
        assert!(config.validate().unwrap_err().to_string().contains("1, 3 or 5"));
    }
}
