//! The driver's one configuration struct, its defaults, and what makes one unusable.
//!
//! Never read from a file here: the daemon that embeds the driver owns its configuration file.

use std::{collections::BTreeMap, fmt, ops::Range, path::PathBuf, time::Duration};

use crate::error::ConfigError;

/// Names one cluster for good, so that members of two clusters can never mix. Prints like a UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ClusterId(pub [u8; 16]);

impl From<[u8; 16]> for ClusterId {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in self.0.iter().enumerate() {
            if matches!(position, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How one member runs. [`Config::new`] fills in the defaults; [`Config::validate`] is called by
/// [`start`](crate::start).
#[derive(Debug, Clone)]
pub struct Config {
    /// This member's id; never 0, and never used again after its data directory was wiped.
    pub id: u64,
    /// Id to address of the first members, this one included. Only ids matter here, and only when
    /// an empty directory is bootstrapped: every first member must be given the same list.
    pub peers: BTreeMap<u64, String>,
    /// True for a member that joins a running cluster: an empty directory then waits for a leader's
    /// snapshot instead of bootstrapping from `peers`.
    pub join: bool,
    /// The data directory; made when it is missing.
    pub dir: PathBuf,
    /// The cluster that the directory must belong to.
    pub cluster: [u8; 16],
    /// The length of one tick, in which the other times are counted.
    pub tick: Duration,
    /// Ticks without a leader's word before an election; the actual wait is random between this and
    /// its double.
    pub election_ticks: u32,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: u32,
    /// The window that the random election wait is drawn from, in ticks, when the default one does
    /// not suit. A window of one tick makes a simulation deterministic.
    pub election_window: Option<Range<u32>>,
    /// A snapshot is taken after this many applied entries.
    pub snapshot_every: u64,
    /// A snapshot is also taken when the log holds more bytes than this.
    pub snapshot_log_bytes: u64,
    /// The entries' file is used again in pieces of this many bytes, in a directory made now; each
    /// holds whole commands.
    pub log_region_bytes: u64,
    /// Applied entries kept in the log behind a snapshot, so that a member that was away briefly
    /// needs no snapshot.
    pub keep_entries: u64,
    /// The largest command that may be proposed, in bytes.
    pub max_command_bytes: usize,
    /// Bytes of entries in one message to a peer.
    pub max_message_bytes: u64,
    /// Bytes of proposed but not yet committed entries; past this, proposals are answered *busy*.
    pub max_uncommitted_bytes: u64,
    /// Messages to one peer that may be under way.
    pub max_inflight_messages: usize,
    /// Bytes of recent entries held in memory, to replicate from without reading the log file.
    pub entry_cache_bytes: u64,
    /// Inputs that may wait for the raft thread; past this, proposals are *busy* and peers'
    /// messages are dropped.
    pub queue: usize,
    /// Ticks after which a linearizable read gives up.
    pub read_timeout_ticks: u32,
    /// Ticks after which an unreported snapshot transfer counts as failed.
    pub snapshot_send_ticks: u32,
}

/// More than a log record adds to a command.
const ENTRY_OVERHEAD: u64 = 4096;

impl Default for Config {
    fn default() -> Self {
        Self {
            id: 0,
            peers: BTreeMap::new(),
            join: false,
            dir: PathBuf::new(),
            cluster: [0; 16],
            tick: Duration::from_millis(50),
            election_ticks: 10,
            heartbeat_ticks: 2,
            election_window: None,
            snapshot_every: 10_000,
            snapshot_log_bytes: 256 << 20,
            log_region_bytes: 16 << 20,
            keep_entries: 2_000,
            max_command_bytes: 4 << 20,
            max_message_bytes: 512 << 10,
            max_uncommitted_bytes: 64 << 20,
            max_inflight_messages: 128,
            entry_cache_bytes: 32 << 20,
            queue: 8_192,
            read_timeout_ticks: 60,
            snapshot_send_ticks: 1_200,
        }
    }
}

impl Config {
    /// The defaults for member `id` of `cluster`, with its data in `dir`.
    #[must_use]
    pub fn new(
        id: u64,
        cluster: [u8; 16],
        dir: impl Into<PathBuf>,
        peers: BTreeMap<u64, String>,
    ) -> Self {
        Self { id, cluster, dir: dir.into(), peers, ..Self::default() }
    }

    /// Checks what the driver relies on.
    ///
    /// # Errors
    /// Names the first field that cannot work, and what would.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |field, problem: &str| Err(ConfigError { field, problem: problem.to_owned() });
        if self.id == 0 {
            return refuse("id", "is 0; give each member a positive id of its own");
        }
        if self.peers.contains_key(&0) {
            return refuse("peers", "lists member 0; ids start at 1");
        }
        if !self.join && !self.peers.contains_key(&self.id) {
            return refuse("peers", "lacks this member; list every first member, or set join");
        }
        if self.dir.as_os_str().is_empty() {
            return refuse("dir", "is empty; name the data directory");
        }
        if self.tick.is_zero() {
            return refuse("tick", "is 0; 50 ms suits a local network");
        }
        if self.heartbeat_ticks == 0 || self.election_ticks <= self.heartbeat_ticks {
            return refuse(
                "election_ticks",
                "must be above heartbeat_ticks, which must be above 0; 10 and 2 are usual",
            );
        }
        if self
            .election_window
            .as_ref()
            .is_some_and(|w| w.is_empty() || w.start < self.election_ticks)
        {
            return refuse(
                "election_window",
                "must hold a tick and start no lower than election_ticks",
            );
        }
        if self.snapshot_every == 0 || self.snapshot_log_bytes == 0 {
            return refuse("snapshot_every", "and snapshot_log_bytes must be above 0");
        }
        if self.max_command_bytes == 0 || self.max_inflight_messages == 0 || self.queue == 0 {
            return refuse(
                "max_command_bytes",
                ", max_inflight_messages and queue must be above 0",
            );
        }
        let command = u64::try_from(self.max_command_bytes).unwrap_or(u64::MAX);
        if self.max_uncommitted_bytes < self.max_message_bytes
            || self.max_uncommitted_bytes < command
        {
            return refuse(
                "max_uncommitted_bytes",
                "must reach max_message_bytes and max_command_bytes",
            );
        }
        if self.log_region_bytes < command.saturating_add(ENTRY_OVERHEAD)
            || !self.log_region_bytes.is_multiple_of(4096)
        {
            return refuse(
                "log_region_bytes",
                "must be a multiple of 4096 and hold a command of max_command_bytes",
            );
        }
        if self.read_timeout_ticks == 0 || self.snapshot_send_ticks == 0 {
            return refuse("read_timeout_ticks", "and snapshot_send_ticks must be above 0");
        }
        Ok(())
    }

    /// Ticks after which an unanswered read round is asked again.
    pub(crate) fn read_retry_ticks(&self) -> u32 {
        self.heartbeat_ticks.saturating_mul(2)
    }

    /// What `raft` is told, for a state machine that has applied up to `applied`.
    pub(crate) fn raft(&self, applied: u64) -> raft::Config {
        let ticks = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let window = self
            .election_window
            .clone()
            .unwrap_or(self.election_ticks..self.election_ticks.saturating_mul(2));
        raft::Config {
            id: self.id,
            applied,
            election_tick: ticks(self.election_ticks),
            heartbeat_tick: ticks(self.heartbeat_ticks),
            min_election_tick: ticks(window.start),
            max_election_tick: ticks(window.end),
            // A member that was cut off must not depose a healthy leader when it returns, and a
            // leader that lost its quorum must stop answering: both are off by default.
            pre_vote: true,
            check_quorum: true,
            // The lease-based option trusts clocks that nothing checks.
            read_only_option: raft::ReadOnlyOption::Safe,
            max_size_per_msg: self.max_message_bytes,
            max_uncommitted_size: self.max_uncommitted_bytes,
            max_committed_size_per_ready: 16 << 20,
            max_inflight_msgs: self.max_inflight_messages,
            batch_append: true,
            // Followers learn of a commit with the next entries or heartbeat: nobody waits for them
            // to apply, and a message each for every batch is as dear as the batch.
            skip_bcast_commit: true,
            ..raft::Config::default()
        }
    }
}
