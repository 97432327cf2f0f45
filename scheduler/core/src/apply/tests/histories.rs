//! Random histories: whatever commands come in whatever order, the invariants of `World` hold
//! after each, a snapshot reads back to the same state, and the planner's increments add up.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use trainyard_jobs::{
    AttemptRef, Backfill, DeviceKind, JobId, JobPhase, JobSpec, Millis, Policy, Purpose, Quota,
    StopCause, Timestamp,
};

use crate::{
    Command, Delta, codec,
    command::Preempt,
    placement::{Condition, Progress, WorkBudget},
    world::{World, gpus, node_id, ranks, shares, slices, spec},
};

use super::{
    tokens::{joins, speaks},
    with_model,
};

#[derive(Debug, Clone)]
enum Act {
    Submit { ranks: u32, model: bool },
    SubmitFast { ranks: u32, h100: u32 },
    Register { node: u64, slots: u32, keeps: bool },
    SubmitPart { ranks: u32, milli: u16 },
    RegisterGpus { node: u64, h100: bool, gpus: u32, split: Split, keeps: bool },
    Lose { node: u64 },
    Plan,
    Started { pick: usize },
    Exit { pick: usize, node: u64, code: i32 },
    Checkpoint { pick: usize, step: u64 },
    Cancel { pick: usize },
    Preempt { pick: usize, notice: Option<u64> },
    Policy { policy: Policy, backfill: Option<Backfill> },
    Queue { name: usize, below: bool, quotas: Vec<Quota>, budget: Option<u32> },
    Progress { pick: usize, done: u64, total: Option<u64>, ago: u64 },
    Unusable { node: u64, units: usize },
    Condition { node: u64, strained: usize, doubted: bool },
    Reserve { n: u64, node: u64, begins: u64, lasts: u64, mine: bool },
    Unreserve { n: u64 },
    Complete { pick: usize },
    Reject { pick: usize },
    Retire { pick: usize },
    CreateToken { n: u64, join: bool, ttl: u64 },
    RevokeToken { n: u64 },
    RedeemToken { n: u64, secret: u64, machine: u8 },
    Archive { first: usize, second: usize },
    Reopen,
    Later { ms: u64 },
    Earlier { ms: u64 },
}

/// What the GPUs of a node are offered as.
#[derive(Debug, Clone, Copy)]
enum Split {
    Whole,
    Shares(u16),
    Slices(&'static [u16]),
}

fn split() -> impl Strategy<Value = Split> {
    prop_oneof![
        2 => Just(Split::Whole),
        2 => (2u16..5).prop_map(Split::Shares),
        1 => proptest::sample::select(vec![&[3, 2, 1][..], &[1; 7], &[7]]).prop_map(Split::Slices),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let node = 1u64..5;
    let pick = 0usize..8;
    let token = 0u64..4;
    prop_oneof![
        3 => (1u32..5, any::<bool>()).prop_map(|(ranks, model)| Act::Submit { ranks, model }),
        2 => (1u32..5, 1u32..40).prop_map(|(ranks, h100)| Act::SubmitFast { ranks, h100 }),
        3 => (node.clone(), 1u32..4, any::<bool>())
            .prop_map(|(node, slots, keeps)| Act::Register { node, slots, keeps }),
        2 => (1u32..4, 50u16..1000).prop_map(|(ranks, milli)| Act::SubmitPart { ranks, milli }),
        3 => (node.clone(), any::<bool>(), 1u32..4, split(), any::<bool>()).prop_map(
            |(node, h100, gpus, split, keeps)| Act::RegisterGpus { node, h100, gpus, split, keeps }
        ),
        1 => node.clone().prop_map(|node| Act::Lose { node }),
        5 => Just(Act::Plan),
        3 => pick.clone().prop_map(|pick| Act::Started { pick }),
        8 => (pick.clone(), node, prop_oneof![3 => Just(0), 1 => Just(1)])
            .prop_map(|(pick, node, code)| Act::Exit { pick, node, code }),
        3 => (pick.clone(), 0u64..100).prop_map(|(pick, step)| Act::Checkpoint { pick, step }),
        1 => pick.clone().prop_map(|pick| Act::Cancel { pick }),
        2 => (pick.clone(), proptest::option::of(0u64..200_000))
            .prop_map(|(pick, notice)| Act::Preempt { pick, notice }),
        1 => (
            prop::sample::select(Policy::ALL.to_vec()),
            prop::option::of(prop::sample::select(Backfill::ALL.to_vec())),
        )
            .prop_map(|(policy, backfill)| Act::Policy { policy, backfill }),
        2 => (0u64..3, 1u64..5, 0u64..20_000_000, 1u64..20_000_000, any::<bool>()).prop_map(
            |(n, node, begins, lasts, mine)| Act::Reserve { n, node, begins, lasts, mine }
        ),
        1 => (0u64..3).prop_map(|n| Act::Unreserve { n }),
        3 => pick.clone().prop_map(|pick| Act::Complete { pick }),
        1 => pick.clone().prop_map(|pick| Act::Reject { pick }),
        1 => (token.clone(), any::<bool>(), 0u64..200_000)
            .prop_map(|(n, join, ttl)| Act::CreateToken { n, join, ttl }),
        1 => token.clone().prop_map(|n| Act::RevokeToken { n }),
        2 => (token.clone(), token, 0u8..3)
            .prop_map(|(n, secret, machine)| Act::RedeemToken { n, secret, machine }),
        1 => pick.clone().prop_map(|pick| Act::Retire { pick }),
        3 => (pick.clone(), pick).prop_map(|(first, second)| Act::Archive { first, second }),
        1 => Just(Act::Reopen),
        1 => prop_oneof![0u64..100_000, Just(25 * 3_600_000)].prop_map(|ms| Act::Later { ms }),
        1 => prop_oneof![0u64..100_000, Just(25 * 3_600_000)].prop_map(|ms| Act::Earlier { ms }),
        3 => (0usize..QUEUES.len(), any::<bool>(), quotas(), prop::option::of(0u32..101)).prop_map(
            |(name, below, quotas, budget)| Act::Queue { name, below, quotas, budget }
        ),
        4 => told(),
    ]
}

/// What no command carries.
fn told() -> impl Strategy<Value = Act> {
    let said = (0usize..8, 0u64..200, prop::option::of(0u64..200), 0u64..100_000);
    prop_oneof![
        said.prop_map(|(pick, done, total, ago)| Act::Progress { pick, done, total, ago }),
        (1u64..5, 0usize..4).prop_map(|(node, units)| Act::Unusable { node, units }),
        (1u64..5, 0usize..4, any::<bool>()).prop_map(|(node, strained, doubted)| Act::Condition {
            node,
            strained,
            doubted
        }),
    ]
}

/// Projects, the last of which may be above the others.
const QUEUES: [&str; 3] = ["default", "vision", "lab"];

/// Quotas of any type and of single ones, guaranteed or not.
fn quotas() -> impl Strategy<Value = Vec<Quota>> {
    let one = |gpu_type: Option<&'static str>| {
        (0u32..4, prop::option::of(0u32..4)).prop_map(move |(guaranteed, more)| {
            let limit = more.map(|more| guaranteed + more);
            Quota { gpu_type: gpu_type.map(str::to_owned), guaranteed, limit }
        })
    };
    (
        prop::option::of(one(None)),
        prop::option::of(one(Some("h100"))),
        prop::option::of(one(Some("v100"))),
    )
        .prop_map(|(any, h100, v100)| any.into_iter().chain(h100).chain(v100).collect())
}

struct History {
    world: World,
    jobs: Vec<JobId>,
    attempts: Vec<AttemptRef>,
    lives: u128,
    tokens: BTreeMap<u64, Model>,
}

/// What a token must be good for.
struct Model {
    join: bool,
    expires: u64,
    revoked: bool,
    by: Option<u8>,
}

impl History {
    fn job(&self, pick: usize) -> Option<JobId> {
        let back = self.jobs.len().checked_sub(1 + pick % self.jobs.len().max(1))?;
        self.jobs.get(back).cloned()
    }

    fn attempt(&self, pick: usize) -> Option<AttemptRef> {
        let back = self.attempts.len().checked_sub(1 + pick % self.attempts.len().max(1))?;
        self.attempts.get(back).cloned()
    }

    /// A job of one project or another, by turns. Some ask for processors as well.
    fn submit(&mut self, mut spec: JobSpec) {
        let project = QUEUES[self.jobs.len() % QUEUES.len()];
        spec.project = project.parse().expect("a name");
        if spec.resources.device == DeviceKind::Cpu && self.jobs.len() % 4 == 3 {
            spec.resources.cpus_per_rank = Some(1);
        }
        self.jobs.push(self.world.submit(spec));
    }

    /// What the planner decides is what one decides that was made of the state and told the rest,
    /// however it came to know it; and its increments go on from there.
    fn plan(&mut self) {
        let now = Timestamp(self.world.now);
        let plan = self.world.planner.plan(now, WorkBudget::UNLIMITED);
        let anew = self.world.made_anew().plan(now, WorkBudget::UNLIMITED);
        assert!(plan == anew || !self.world.expects_alike(), "{plan:?}\n{anew:?}");
        self.attempts.extend(self.world.plan());
    }

    /// One project is below the last of them, or none.
    fn set_queue(&mut self, name: usize, below: bool, says: (Vec<Quota>, Option<u32>)) {
        let lab = QUEUES[QUEUES.len() - 1];
        self.world.queue(lab, |_| ());
        self.world.queue(QUEUES[name], |queue| {
            (queue.quotas, queue.disruption_budget) = says;
            queue.parent = (below && QUEUES[name] != lab).then(|| lab.parse().expect("a name"));
        });
    }

    fn tell(&mut self, act: Act) {
        let units = |history: &Self, node: u64, most: usize| {
            let node = history.world.state.node(&node_id(node));
            let devices = node.into_iter().flat_map(|node| node.inventory.devices.keys());
            devices.take(most).cloned().collect::<Vec<_>>()
        };
        match act {
            Act::Progress { pick, done, total, ago } => {
                if let Some(job) = self.job(pick) {
                    let at = Timestamp(self.world.now - ago);
                    self.world.tell(Delta::Progress(job, Progress { done, total, at }));
                }
            }
            Act::Unusable { node, units: most } => {
                let out = units(self, node, most).into_iter().map(|unit| (unit, "hot".to_owned()));
                let out = out.collect();
                self.world.tell(Delta::Unusable(node_id(node), out));
            }
            Act::Condition { node, strained, doubted } => {
                let strained = units(self, node, strained).into_iter().collect();
                let condition = Condition { terms: None, strained, doubted };
                self.world.tell(Delta::Condition(node_id(node), condition));
            }
            _ => unreachable!("nothing is told"),
        }
    }

    /// What must come of it is said by the naive model: a token is good if it was made, was not
    /// revoked and has time left; a machine joins with the right secret, and no other after it.
    fn step_tokens(&mut self, act: &Act) {
        let now = self.world.now;
        match *act {
            Act::CreateToken { n, join, ttl } => {
                let kind = if join { joins() } else { speaks() };
                let made = self.world.token(n, kind, ttl).is_ok();
                assert!(!made || ttl > 0);
                if made {
                    let token = Model { join, expires: now + ttl, revoked: false, by: None };
                    self.tokens.insert(n, token);
                }
            }
            Act::RevokeToken { n } => {
                if self.world.revoke(n).is_ok() {
                    self.tokens.get_mut(&n).expect("made").revoked = true;
                }
            }
            Act::RedeemToken { n, secret, machine } => {
                let good = self.tokens.get_mut(&n).filter(|token| {
                    let valid = token.join && !token.revoked && now < token.expires;
                    valid && n == secret && token.by.is_none_or(|by| by == machine)
                });
                let redeemed = self.world.redeem(n, secret, machine).is_ok();
                assert_eq!(redeemed, good.is_some());
                if let Some(token) = good {
                    token.by = Some(machine);
                }
            }
            _ => unreachable!("not of a token"),
        }
    }

    /// What was planned from an older state is refused; what was not keeps its units until its
    /// ranks are gone.
    fn preempt(&mut self, attempt: &AttemptRef, notice: Option<u64>) {
        let job = self.world.job(&attempt.job);
        let (version, phase) = (job.version, job.phase);
        let owns = job.is_current(attempt);
        let leaves = job.current().is_some_and(|current| current.leaving.is_some());
        let applied = self.world.apply(Command::Preempt(Box::new(Preempt {
            job: attempt.job.clone(),
            job_version: version,
            attempt: attempt.attempt,
            cause: StopCause::Policy,
            checkpoint_by: notice.map(|ms| Timestamp(self.world.now + ms)),
            goes_on: None,
        })));
        // The state's clock does not go back with the leader's.
        let time = self.world.state.time().0.max(self.world.now);
        let asks = notice.is_some_and(|ms| self.world.now + ms > time);
        let may = owns && phase == JobPhase::Running && !(asks && leaves);
        assert_eq!(applied.is_ok(), may, "{applied:?}");
    }

    /// The first reservation is of all nodes.
    fn step_reservations(&mut self, act: Act) {
        let Act::Reserve { n, node, begins, lasts, mine } = act else {
            if let Act::Unreserve { n } = act {
                drop(self.world.unreserve(&format!("r{n}")));
            }
            return;
        };
        let users = BTreeSet::from(["local".to_owned()]);
        let mine = mine.then(|| Purpose::For { projects: BTreeSet::new(), users });
        let (node, span) = (format!("n{node}"), (Millis(begins), Millis(lasts)));
        let nodes = if n == 0 { vec![] } else { vec![node.as_str()] };
        let purpose = mine.unwrap_or(Purpose::Maintenance);
        let _ = self.world.reserve(&format!("r{n}"), &nodes, span, purpose);
    }

    /// Something comes: a job, or a node.
    fn arrive(&mut self, act: Act) {
        match act {
            Act::Submit { ranks: n, model } => {
                self.submit(if model { with_model(n) } else { ranks(n) });
            }
            Act::Register { node, slots, keeps } => {
                self.lives += 1;
                let running: Vec<_> = self.attempts.iter().filter(|_| keeps).collect();
                self.world.register(node, self.lives, slots, &running);
            }
            Act::SubmitFast { ranks, h100 } => {
                let speed = f64::from(h100) / 10.0;
                let text = format!("[resources]\ngpus = {ranks}\nspeed = {{ h100 = {speed} }}\n");
                self.submit(spec(&text));
            }
            Act::SubmitPart { ranks, milli } => {
                let fraction = f64::from(milli) / 1e3;
                let text = format!("[resources]\ngpus = {ranks}\ngpu_fraction = {fraction}\n");
                self.submit(spec(&text));
            }
            Act::RegisterGpus { node, h100, gpus: count, split, keeps } => {
                self.lives += 1;
                let model = if h100 { "h100" } else { "v100" };
                let whole = gpus(&format!("n{node}"), model, count, &[]);
                let offers = match split {
                    Split::Whole => whole,
                    Split::Shares(of) => shares(whole, of),
                    Split::Slices(sevenths) => slices(whole, sevenths),
                };
                let running: Vec<_> = self.attempts.iter().filter(|_| keeps).collect();
                self.world.register_with(node, self.lives, offers, &running);
            }
            _ => unreachable!("nothing comes"),
        }
    }

    /// The leader has looked at what a run left.
    fn verify(&mut self, act: &Act) {
        let (Act::Complete { pick } | Act::Reject { pick }) = *act else { return };
        let Some(AttemptRef { job, attempt, .. }) = self.attempt(pick) else { return };
        let message = "damaged".to_owned();
        let _ = self.world.apply(match act {
            Act::Complete { .. } => Command::Complete { job, attempt },
            _ => Command::RejectArtifacts { job, attempt, message },
        });
    }

    fn step(&mut self, act: Act) {
        match act {
            act @ (Act::Submit { .. }
            | Act::SubmitFast { .. }
            | Act::SubmitPart { .. }
            | Act::Register { .. }
            | Act::RegisterGpus { .. }) => self.arrive(act),
            Act::Lose { node } => drop(self.world.lose(node)),
            Act::Plan => self.plan(),
            Act::Started { pick } => {
                if let Some(attempt) = self.attempt(pick) {
                    self.world.started(&attempt);
                }
            }
            Act::Exit { pick, node, code } => {
                if let Some(attempt) = self.attempt(pick) {
                    let _ = self.world.exit(&attempt, &node_id(node), code);
                }
            }
            Act::Checkpoint { pick, step } => {
                if let Some(attempt) = self.attempt(pick) {
                    let _ = self.world.checkpoint(&attempt, step);
                }
            }
            Act::Cancel { pick } => {
                if let Some(job) = self.job(pick) {
                    self.world.cancel(&job);
                }
            }
            Act::Preempt { pick, notice } => {
                if let Some(attempt) = self.attempt(pick) {
                    self.preempt(&attempt, notice);
                }
            }
            Act::Policy { policy, backfill } => {
                self.world.queue("root", |queue| {
                    (queue.policy, queue.backfill) = (Some(policy), backfill);
                });
            }
            Act::Queue { name, below, quotas, budget } => {
                self.set_queue(name, below, (quotas, budget));
            }
            act @ (Act::Progress { .. } | Act::Unusable { .. } | Act::Condition { .. }) => {
                self.tell(act);
            }
            act @ (Act::Reserve { .. } | Act::Unreserve { .. }) => self.step_reservations(act),
            act @ (Act::Complete { .. } | Act::Reject { .. }) => self.verify(&act),
            Act::Retire { pick } => {
                let job = self.job(pick);
                let oldest =
                    job.as_ref().and_then(|j| self.world.state.job(j)?.checkpoints.first());
                if let (Some(checkpoint), Some(job)) = (oldest.map(|c| c.id), job) {
                    let _ = self.world.apply(Command::RetireCheckpoint { job, checkpoint });
                }
            }
            Act::Archive { first, second } => {
                let jobs = [first, second].into_iter().filter_map(|pick| self.job(pick)).collect();
                self.world.apply(Command::Archive { jobs }).unwrap();
            }
            Act::Reopen => {
                self.world.state = codec::restore(&codec::snapshot(&self.world.state)).unwrap();
            }
            Act::Later { ms } => self.world.now += ms,
            // Another leader's clock, or one that was set.
            Act::Earlier { ms } => self.world.now -= ms,
            other => self.step_tokens(&other),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn invariants_hold_after_every_command(acts in prop::collection::vec(act(), 1..80)) {
        let world = World::new();
        let mut history = History {
            world,
            jobs: Vec::new(),
            attempts: Vec::new(),
            lives: 0,
            tokens: BTreeMap::new(),
        };
        for act in acts {
            history.step(act);
        }
        let state = &history.world.state;
        let restored = codec::restore(&codec::snapshot(state)).unwrap();
        prop_assert_eq!(codec::state_hash(&restored), codec::state_hash(state));
        prop_assert_eq!(&restored, state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// One replica applies without a break; another is restored from a snapshot of the first taken
    /// somewhere on the way, with an archive that is as far as the first one's is in the end, and
    /// replays the rest: equal hash, equal archive.
    #[test]
    fn replicas_agree_on_the_archive(
        acts in prop::collection::vec(act(), 1..80),
        at in 0usize..80,
    ) {
        let world = World::new();
        let mut history = History {
            world,
            jobs: Vec::new(),
            attempts: Vec::new(),
            tokens: BTreeMap::new(),
            lives: 0,
        };
        let mut snapshot = (codec::snapshot(&history.world.state), 0);
        for (n, act) in acts.into_iter().enumerate() {
            if n == at {
                let world = &history.world;
                snapshot = (codec::snapshot(&world.state), world.log.len());
            }
            history.step(act);
        }
        let (bytes, from) = snapshot;
        let first = &history.world;
        let mut replica = codec::restore(&bytes).unwrap();
        let mut records = first.records.clone();
        for (index, envelope) in &first.log[from..] {
            let _ = replica.apply(*index, envelope.clone(), &records, &mut Vec::new());
            records.keep(&mut replica);
        }
        prop_assert_eq!(codec::state_hash(&replica), codec::state_hash(&first.state));
        prop_assert_eq!(&replica, &first.state);
        prop_assert_eq!(&records, &first.records);
        let head = codec::snapshot_archive(&codec::snapshot(&first.state)).unwrap();
        prop_assert_eq!(head, records.head);
    }
}
