//! One life of a worker's agent: adopts what is on the disk, keeps a stream to the leader, and
//! brings the node to what the newest set says. All decisions are the agent crate's own.

use std::collections::BTreeMap;

use trainyard_jobs::{AttemptRef, Revision, SessionId};
use trainyard_proto::v1;
use trainyard_worker::{
    decide::{Decisions, NEVER_STARTED, Order},
    reconcile::{Action, Known, Stage},
};

use super::{
    Body,
    disk::{Dir, Disk, Trouble},
    link::Link,
    reports::Deliveries,
};
use crate::{
    around::{Around, Ms},
    facts::{Blow, Fact},
    gangs::Gangs,
    letters::{Letter, Place},
    note,
};

/// How often decisions are made anew without any news.
const RETRY: Ms = 5_000;

/// How far this agent is with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// Nobody supervises it.
    Idle,
    /// What it needs is being fetched.
    Preparing { ready: Ms, gives_up: Ms },
    /// Its ranks run, or a shim that is gone has to be judged.
    Running,
    /// The ranks have ended; checkpoints may still be under way.
    Ended { since: Ms },
    /// The end is being reported.
    Reporting,
    /// That is answered.
    Reported,
}

/// An attempt as this life of the agent holds it.
#[derive(Debug)]
pub struct Entry {
    pub order: Order,
    pub stage: Stage,
    pub held: bool,
    pub stop: bool,
    pub walk: Walk,
    /// The report of the start: none yet, under way, answered.
    pub start_told: Option<bool>,
    /// A checkpoint of this step is being reported.
    pub uploading: Option<u64>,
}

impl Entry {
    pub const fn new(order: Order, stage: Stage, walk: Walk) -> Self {
        Self { order, stage, held: false, stop: false, walk, start_told: None, uploading: None }
    }

    fn word(&self, dir: Option<&Dir>) -> &'static str {
        match self.stage {
            Stage::Ended | Stage::Settled => "ended",
            _ if self.held => "held",
            _ if dir.is_some_and(|dir| dir.plan) => "running",
            _ => "starting",
        }
    }
}

pub struct Agent {
    pub session: SessionId,
    pub(super) decisions: Decisions,
    pub(super) entries: BTreeMap<AttemptRef, Entry>,
    pub(super) link: Link,
    pub(super) deliveries: Deliveries,
    retry_at: Ms,
    /// Something happened that decisions rest on.
    pub(super) news: bool,
}

impl Agent {
    /// Takes up every attempt that an agent before left here.
    pub fn new(session: SessionId, schedulers: &[u64], disk: &Disk, around: &mut Around) -> Self {
        let adopt = |(attempt, dir): (&AttemptRef, &Dir)| {
            let launched = dir.plan || dir.exit.is_some();
            let (stage, walk) = if launched {
                (Stage::Active, Walk::Running)
            } else {
                (Stage::Accepted, Walk::Idle)
            };
            (attempt.clone(), Entry::new(dir.order.clone(), stage, walk))
        };
        Self {
            session,
            decisions: Decisions::default(),
            entries: disk.dirs.iter().map(adopt).collect(),
            link: Link::new(schedulers, around),
            deliveries: Deliveries::default(),
            retry_at: around.now + RETRY,
            news: true,
        }
    }

    /// Everything that a leader is told on every new stream.
    /// Whether an attempt is here.
    pub(super) fn holds(&self, attempt: &AttemptRef) -> bool {
        self.entries.contains_key(attempt)
    }

    pub(super) fn running(&self, disk: &Disk) -> Vec<v1::RunningAttempt> {
        let running = |(attempt, entry): (&AttemptRef, &Entry)| v1::RunningAttempt {
            attempt: Some(attempt.into()),
            state: entry.word(disk.dirs.get(attempt)).to_owned(),
            ..v1::RunningAttempt::default()
        };
        self.entries.iter().map(running).collect()
    }

    pub fn stages(&self) -> Vec<String> {
        let stage = |(attempt, entry): (&AttemptRef, &Entry)| {
            format!("{attempt} {:?} {:?}", entry.stage, entry.walk)
        };
        self.entries.iter().map(stage).collect()
    }

    /// Takes a letter. An error is the agent's end.
    pub fn take(
        &mut self,
        around: &mut Around,
        body: &mut Body<'_>,
        from: Place,
        letter: Letter,
    ) -> Result<(), Trouble> {
        match letter {
            Letter::Answer { call, answer } => {
                if self.link.is_greeting(call) {
                    self.greeting_answered(around, body, answer);
                } else {
                    self.report_answered(around, body, call, answer);
                }
            }
            Letter::Down { stream, number, body: down } => {
                self.down(around, body, from, (stream, number), down)?;
            }
            Letter::Raft { .. } | Letter::Call { .. } | Letter::Up { .. } => {}
        }
        self.decide_if_news(around, body)
    }

    /// Time has passed.
    pub fn look(
        &mut self,
        around: &mut Around,
        gangs: &mut Gangs,
        body: &mut Body<'_>,
    ) -> Result<(), Trouble> {
        self.look_at_link(around, body);
        self.supervise(around, gangs, body)?;
        self.send_reports(around, body);
        if around.now >= self.retry_at {
            self.retry_at = around.now + RETRY;
            self.news = true;
            if let Some(set) = self.decisions.unrecorded() {
                self.accept(around, body, set)?;
            }
        }
        self.decide_if_news(around, body)
    }

    /// Takes a desired set, unless a higher one was accepted before. One that cannot be put on
    /// record is not acted upon.
    pub(super) fn accept(
        &mut self,
        around: &mut Around,
        body: &mut Body<'_>,
        set: v1::DesiredSet,
    ) -> Result<(), Trouble> {
        let revision = Revision::from(set.revision.unwrap_or_default());
        let Some(standing) = body.disk.standing.accepting(revision) else { return Ok(()) };
        if standing != body.disk.standing {
            match body.disk.write(|disk| disk.standing = standing) {
                Ok(()) => {}
                Err(Trouble::Full) => {
                    self.decisions.keep_unrecorded(set);
                    return Ok(());
                }
                Err(Trouble::Killed) => return Err(Trouble::Killed),
            }
        }
        note!(around, "w{} takes the set of {revision}: {} wanted", body.n, set.attempts.len());
        self.decisions.want(revision, set).expect("sets can be read");
        self.news = true;
        Ok(())
    }

    fn decide_if_news(&mut self, around: &mut Around, body: &mut Body<'_>) -> Result<(), Trouble> {
        if !std::mem::take(&mut self.news) {
            return Ok(());
        }
        let known = |entry: &Entry| Known {
            started: entry.order.started,
            stage: entry.stage,
            held: entry.held,
        };
        let known = self.entries.iter().map(|(a, e)| (a.clone(), known(e))).collect();
        let actions = self.decisions.actions(&known);
        let strangers = self.decisions.strangers(|attempt| {
            !self.entries.contains_key(attempt) && !body.disk.dirs.contains_key(attempt)
        });
        for action in actions {
            self.carry_out(around, body, action)?;
        }
        for attempt in strangers {
            self.disown(around, body, &attempt, NEVER_STARTED);
        }
        Ok(())
    }

    fn carry_out(
        &mut self,
        around: &mut Around,
        body: &mut Body<'_>,
        action: Action,
    ) -> Result<(), Trouble> {
        note!(around, "w{} decides {action:?}", body.n);
        match action {
            Action::Start(attempt) => return self.begin(around, body, &attempt),
            Action::Stop(attempt) => {
                if let Some(entry) = self.entries.get_mut(&attempt) {
                    let accepted = entry.stage == Stage::Accepted;
                    entry.stage = entry.stage.max(Stage::Stopping);
                    entry.stop = true;
                    if accepted {
                        entry.walk = walk_in(around);
                    }
                    if body.shims.contains_key(&attempt) {
                        around.tell(Fact::Stops { node: body.node, attempt: &attempt });
                    }
                }
            }
            Action::Hold(attempt) => self.hold(&attempt, true),
            Action::Release(attempt) => self.hold(&attempt, false),
            Action::Remove(attempt) => {
                match body.disk.write(|disk| drop(disk.dirs.remove(&attempt))) {
                    Err(Trouble::Killed) => return Err(Trouble::Killed),
                    // The next agent removes what is left; this one need not see it again.
                    Ok(()) | Err(Trouble::Full) => {}
                }
                self.entries.remove(&attempt);
                self.decisions.tell(&attempt);
            }
        }
        Ok(())
    }

    fn hold(&mut self, attempt: &AttemptRef, held: bool) {
        if let Some(entry) = self.entries.get_mut(attempt) {
            entry.held = held;
        }
    }

    fn begin(
        &mut self,
        around: &mut Around,
        body: &mut Body<'_>,
        attempt: &AttemptRef,
    ) -> Result<(), Trouble> {
        if let Some(entry) = self.entries.get_mut(attempt) {
            entry.stage = Stage::Active;
            entry.walk = walk_in(around);
            return Ok(());
        }
        let Some(order) = self.decisions.order(attempt).cloned() else { return Ok(()) };
        let dir = Dir {
            order: order.clone(),
            plan: false,
            started: false,
            stop_wish: false,
            exit: None,
            spool: BTreeMap::new(),
            resume: 0,
        };
        match body.disk.write(|disk| drop(disk.dirs.insert(attempt.clone(), dir))) {
            Ok(()) => {}
            Err(Trouble::Killed) => return Err(Trouble::Killed),
            Err(Trouble::Full) => {
                if self.decisions.not_taken_on(attempt) {
                    around.tell(Fact::Blow { attempt, what: Blow::Disk });
                    self.disown(around, body, attempt, "this node cannot make its directory");
                }
                return Ok(());
            }
        }
        self.entries.insert(attempt.clone(), Entry::new(order, Stage::Active, walk_in(around)));
        Ok(())
    }

    /// Reports, until that is answered, that the attempt's ranks never ran here.
    fn disown(&mut self, around: &mut Around, body: &Body<'_>, attempt: &AttemptRef, why: &str) {
        self.decisions.tell(attempt);
        let report = v1::EndedReport { start_error: why.into(), ..self.end_of(body, attempt) };
        self.deliveries.end(around, attempt, report);
    }

    /// An empty report of an end.
    pub(super) fn end_of(&self, body: &Body<'_>, attempt: &AttemptRef) -> v1::EndedReport {
        v1::EndedReport {
            node: body.node.to_string(),
            session: self.session.to_string(),
            attempt: Some(attempt.into()),
            ..v1::EndedReport::default()
        }
    }
}

/// Supervision begins with fetching what the attempt needs.
fn walk_in(around: &mut Around) -> Walk {
    let ready = around.now + 20 + around.rng.below(400);
    Walk::Preparing { ready, gives_up: around.now + 60_000 }
}
