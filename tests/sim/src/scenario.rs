//! What a seed stands for: how large the cluster is, what is submitted, which faults there are and
//! how often. Each seed leaves some kinds of fault out, so that others get far.

use trainyard_jobs::{JobSpec, Millis, Policy, QueueSpec};
use trainyard_raft::sim::{Faults, Rng};

use crate::{around::Ms, faults::Kind, gangs::Script};

/// One run.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub seed: u64,
    pub schedulers: u64,
    /// Slots of each worker.
    pub workers: Vec<u32>,
    pub clients: usize,
    pub jobs: usize,
    /// How long faults go on.
    pub trouble: Ms,
    /// Between two faults, about.
    pub pace: Ms,
    pub kinds: Vec<Kind>,
    pub network: Faults,
    /// Clients ask all the time.
    pub curious: bool,
    pub snapshot_every: u64,
    /// Of the queue above all; the defaults never stop jobs as short as these.
    pub settings: Option<QueueSpec>,
    /// Every store and scheduler in peace from here on must bring everything to rest.
    pub patience: Ms,
}

/// Settings under which jobs are stopped for others all the time.
fn impatient(rng: &mut Rng) -> QueueSpec {
    let millis = |ms| Some(Millis(ms));
    QueueSpec {
        policy: Some(Policy::ALL[rng.below(Policy::ALL.len() as u64) as usize]),
        restart_cost: millis(rng.below(500)),
        min_run: millis(200 + rng.below(3_000)),
        notice: millis(500 + rng.below(3_000)),
        patience: millis(2_000 + rng.below(20_000)),
        max_disruptions: Some(3),
        ..QueueSpec::default()
    }
}

impl Scenario {
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x7ea1_0a2d);
        let schedulers = [1, 3, 3, 3, 3, 5][rng.below(6) as usize];
        let workers = (0..2 + rng.below(4)).map(|_| 1 + rng.below(3) as u32).collect();
        let busy = 30 + rng.below(60);
        let kinds = Kind::ALL.iter().copied().filter(|_| rng.chance(busy)).collect();
        let rough = rng.chance(60);
        let network = Faults {
            loss: if rough { rng.below(15) } else { 0 },
            doubled: if rough { rng.below(15) } else { 0 },
            delay: if rough { 1 + rng.below(120) } else { 3 },
            late: if rough { rng.below(4) } else { 0 },
            very: 500 + rng.below(8_000),
        };
        let scenario = Self {
            seed,
            schedulers,
            workers,
            clients: 1 + rng.below(3) as usize,
            jobs: 3 + rng.below(8) as usize,
            trouble: 15_000 + rng.below(45_000),
            pace: 300 + rng.below(3_000),
            kinds,
            network,
            curious: rng.chance(40),
            snapshot_every: 10 + rng.below(70),
            settings: rng.chance(35).then(|| impatient(&mut rng)),
            patience: 1_200_000,
        };
        match rng.below(100) {
            0..15 => scenario.stormy(&mut rng),
            15..25 => scenario.sleepy(&mut rng),
            _ => scenario,
        }
    }

    /// Elections all the time, on a network that delivers late: what a member promised in a life
    /// that is over, and what a leader was told in a round that is over, comes back.
    fn stormy(self, rng: &mut Rng) -> Self {
        let kinds = vec![
            Kind::CrashAfterVotes,
            Kind::CrashAfterVotes,
            Kind::CrashScheduler,
            Kind::StallScheduler,
            Kind::StallScheduler,
            Kind::HandOver,
            Kind::IsolateScheduler,
            Kind::CutOneWay,
            Kind::HealNetwork,
        ];
        let network = Faults {
            loss: rng.below(5),
            doubled: rng.below(20),
            delay: 1 + rng.below(250),
            late: 5 + rng.below(20),
            very: 300 + rng.below(3_000),
        };
        let (clients, pace) = (3, 200 + rng.below(800));
        Self { schedulers: 3, clients, kinds, network, pace, curious: true, ..self }
    }

    /// Leaders that sleep through the election of their successor and wake in time to be asked,
    /// while answers of those who followed them are still under way.
    fn sleepy(self, rng: &mut Rng) -> Self {
        let network = Faults {
            loss: 0,
            doubled: 0,
            delay: 1 + rng.below(20),
            late: 5 + rng.below(20),
            very: 2_000 + rng.below(3_000),
        };
        let (kinds, pace) = (vec![Kind::DeposeAsleep], 2_500 + rng.below(2_000));
        let (clients, jobs) = (3, self.jobs + 6);
        Self { schedulers: 3, clients, jobs, kinds, network, pace, curious: true, ..self }
    }

    /// Draws a job's spec, in canonical form.
    pub fn job(&self, rng: &mut Rng) -> Vec<u8> {
        let slots: u32 = self.workers.iter().sum();
        let gpus =
            if rng.chance(4) { slots + 1 } else { 1 + rng.below(slots.min(5).into()) as u32 };
        let total = 10 + rng.below(120);
        let failures = if rng.chance(25) { 1 + rng.below(5) as u32 } else { 0 };
        let script = Script {
            total,
            every: 5 + rng.below(30),
            fails: (failures, 1 + rng.below(total)),
            parts: rng.chance(30),
            stubborn: rng.chance(20),
            damaged: if rng.chance(10) { 1 + rng.below(3) as u32 } else { 0 },
        };
        let command: Vec<String> = script.command().iter().map(|a| format!("\"{a}\"")).collect();
        let mut text = format!(
            r#"{{"name":"j","priority":{},"resources":{{"gpus":{gpus},"device":"cpu"}},"run":{{"command":[{}],"stop_grace":"1s"}},"checkpoint":{{"every":"1s","keep":{},"on_request":{}}}"#,
            rng.below(3),
            command.join(","),
            1 + rng.below(3),
            rng.chance(50),
        );
        let restarts = 1 + rng.below(4);
        let limit = rng.chance(20).then(|| format!(",\"time\":\"{}s\"", 5 + rng.below(20)));
        let limit = limit.unwrap_or_default();
        text.push_str(&format!(r#","limits":{{"max_restarts":{restarts}{limit}}}"#));
        if rng.chance(50) {
            text.push_str(&format!(r#","register":{{"model":"m{}"}}"#, rng.below(2)));
        }
        text.push('}');
        let spec = JobSpec::from_canonical(text.as_bytes()).expect("a valid spec");
        spec.canonical_json().into_bytes()
    }
}
