//! A scheduler's process: the real driver on a simulated disk, the real state machine, and around
//! them the loops and services of the daemon, each step of which the daemon's own rules decide.

mod desk;
mod life;
mod serve;

use std::{collections::BTreeMap, fs, path::Path};

use tempfile::TempDir;
use trainyard_raft::{Config, sim::SimDisk};

use crate::{
    around::{Around, Due, Ms},
    facts::Fact,
    faults::Repair,
    letters::{Down, Letter, Place},
    note,
};
pub use life::Life;

/// The cluster of every simulation.
pub const CLUSTER: u128 = 0x5e7a_11ed_0000_4000_8000_0000_0000_0001;

/// One unit of raft's time.
pub const TICK: Ms = 50;

/// How long a node may be silent, and how often it speaks.
pub const GRACE: Ms = 5_000;
pub const HEARTBEAT: Ms = 500;

/// A scheduler's machine: what is on its disk outlives the process.
pub struct Scheduler {
    pub id: u64,
    config: Config,
    dir: TempDir,
    pub disk: SimDisk,
    /// How far its wall clock is off.
    pub skew: i64,
    /// How long each of its writes takes.
    pub slow: Ms,
    lives: u64,
    pub life: Option<Box<Life>>,
    /// Percent of its votes after which it dies at once, and comes back.
    pub dies_after_votes: u64,
    /// A bit of a snapshot was flipped, and it has found that out.
    rotten: bool,
    pub damaged: bool,
    /// It will never come back: an operator has replaced it.
    pub retired: bool,
}

/// A directory in memory where there is one: the files are real, the waiting is not.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.expect("a directory")
}

impl Scheduler {
    /// A machine with an empty disk. One that joins waits for a snapshot.
    pub fn new(id: u64, first: &[u64], join: bool, snapshot_every: u64) -> Self {
        let dir = scratch();
        let peers: BTreeMap<u64, String> = first.iter().map(|id| (*id, format!("s{id}"))).collect();
        let mut config =
            Config::new(id, *CLUSTER.to_be_bytes().first_chunk().unwrap(), dir.path(), peers);
        config.join = join;
        config.snapshot_every = snapshot_every;
        config.keep_entries = snapshot_every / 4;
        config.read_timeout_ticks = 40;
        config.snapshot_send_ticks = 40;
        // Small, so that entries are read back from the disk as well.
        config.entry_cache_bytes = 4 << 10;
        config.max_message_bytes = 8 << 10;
        // Small, so that regions of the log are used over and over.
        config.max_command_bytes = 60 << 10;
        config.log_region_bytes = 64 << 10;
        Self {
            id,
            config,
            dir,
            disk: SimDisk::default(),
            skew: 0,
            slow: 0,
            dies_after_votes: 0,
            rotten: false,
            damaged: false,
            lives: 0,
            life: None,
            retired: false,
        }
    }

    const fn place(&self) -> Place {
        Place::Scheduler(self.id)
    }

    /// Starts the process.
    pub fn start(&mut self, around: &mut Around) {
        if self.life.is_some() || self.retired || self.damaged {
            return;
        }
        self.lives += 1;
        let wait = 10 + around.rng.below(10) as u32;
        self.config.election_window = Some(wait..wait + 1);
        match Life::open(self.lives, &self.config, &self.disk, around) {
            Ok(life) => {
                note!(around, "s{} starts at {}", self.id, life.status().applied);
                self.life = Some(Box::new(life));
                self.wake_at(around, around.now + 1);
            }
            Err(why) => self.broke(around, &why),
        }
    }

    /// The process could not go on. That is right only where the disk failed, or what is on it was
    /// found to be damaged: then it votes no more, and an operator puts another in its place.
    fn broke(&mut self, around: &mut Around, why: &str) {
        if self.rotten && why.contains("does not match its checksum") {
            note!(around, "s{} has found the damage", self.id);
            self.damaged = true;
        } else if !self.disk.has_failed() {
            around.tell(Fact::Broken { member: self.id, why });
        }
        self.crash(around);
    }

    /// Kills the process and cuts the power of its disk.
    pub fn crash(&mut self, around: &mut Around) {
        note!(around, "s{} dies", self.id);
        self.disk.cut_power(&mut around.rng);
        self.tear_drafts(around);
        if let Some(life) = self.life.take() {
            // A machine that still runs resets its connections; one without power says nothing.
            if around.rng.chance(70) {
                for (stream, worker, number) in life.connections() {
                    let body = Down::Close(tonic::Status::unavailable("the connection was reset"));
                    around.send(self.place(), worker, Letter::Down { stream, number, body });
                }
            }
        }
    }

    /// A snapshot that was being written is there in part.
    fn tear_drafts(&self, around: &mut Around) {
        let items = fs::read_dir(self.dir.path()).into_iter().flatten().flatten();
        for path in items.map(|item| item.path()) {
            if path.extension().is_some_and(|ending| ending == "tmp")
                && let Ok(bytes) = fs::read(&path)
            {
                let left = around.rng.below(bytes.len() as u64 + 1) as usize;
                let _ = fs::write(&path, &bytes[..left]);
            }
        }
    }

    /// Flips a bit in the newest of two snapshots, while the process is down. The older one and the
    /// log behind it are enough to start from.
    pub fn rot(&mut self, around: &mut Around) {
        let mut found: Vec<(u64, std::path::PathBuf)> = fs::read_dir(self.dir.path())
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|item| {
                let name = item.file_name().into_string().ok()?;
                let index = name.strip_prefix("snapshot-")?.strip_suffix(".bin")?.parse().ok()?;
                Some((index, item.path()))
            })
            .collect();
        found.sort();
        let [.., (older, _), (newest, path)] = found.as_slice() else { return };
        if self.life.is_some() || *older < 2 {
            return;
        }
        let mut bytes = fs::read(path).unwrap_or_default();
        if bytes.is_empty() {
            return;
        }
        let at = around.rng.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << around.rng.below(8);
        let _ = fs::write(path, bytes);
        self.rotten = true;
        note!(around, "s{}'s snapshot {newest} rots at {at}", self.id);
    }

    /// The wall clock of its machine.
    pub fn wall(&self, around: &Around) -> u64 {
        around.unix().saturating_add_signed(self.skew)
    }

    /// A letter has come.
    pub fn take(&mut self, around: &mut Around, from: Place, letter: Letter) {
        if let Some(life) = &mut self.life {
            life.letters.push_back((from, letter));
            self.wake(around);
        }
    }

    /// Does what there is to do.
    pub fn wake(&mut self, around: &mut Around) {
        let wall = self.wall(around);
        let Some(life) = &mut self.life else { return };
        if around.now < life.busy_until {
            return;
        }
        match life.run(around, self.id, wall) {
            Ok(_)
                if std::mem::take(&mut life.voted) && around.rng.chance(self.dies_after_votes) =>
            {
                self.crash(around);
                let at = around.now + 1 + around.rng.below(60);
                around.at(at, Due::Repair(Repair::Scheduler(self.id)));
            }
            Ok(wrote) => {
                life.busy_until = if wrote { around.now + self.slow } else { around.now };
                let at = life.next_due().max(life.busy_until).max(around.now + 1);
                self.wake_at(around, at);
            }
            Err(why) => self.broke(around, &why),
        }
    }

    fn wake_at(&mut self, around: &mut Around, at: Ms) {
        let (id, lives) = (self.id, self.lives);
        let Some(life) = &mut self.life else { return };
        if life.woken_at <= around.now || at < life.woken_at {
            life.woken_at = at;
            around.at(at, Due::Scheduler { id, life: lives });
        }
    }

    /// Whether this wake-up is meant for the process that runs.
    pub const fn is_life(&self, life: u64) -> bool {
        self.life.is_some() && self.lives == life
    }
}
