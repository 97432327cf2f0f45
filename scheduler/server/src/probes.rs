//! What the schedulers ask of each other, once a second: version, feature level, clock, disk. Each
//! member asks all others whoever leads, so that a new leader knows at once how its clock compares.
//!
//! A wrong clock is dangerous on a leader alone, because commands carry its time and the state's
//! time never goes back. So a leader that is off the median proposes nothing and hands over.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tonic::{Code, transport::Channel};
use trainyard_core::command::FEATURE_LEVEL;
use trainyard_pki::Expected;
use trainyard_proto::v1::{self, cluster_client::ClusterClient};

use crate::{decide::room, error::Failure, replica::Replica, transport};

/// How often members ask each other.
const EVERY: Duration = Duration::from_secs(1);

/// How long one may take to answer. Its clock is read half-way.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long an answer counts.
const FRESH: Duration = Duration::from_secs(5);

/// How long a proposal waits for the first comparison of clocks.
const FIRST: Duration = Duration::from_secs(1);

/// What a member said of itself.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    at: Instant,
    pub(crate) version: String,
    pub(crate) level: u16,
    /// Its clock less ours; unknown of a version that does not say.
    pub(crate) clock_offset_ms: Option<i64>,
    pub(crate) disk: (u64, u64),
}

/// How this member's clock compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Near the median, or nobody can tell.
    Right,
    /// This far off.
    Off {
        /// Milliseconds.
        by: u64,
    },
}

/// What is known of the other members, and of this one's clock.
#[derive(Debug, Clone)]
pub(crate) struct Probes {
    facts: Arc<Mutex<BTreeMap<u64, Facts>>>,
    clock: watch::Sender<Option<Clock>>,
    /// Whether too few of the voters' disks have room for new work.
    full: Arc<AtomicBool>,
}

impl Default for Probes {
    fn default() -> Self {
        Self { facts: Arc::default(), clock: watch::Sender::new(None), full: Arc::default() }
    }
}

impl Probes {
    /// What a member said lately.
    pub(crate) fn of(&self, id: u64) -> Option<Facts> {
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.get(&id).filter(|facts| facts.at.elapsed() < FRESH).cloned()
    }

    /// How the clock compares, as far as is known.
    pub(crate) fn clock(&self) -> Option<Clock> {
        *self.clock.borrow()
    }

    /// Fails if this member's clock is off. Before the first comparison it waits for that.
    pub(crate) async fn clock_is_right(&self) -> Result<(), Failure> {
        let mut clock = self.clock.subscribe();
        let known = timeout(FIRST, clock.wait_for(Option::is_some)).await;
        match known {
            Ok(Ok(verdict)) => match *verdict {
                Some(Clock::Off { by }) => Err(Failure::ClockOff { by }),
                _ => Ok(()),
            },
            // Nobody could be asked: nobody can tell.
            _ => Ok(()),
        }
    }

    /// Fails while the disks of a majority are nearly full: what runs goes on and is written, but
    /// nothing new is taken on.
    pub(crate) fn is_room(&self) -> Result<(), Failure> {
        if self.full.load(Ordering::Relaxed) { Err(Failure::DisksFull) } else { Ok(()) }
    }

    fn note(&self, id: u64, facts: Facts) {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).insert(id, facts);
    }
}

/// Free and total bytes of the disk on which `path` lies; zeros where the system does not say.
pub(crate) fn disk(path: &Path) -> (u64, u64) {
    let Ok(stat) = nix::sys::statvfs::statvfs(path) else { return (0, 0) };
    let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
    (bytes(stat.blocks_available()), bytes(stat.blocks()))
}

/// Asks all others again and again, and judges the own clock by what they say.
pub(crate) async fn run(replica: Replica) {
    let mut channels: BTreeMap<u64, (String, Channel)> = BTreeMap::new();
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let members = replica.peers();
        channels.retain(|id, (address, _)| members.get(id) == Some(address));
        for (id, address) in members.into_iter().filter(|(id, _)| *id != replica.config.id) {
            if let (false, Ok(channel)) =
                (channels.contains_key(&id), connect(&replica, id, &address))
            {
                channels.insert(id, (address, channel));
            }
        }
        let asked = channels.iter().map(|(id, (_, channel))| ask(&replica, *id, channel.clone()));
        join_all(asked).await;
        judge(&replica, &channels.keys().copied().collect::<Vec<_>>());
        look_for_room(&replica);
    }
}

fn connect(
    replica: &Replica,
    id: u64,
    address: &str,
) -> Result<Channel, Box<dyn std::error::Error + Send + Sync>> {
    transport::channel(&replica.pki.credentials, Expected::Scheduler(id), address)
}

/// Whether a member answers at this moment.
pub(crate) async fn answers_now(replica: &Replica, id: u64) -> bool {
    let channel = replica.address(id).and_then(|at| connect(replica, id, &at).ok());
    id == replica.config.id
        || match channel {
            Some(channel) => ask(replica, id, channel).await,
            None => false,
        }
}

/// Asks a member about itself, and says whether it answered.
async fn ask(replica: &Replica, id: u64, channel: Channel) -> bool {
    let cluster = replica.config.cluster.to_string();
    let request = v1::ProbeRequest { cluster, from: replica.config.id, to: id };
    let begun = Instant::now();
    let mut client = ClusterClient::new(channel);
    let Ok(answer) = timeout(PATIENCE, client.probe(request)).await else {
        return false;
    };
    let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let at = Instant::now();
    let facts = match answer.map(tonic::Response::into_inner) {
        Ok(answer) if answer.id == id => Facts {
            at,
            version: answer.version,
            level: u16::try_from(answer.feature_level).unwrap_or(u16::MAX),
            clock_offset_ms: offset(answer.unix_ms, replica.now().0, took),
            disk: (answer.disk_free, answer.disk_total),
        },
        // The first version has no such service, and applies the first level alone.
        Err(status) if status.code() == Code::Unimplemented => {
            Facts { at, version: String::new(), level: 1, clock_offset_ms: None, disk: (0, 0) }
        }
        _ => return false,
    };
    replica.probes.note(id, facts);
    true
}

/// How far a clock that was read half-way of `took` is ahead of ours, which says `now` at its end.
fn offset(theirs: u64, now: u64, took: u64) -> Option<i64> {
    let theirs = i64::try_from(theirs).ok()?;
    let ours = i64::try_from(now.saturating_sub(took / 2)).ok()?;
    theirs.checked_sub(ours)
}

fn judge(replica: &Replica, others: &[u64]) {
    let offset = |id: &u64| Some((*id, replica.probes.of(*id)?.clock_offset_ms?));
    let offsets: Vec<(u64, i64)> = others.iter().filter_map(offset).collect();
    let median = median(offsets.iter().map(|(_, offset)| *offset).collect());
    let limit = replica.config.max_clock_skew.0;
    let by = median.unsigned_abs();
    let verdict = if by > limit { Clock::Off { by } } else { Clock::Right };
    let before = replica.probes.clock.send_replace(Some(verdict));
    match verdict {
        Clock::Off { by } => {
            if before != Some(verdict) {
                tracing::error!(
                    by_ms = by,
                    "this scheduler's clock is off the others': it proposes nothing; mend the clock"
                );
            }
            hand_on(replica, &offsets, median);
        }
        Clock::Right => {
            if matches!(before, Some(Clock::Off { .. })) {
                tracing::info!("this scheduler's clock is right again");
            }
        }
    }
}

/// Notes whether the voters' disks have room for new work.
fn look_for_room(replica: &Replica) {
    let voters = replica.status().borrow().voters.clone();
    let of = |id: &u64| match *id == replica.config.id {
        true => disk(&replica.config.data_dir),
        false => replica.probes.of(*id).map_or((0, 0), |facts| facts.disk),
    };
    let disks: Vec<_> = voters.iter().map(of).collect();
    let full = !room::is_left(&disks, replica.config.disk_reserve);
    let before = replica.probes.full.swap(full, Ordering::Relaxed);
    match (before, full) {
        (false, true) => tracing::error!("{}", Failure::DisksFull),
        (true, false) => tracing::info!("there is disk for new work again"),
        _ => {}
    }
}

/// Gives the leadership to a voter whose clock is right.
fn hand_on(replica: &Replica, offsets: &[(u64, i64)], median: i64) {
    let status = replica.status().borrow().clone();
    if status.leader != Some(status.id) {
        return;
    }
    let limit = replica.config.max_clock_skew.0;
    let right = |offset: i64| offset.abs_diff(median) <= limit;
    let able = offsets.iter().filter(|(id, offset)| {
        let active = status.peers.get(id).is_some_and(|peer| peer.active);
        status.voters.contains(id) && active && right(*offset)
    });
    let matched = |id: &u64| status.peers.get(id).map_or(0, |peer| peer.matched);
    if let Some((id, _)) = able.max_by_key(|(id, _)| matched(id)) {
        tracing::warn!(to = id, "handing the leadership to a scheduler whose clock is right");
        replica.raft.transfer_leadership(Some(*id));
    }
}

/// The median of all clocks as an offset from ours. Of two in the middle it is the one nearer to
/// ours: where nobody can tell who is right, a leader goes on.
fn median(mut offsets: Vec<i64>) -> i64 {
    offsets.push(0);
    offsets.sort_unstable();
    let at = |i: usize| offsets.get(i).copied().unwrap_or(0);
    let (upper, odd) = (offsets.len() / 2, offsets.len() % 2 == 1);
    let (a, b) = (at(upper.saturating_sub(1)), at(upper));
    if odd || b.unsigned_abs() <= a.unsigned_abs() { b } else { a }
}

/// What of this member needs an operator.
pub(crate) fn alarms(replica: &Replica) -> Vec<String> {
    let mut alarms = Vec::new();
    if let Some(Clock::Off { by }) = replica.probes.clock() {
        alarms.push(format!("its clock is {by} ms off the others'"));
    }
    if replica.probes.is_room().is_err() {
        alarms.push("new work is refused: most schedulers' disks are nearly full".to_owned());
    }
    let (free, total) = disk(&replica.config.data_dir);
    if total > 0 && free < total / LOW {
        alarms.push(format!("its disk is nearly full: {} MiB are left", free >> 20));
    }
    alarms
}

/// A disk with less than this part of it free is nearly full.
const LOW: u64 = 20;

/// What this member says of itself.
pub(crate) fn answer(replica: &Replica) -> v1::ProbeAnswer {
    let (disk_free, disk_total) = disk(&replica.config.data_dir);
    v1::ProbeAnswer {
        id: replica.config.id,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        feature_level: u32::from(FEATURE_LEVEL),
        unix_ms: replica.now().0,
        disk_free,
        disk_total,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_tells_who_is_off_where_that_can_be_told() {
        assert_eq!(median(vec![]), 0);
        // One of three: the other two agree that we are a minute behind.
        assert_eq!(median(vec![60_000, 60_010]), 60_000);
        // Another one of three is off, not we.
        assert_eq!(median(vec![60_000, 3]), 3);
        // Two clocks: nobody can tell.
        assert_eq!(median(vec![60_000]), 0);
        assert_eq!(median(vec![-60_000]), 0);
        // Of four, two against two.
        assert_eq!(median(vec![0, 60_000, 60_000]), 0);
        assert_eq!(median(vec![60_000, 60_000, 60_000, 0]), 60_000);
    }

    #[test]
    fn a_clock_is_read_half_way_of_the_round_trip() {
        assert_eq!(offset(1_000, 1_100, 200), Some(0));
        assert_eq!(offset(5_000, 1_000, 0), Some(4_000));
        assert_eq!(offset(1_000, 5_000, 0), Some(-4_000));
    }
}
