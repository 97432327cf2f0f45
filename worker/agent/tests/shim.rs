//! The shim with real processes: exits, output, stopping, the time allowance, and what becomes
//! of the ranks when the shim itself is killed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use trainyard_jobs::{AttemptNo, AttemptRef, Bytes, Generation, JobId, Millis, RankExit};
use trainyard_store::log::{Record, parse};
use trainyard_worker::shim::{ExitRecord, Plan, RankPlan, ShimDir, StartedRecord};

const DEADLINE: Duration = Duration::from_secs(30);

/// A shim in a directory of its own; killed with its ranks when the test is over.
struct Shim {
    child: Child,
    dir: ShimDir,
    _temp: TempDir,
}

impl Drop for Shim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A shim that was killed leaves its cgroup to the agent.
        let started = fs::read(self.dir.started()).unwrap_or_default();
        let started = serde_json::from_slice::<StartedRecord>(&started).ok();
        if let Some(group) = started.and_then(|started| started.cgroup) {
            let _ = fs::write(group.join("cgroup.kill"), "1");
            wait_for("the cgroup's removal", || {
                (!group.exists() || fs::remove_dir(&group).is_ok()).then_some(())
            });
        }
    }
}

fn plan(scripts: &[&str]) -> Plan {
    let rank = |(i, script): (usize, &&str)| RankPlan {
        rank: u32::try_from(i).unwrap(),
        argv: ["sh", "-c", script].map(str::to_owned).into(),
        env: BTreeMap::from([("PATH".into(), std::env::var("PATH").unwrap())]),
        cpus: BTreeSet::new(),
    };
    Plan {
        format: 1,
        attempt: AttemptRef {
            job: JobId::from_random(u64::from(std::process::id())),
            attempt: AttemptNo(1),
            generation: Generation(1),
        },
        ranks: scripts.iter().enumerate().map(rank).collect(),
        workdir: PathBuf::from("/"),
        grace: Millis(10_000),
        time_allowance: None,
        log_limit: Bytes(1 << 30),
        cgroup: true,
    }
}

impl Shim {
    fn start(mut plan: Plan) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = ShimDir::new(temp.path());
        for rank in &mut plan.ranks {
            rank.env.insert("DIR".into(), temp.path().display().to_string());
        }
        fs::write(dir.plan(), serde_json::to_vec(&plan).unwrap()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_trainyard-shim"))
            .arg(temp.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, dir, _temp: temp }
    }

    fn started(&self) -> StartedRecord {
        wait_for("started.json", || {
            Some(serde_json::from_slice(&fs::read(self.dir.started()).ok()?).unwrap())
        })
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    fn wait_for_file(&self, name: &str) -> String {
        wait_for(name, || fs::read_to_string(self.dir.path().join(name)).ok())
    }

    fn end(&mut self) -> ExitRecord {
        let status = wait_for("the shim's end", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}");
        serde_json::from_slice(&fs::read(self.dir.exit()).unwrap()).unwrap()
    }

    fn log(&self) -> Vec<Record> {
        parse(&fs::read(self.dir.log()).unwrap()).collect::<Result<_, _>>().unwrap()
    }
}

fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(5));
    }
}

fn exits(record: &ExitRecord) -> BTreeMap<u32, RankExit> {
    record.ranks.iter().map(|end| (end.rank, end.exit)).collect()
}

fn is_gone(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

#[test]
fn every_line_and_the_exit_code_are_kept() {
    let script = "i=0; while [ $i -lt 10000 ]; do echo out $i; i=$((i+1)); done; \
                  echo oops >&2; printf 'no end'; exit 3";
    let mut shim = Shim::start(plan(&[script]));
    let record = shim.end();
    assert_eq!(exits(&record), BTreeMap::from([(0, RankExit::Code { code: 3 })]));
    assert_eq!(record.first_failure.unwrap().rank, 0);
    let log = shim.log();
    let out: Vec<&str> = log.iter().filter(|r| !r.e).map(|r| r.l.as_str()).collect();
    let expected: Vec<String> = (0..10_000).map(|i| format!("out {i}")).collect();
    assert_eq!(out[..10_000], expected);
    assert_eq!(out[10_000..], ["no end"]);
    assert_eq!(log.iter().filter(|r| r.e).map(|r| r.l.as_str()).collect::<Vec<_>>(), ["oops"]);
}

#[test]
fn a_failing_rank_ends_the_others() {
    let mut shim = Shim::start(plan(&["exec sleep 600", "exit 3", "exec sleep 600"]));
    let record = shim.end();
    assert_eq!(record.first_failure.unwrap().rank, 1);
    assert_eq!(
        exits(&record),
        BTreeMap::from([
            (0, RankExit::Signal { signal: 15 }),
            (1, RankExit::Code { code: 3 }),
            (2, RankExit::Signal { signal: 15 }),
        ])
    );
}

#[test]
fn a_stop_is_asked_for_and_then_forced() {
    let polite = "trap 'exit 5' TERM; touch $DIR/polite; while :; do sleep 0.05; done";
    let deaf = "trap '' TERM; touch $DIR/deaf; while :; do sleep 0.05; done";
    let mut shim = Shim::start(Plan { grace: Millis(400), ..plan(&[polite, deaf]) });
    shim.wait_for_file("polite");
    shim.wait_for_file("deaf");
    let begin = Instant::now();
    shim.signal(Signal::SIGTERM);
    let record = shim.end();
    assert!(begin.elapsed() >= Duration::from_millis(400));
    assert_eq!(
        exits(&record),
        BTreeMap::from([(0, RankExit::Code { code: 5 }), (1, RankExit::Signal { signal: 9 })])
    );
    assert_eq!(record.first_failure, None, "a stop is no failure");
}

#[test]
fn the_time_allowance_is_enforced_by_the_shim_alone() {
    let script = "trap 'exit 0' TERM; while :; do sleep 0.05; done";
    let mut shim = Shim::start(Plan { time_allowance: Some(Millis(800)), ..plan(&[script]) });
    let request = shim.wait_for_file("control/request.json");
    let request: serde_json::Value = serde_json::from_str(&request).unwrap();
    assert_eq!(request["then"], "stop");
    assert!(request["checkpoint_before_unix_s"].as_u64().unwrap() > 1_700_000_000);
    let record = shim.end();
    assert!(record.time_limit);
    assert_eq!(exits(&record), BTreeMap::from([(0, RankExit::Code { code: 0 })]));
}

#[test]
fn a_killed_shim_takes_its_ranks_along() {
    let mut shim = Shim::start(plan(&["exec sleep 600", "exec sleep 600"]));
    let started = shim.started();
    assert_eq!(started.ranks.len(), 2);
    assert!(shim.dir.is_alive().unwrap());
    shim.signal(Signal::SIGKILL);
    shim.child.wait().unwrap();
    assert!(!shim.dir.is_alive().unwrap());
    for process in started.ranks.values() {
        wait_for("the rank's death", || is_gone(process.pid).then_some(()));
    }
    assert!(!shim.dir.exit().exists());
}

#[test]
fn what_a_rank_leaves_behind_neither_hangs_the_shim_nor_outlives_it() {
    let script = "setsid sleep 600 & echo $! > $DIR/orphan; (sleep 600) & echo done";
    let mut shim = Shim::start(plan(&[script]));
    let begin = Instant::now();
    let record = shim.end();
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert_eq!(exits(&record), BTreeMap::from([(0, RankExit::Code { code: 0 })]));
    let orphan: i32 = shim.wait_for_file("orphan").trim().parse().unwrap();
    wait_for("the orphan's death", || is_gone(orphan).then_some(()));
    assert_eq!(shim.log().last().unwrap().l, "done");
}

#[test]
fn a_command_that_is_not_there_is_a_start_error() {
    let mut plan = plan(&["true"]);
    plan.ranks[0].argv = vec!["no-such-program".into()];
    plan.ranks[0].env.insert("PATH".into(), "/usr/bin:/bin".into());
    let mut shim = Shim::start(plan);
    let record = shim.end();
    assert!(record.ranks.is_empty());
    insta::assert_snapshot!(record.start_error.unwrap());
}

/// The end of a machine tells every process, in any order.
#[test]
fn a_rank_that_is_terminated_along_with_its_shim_has_not_failed_of_itself() {
    let mut shim = Shim::start(plan(&["exec sleep 600"]));
    let rank = Pid::from_raw(shim.started().ranks[&0].pid);
    kill(rank, Signal::SIGTERM).unwrap();
    wait_for("the rank's end", || is_gone(rank.as_raw()).then_some(()));
    shim.signal(Signal::SIGTERM);
    let record = shim.end();
    assert!(record.stopped && record.first_failure.is_none(), "{record:?}");

    let mut alone = Shim::start(plan(&["exec sleep 600"]));
    kill(Pid::from_raw(alone.started().ranks[&0].pid), Signal::SIGTERM).unwrap();
    let record = alone.end();
    assert!(!record.stopped && record.first_failure.is_some(), "{record:?}");
}

#[test]
fn what_was_started_once_is_never_started_again() {
    let mut shim = Shim::start(plan(&["echo once"]));
    let record = shim.end();
    let again = Command::new(env!("CARGO_BIN_EXE_trainyard-shim"))
        .arg(shim.dir.path())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(again.code(), Some(1));
    assert_eq!(shim.log().len(), 1);
    assert_eq!(shim.end(), record);
}

#[test]
fn ranks_run_at_a_lower_priority_in_groups_of_their_own() {
    let script = "ps -o ni=,pgid=,sid= -p $$; echo $$; while [ ! -e $DIR/go ]; do sleep 0.01; done";
    for cgroup in [true, false] {
        let mut shim = Shim::start(Plan { cgroup, ..plan(&[script]) });
        let known = shim.started().ranks[&0].pid.to_string();
        fs::write(shim.dir.path().join("go"), "").unwrap();
        shim.end();
        let lines: Vec<String> = shim.log().into_iter().map(|record| record.l).collect();
        let [figures, pid] = &lines[..] else { panic!("{lines:?}") };
        let figures: Vec<&str> = figures.split_whitespace().collect();
        assert_eq!(figures[1..], [pid, pid]);
        assert_eq!(*pid, known);
        assert!(figures[0].parse::<i32>().unwrap() >= 5, "{figures:?}");
    }
}

#[test]
fn a_cgroup_of_its_own_is_gone_with_the_attempt() {
    let mut shim = Shim::start(plan(&["cat /proc/self/cgroup"]));
    let group = shim.started().cgroup;
    let record = shim.end();
    assert_eq!(exits(&record), BTreeMap::from([(0, RankExit::Code { code: 0 })]));
    // Not every machine lets us make one; the ranks run all the same.
    if let Some(group) = group {
        let name = group.file_name().unwrap().to_str().unwrap();
        assert!(shim.log().iter().any(|r| r.l.contains(name)), "{:?}", shim.log());
        wait_for("the cgroup's removal", || (!group.exists()).then_some(()));
    }
}

/// Two nodes of one attempt may live on one machine.
#[test]
fn the_end_of_one_share_of_an_attempt_is_not_the_end_of_another() {
    let wait = "echo ready > $DIR/ready; while [ ! -e $DIR/go ]; do sleep 0.01; done";
    let mut stays = Shim::start(plan(&[wait]));
    stays.wait_for_file("ready");
    let mut ends = Shim::start(plan(&["true"]));
    ends.end();
    fs::write(stays.dir.path().join("go"), "").unwrap();
    assert_eq!(exits(&stays.end()), BTreeMap::from([(0, RankExit::Code { code: 0 })]));
}
