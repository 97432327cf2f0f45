//! Clients that do random things to a cluster, and the history of what they asked and were told.
//!
//! The objects are idempotency keys: a key makes at most one job, whoever submits under it and how
//! often; the job waits until somebody cancels it, and stays cancelled. Clients are `yard`
//! processes. Some are killed on the way, and nobody learns what became of their request.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Stdio,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use crate::{
    Yard,
    linear::{Call, Model, check},
    view::{Job, List},
};

/// What a job's owner can ask, and what was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A submit that gave a job; nothing, if nobody heard.
    Submit,
    /// A cancel that was acknowledged; nothing, if nobody heard.
    Cancel,
    /// A read that found the job in this phase, or did not find it.
    Read(Option<String>),
}

/// A key's job, if there is one: waiting, or cancelled.
struct OneJob;

impl Model for OneJob {
    type State = Option<bool>;
    type Operation = Asked;

    fn begin(&self) -> Option<bool> {
        None
    }

    fn apply(&self, cancelled: &Option<bool>, asked: &Asked) -> Option<Option<bool>> {
        let phase = cancelled.map(|is| if is { "cancelled" } else { "queued" });
        match asked {
            Asked::Submit => Some(Some(cancelled.unwrap_or(false))),
            Asked::Cancel => cancelled.map(|_| Some(true)),
            Asked::Read(found) => (found.as_deref() == phase).then_some(*cancelled),
        }
    }
}

/// What all clients have done so far.
#[derive(Debug, Default)]
pub struct History {
    calls: Mutex<Vec<(String, Call<Asked>)>>,
    jobs: Mutex<BTreeMap<String, String>>,
    stop: AtomicBool,
}

/// The spec that every key is used with, in the client's folder.
pub const SPEC: &str = "waiting.toml";

/// A linear congruential generator (Knuth's MMIX): what a client does follows from its number.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

impl History {
    /// Runs `clients` clients while `faults` happen. Keys are `prefix-0` and on, and come into use
    /// one after another.
    pub fn record(
        yard: &Yard,
        clients: u64,
        faults: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let history = Self::default();
        thread::scope(|scope| {
            let running: Vec<_> = (1..=clients)
                .map(|number| {
                    scope.spawn({
                        let history = &history;
                        move || history.client(yard, number)
                    })
                })
                .collect();
            let faults = faults();
            history.stop.store(true, Ordering::Relaxed);
            for client in running {
                client.join().ok().context("a client panicked")??;
            }
            faults
        })?;
        Ok(history)
    }

    fn client(&self, yard: &Yard, number: u64) -> anyhow::Result<()> {
        let mut draw = Draw(number);
        let mut newest = 0;
        while !self.stop.load(Ordering::Relaxed) {
            newest += draw.below(2);
            // Near the newest, where the others are too.
            let key = format!("key-{}", newest.saturating_sub(draw.below(3)));
            let job = lock(&self.jobs).get(&key).cloned();
            match (draw.below(12), job) {
                (0, _) => self.abandon(yard, &key, 5 + draw.below(60))?,
                (1..=4, _) | (_, None) => self.submit(yard, &key)?,
                (5..=6, Some(job)) => self.cancel(yard, &key, &job)?,
                (7..=9, Some(job)) => self.get(yard, &key, &job)?,
                (_, Some(_)) => self.list(yard)?,
            }
        }
        Ok(())
    }

    /// Submits under a key; whoever does gets the same job.
    fn submit(&self, yard: &Yard, key: &str) -> anyhow::Result<()> {
        let called = Instant::now();
        let answer = yard.run(&["submit", SPEC, "-q", "--key", key])?;
        let Some(answer) = heard(answer)? else {
            self.note(key, called, None, Asked::Submit);
            return Ok(());
        };
        self.note(key, called, Some(Instant::now()), Asked::Submit);
        let job = answer.trim().to_owned();
        let known = lock(&self.jobs).entry(key.to_owned()).or_insert_with(|| job.clone()).clone();
        ensure!(known == job, "{key} made two jobs, {known} and {job}");
        Ok(())
    }

    /// Submits under a key, and dies `after` milliseconds later.
    fn abandon(&self, yard: &Yard, key: &str, after: u64) -> anyhow::Result<()> {
        let called = Instant::now();
        let mut client = yard
            .command()?
            .args(["submit", SPEC, "-q", "--key", key])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        thread::sleep(Duration::from_millis(after));
        client.kill()?;
        client.wait()?;
        self.note(key, called, None, Asked::Submit);
        Ok(())
    }

    fn cancel(&self, yard: &Yard, key: &str, job: &str) -> anyhow::Result<()> {
        let called = Instant::now();
        let told = heard(yard.run(&["cancel", job])?)?;
        self.note(key, called, told.map(|_| Instant::now()), Asked::Cancel);
        Ok(())
    }

    fn get(&self, yard: &Yard, key: &str, job: &str) -> anyhow::Result<()> {
        let called = Instant::now();
        let answer = yard.run(&["job", "get", job, "-o", "json"])?;
        let found = if answer.code == Some(3) {
            None
        } else {
            // A read that nobody answered has no effect.
            let Some(text) = heard(answer)? else { return Ok(()) };
            Some(serde_json::from_str::<Job>(&text)?.phase)
        };
        self.note(key, called, Some(Instant::now()), Asked::Read(found));
        Ok(())
    }

    /// One listing is a read of every key whose job anybody knew before, and of those that it names.
    fn list(&self, yard: &Yard) -> anyhow::Result<()> {
        let known = lock(&self.jobs).clone();
        let called = Instant::now();
        let Some(text) = heard(yard.run(&["ps", "--all", "-o", "json"])?)? else { return Ok(()) };
        let answered = Some(Instant::now());
        let listed: List<Job> = serde_json::from_str(&text)?;
        let phases: BTreeMap<_, _> = listed.items.into_iter().map(|j| (j.id, j.phase)).collect();
        for (key, job) in known {
            self.note(&key, called, answered, Asked::Read(phases.get(&job).cloned()));
        }
        Ok(())
    }

    fn note(&self, key: &str, called: Instant, answered: Option<Instant>, operation: Asked) {
        lock(&self.calls).push((key.to_owned(), Call { called, answered, operation }));
    }

    /// Asks once more for every key and checks all: each key's history is linearizable, and the
    /// cluster holds one job a key and no other. Gives the number of operations and of those
    /// whose outcome nobody learnt.
    pub fn check(self, yard: &Yard, others: &[&str]) -> anyhow::Result<(usize, usize)> {
        let keys: BTreeSet<String> = lock(&self.calls).iter().map(|(key, _)| key.clone()).collect();
        for key in &keys {
            self.submit(yard, key)?;
        }
        self.list(yard)?;
        let jobs: BTreeSet<String> = lock(&self.jobs).values().cloned().collect();
        let listed: List<Job> = yard.json(&["ps", "--all"])?;
        let listed = listed.items.into_iter().map(|job| job.id);
        let listed: BTreeSet<String> = listed.filter(|id| !others.contains(&id.as_str())).collect();
        ensure!(listed == jobs, "the keys' jobs are {jobs:?}; there are {listed:?}");
        let calls = self.calls.into_inner().unwrap_or_else(PoisonError::into_inner);
        let unknown = calls.iter().filter(|(_, call)| call.answered.is_none()).count();
        let total = calls.len();
        for key in keys {
            let of_key: Vec<_> =
                calls.iter().filter(|(of, _)| *of == key).map(|(_, call)| call.clone()).collect();
            check(&OneJob, &of_key).with_context(|| format!("the history of {key}"))?;
        }
        Ok((total, unknown))
    }
}

/// What a client printed; nothing, if it gave up without an answer.
fn heard(answer: crate::Answer) -> anyhow::Result<Option<String>> {
    match answer.code {
        Some(0) => Ok(Some(answer.stdout)),
        Some(5) => Ok(None),
        _ => bail!("a client was refused: {answer:#?}"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
