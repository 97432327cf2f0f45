//! The shim's life: take the lock, start the ranks, carry out what the supervisor decides, and
//! leave a record of the end. Every exit leaves a record, also that of ranks that never ran.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::sys::signal::{SigSet, Signal};
use serde_json::json;

use super::{
    capture::Capture,
    cgroup::{self, Entrance},
    paths::ShimDir,
    plan::{ExitRecord, FORMAT, Plan, StartedRecord},
    process,
    supervisor::{Action, Supervisor},
    tree,
};
use crate::durable;

/// How long leftovers may take to die, and their pipes to drain.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long after a rank that was terminated the shim may be told to stop, by whoever tells
/// both.
const TOGETHER: Duration = Duration::from_secs(1);

/// What wakes the shim.
enum Event {
    Stop,
    ChildEnded,
}

/// Runs the shim for the attempt in `dir` to its end, and gives the process's exit code: 0 once
/// `exit.json` is written, whatever the ranks' own ends were.
#[must_use]
pub fn shim_main(dir: &Path) -> i32 {
    let dir = ShimDir::new(dir);
    let say = |text: String| drop(writeln!(io::stderr(), "{text}"));
    let lock = match own_lock(&dir) {
        Ok(lock) => lock,
        Err(error) => {
            say(format!("cannot own {}: {error}", dir.path().display()));
            return 1;
        }
    };
    if dir.exit().exists() || dir.started().exists() {
        say("the attempt was started before, and is never started again".into());
        return 1;
    }
    let record = run(&dir).unwrap_or_else(|error| {
        tree::kill_descendants(PATIENCE);
        say(error.to_string());
        ExitRecord::not_started(error.to_string())
    });
    let written = durable::write_json(&dir.exit(), &record);
    drop(lock);
    match written {
        Ok(()) => 0,
        Err(error) => {
            say(format!("cannot write {}: {error}", dir.exit().display()));
            1
        }
    }
}

/// The agent hands the lock over as standard input, taken before the shim began, so that there
/// is no moment at which a shim that is about to start looks dead. Without that we take it.
fn own_lock(dir: &ShimDir) -> io::Result<File> {
    use std::os::fd::AsFd as _;
    let given = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let same =
        |a: std::fs::Metadata, b: std::fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    if let (Ok(given_data), Ok(lock)) = (given.metadata(), std::fs::metadata(dir.lock()))
        && same(given_data, lock)
    {
        return Ok(given);
    }
    dir.try_lock()?.ok_or_else(|| io::Error::other("another shim runs there"))
}

fn run(dir: &ShimDir) -> io::Result<ExitRecord> {
    // Fails where the shim already leads a session, which is as well.
    let _ = nix::unistd::setsid();
    let _ = nix::sys::prctl::set_name(c"yard-shim");
    nix::sys::prctl::set_child_subreaper(true)?;
    let plan: Plan = durable::read_json(&dir.plan())?
        .ok_or_else(|| io::Error::other(format!("there is no {}", dir.plan().display())))?;
    if plan.format > FORMAT {
        let message = format!("start.json has format {}, this shim reads {FORMAT}", plan.format);
        return Err(io::Error::other(message));
    }
    let events = listen()?;
    let mut capture = Capture::start(&dir.log(), plan.log_limit.0)?;
    let cgroup = plan.cgroup.then(|| cgroup::create(&plan.attempt));
    let cgroup = cgroup.and_then(|made| {
        made.inspect_err(|error| drop(writeln!(io::stderr(), "no cgroup: {error}"))).ok()
    });
    let started = start_ranks(&plan, &mut capture, cgroup.as_deref());
    let record = match started {
        Ok(ranks) => {
            write_started(dir, &ranks, cgroup.as_deref())?;
            supervise(dir, &plan, &ranks, &events)
        }
        Err(message) => ExitRecord::not_started(message),
    };
    if let Some(cgroup) = &cgroup {
        cgroup::kill_all(cgroup);
    }
    tree::kill_descendants(PATIENCE);
    if let Err(error) = capture.finish(PATIENCE) {
        let _ = writeln!(io::stderr(), "the log may be incomplete: {error}");
    }
    if let Some(cgroup) = &cgroup {
        cgroup::kill_all(cgroup);
    }
    Ok(record)
}

/// Turns signals into events. They are blocked in every thread, so that none is lost between
/// two waits; the ranks start with none blocked.
fn listen() -> io::Result<Receiver<Event>> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let (sender, events): (SyncSender<Event>, _) = sync_channel(64);
    thread::Builder::new().name("signals".into()).spawn(move || {
        while let Ok(signal) = signals.wait() {
            let event = match signal {
                Signal::SIGCHLD => Event::ChildEnded,
                Signal::SIGHUP => continue,
                _ => Event::Stop,
            };
            if sender.send(event).is_err() {
                return;
            }
        }
    })?;
    Ok(events)
}

type Ranks = BTreeMap<u32, process::Rank>;

fn start_ranks(plan: &Plan, capture: &mut Capture, cgroup: Option<&Path>) -> Result<Ranks, String> {
    let entrance = cgroup.and_then(|group| Entrance::of(group).ok());
    let mut ranks = Ranks::new();
    for rank in &plan.ranks {
        let program = rank.argv.first().map_or("", String::as_str);
        let failed = |error: io::Error| cannot_start(program, &error, rank.env.get("PATH"));
        let mut started = process::spawn(plan, rank, entrance.as_ref()).map_err(failed)?;
        if let Some(pipe) = started.stdout.take() {
            capture.read(rank.rank, false, pipe).map_err(failed)?;
        }
        if let Some(pipe) = started.stderr.take() {
            capture.read(rank.rank, true, pipe).map_err(failed)?;
        }
        ranks.insert(rank.rank, started);
    }
    Ok(ranks)
}

fn cannot_start(program: &str, error: &io::Error, path: Option<&String>) -> String {
    let hint = match (error.kind(), path) {
        (io::ErrorKind::NotFound, Some(path)) if !program.contains('/') => {
            format!("; it is not on this node's PATH ({path})")
        }
        (io::ErrorKind::NotFound, _) => "; is it in the work directory that was sent?".into(),
        (io::ErrorKind::PermissionDenied, _) => "; is it executable?".into(),
        _ => String::new(),
    };
    format!("cannot start `{program}`: {error}{hint}")
}

fn write_started(dir: &ShimDir, ranks: &Ranks, cgroup: Option<&Path>) -> io::Result<()> {
    let own = i32::try_from(std::process::id()).ok().and_then(tree::identify);
    let record = StartedRecord {
        format: FORMAT,
        shim: own.ok_or_else(|| io::Error::other("/proc does not list this process"))?,
        // A rank that has ended already has no identity any more, and needs none.
        ranks: ranks.iter().filter_map(|(n, rank)| Some((*n, tree::identify(rank.pid)?))).collect(),
        cgroup: cgroup.map(Path::to_owned),
    };
    durable::write_json(&dir.started(), &record)
}

fn supervise(dir: &ShimDir, plan: &Plan, ranks: &Ranks, events: &Receiver<Event>) -> ExitRecord {
    let begin = Instant::now();
    let by_pid: BTreeMap<i32, u32> = ranks.iter().map(|(n, rank)| (rank.pid, *n)).collect();
    let mut alive = by_pid.clone();
    let allowance = plan.time_allowance.map(Duration::from);
    let mut supervisor = Supervisor::new(ranks.keys().copied(), plan.grace.into(), allowance);
    loop {
        while let Some((pid, exit)) = process::reap(|pid| by_pid.contains_key(&pid)) {
            if let Some(rank) = alive.remove(&pid) {
                let actions = supervisor.exited(rank, exit, begin.elapsed());
                carry_out(dir, &alive, &actions);
            }
        }
        if supervisor.is_done() {
            let patience = if supervisor.looks_terminated() { TOGETHER } else { Duration::ZERO };
            if is_told_to_stop(events, patience) {
                supervisor.stop(begin.elapsed());
            }
            return supervisor.record();
        }
        let actions = supervisor.tick(begin.elapsed());
        carry_out(dir, &alive, &actions);
        let wait = supervisor.wake().map(|at| at.saturating_sub(begin.elapsed()));
        match events.recv_timeout(wait.unwrap_or(Duration::from_secs(3600))) {
            Ok(Event::Stop) => {
                let actions = supervisor.stop(begin.elapsed());
                carry_out(dir, &alive, &actions);
            }
            Ok(Event::ChildEnded) | Err(RecvTimeoutError::Timeout) => {}
            // Without the thread that takes signals, ends are found by looking.
            Err(RecvTimeoutError::Disconnected) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Whether the shim was told to stop, or is within `patience`.
fn is_told_to_stop(events: &Receiver<Event>, patience: Duration) -> bool {
    let until = Instant::now() + patience;
    loop {
        match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Event::Stop) => return true,
            Ok(Event::ChildEnded) => {}
            Err(_) => return false,
        }
    }
}

fn carry_out(dir: &ShimDir, alive: &BTreeMap<i32, u32>, actions: &[Action]) {
    for action in actions {
        match action {
            Action::Terminate => {
                alive.keys().for_each(|pid| process::signal_group(*pid, Signal::SIGTERM));
            }
            Action::Kill => {
                alive.keys().for_each(|pid| process::signal_group(*pid, Signal::SIGKILL));
            }
            Action::RequestCheckpoint { within } => {
                let before = SystemTime::now() + *within;
                let before = before.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let request = json!({ "checkpoint_before_unix_s": before, "then": "stop" });
                let written = durable::private_dir(&dir.control()).and_then(|()| {
                    durable::write_json(&dir.control().join("request.json"), &request)
                });
                if let Err(error) = written {
                    let _ = writeln!(io::stderr(), "cannot ask for a checkpoint: {error}");
                }
            }
        }
    }
}
