//! The running jobs of a group, packed into numbers. A pass asks which of thousands may be stopped
//! for a job, and the answer is mostly: none. Numbers say so; only of those that they do not rule
//! out is more looked at.

use std::{cmp::Reverse, collections::HashMap};

use trainyard_jobs::{JobId, Millis, Policy, Timestamp};

use crate::placement::{
    order::{Settings, Worth, bucket_end, preempts, value},
    running::Running,
    time::{History, Outlook},
    victims,
};

/// Whom a pass asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::placement) enum Ask {
    /// All.
    All,
    /// Those that may be worth less than a job of their own group.
    WorthLess(Worth),
}

/// What the stop of a running job loses. In this order one is stopped for another queue: the one
/// that loses least, and of equals the youngest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::placement) struct Loss<'a> {
    /// In unit-milliseconds.
    pub(in crate::placement) cost: u64,
    sequence: Reverse<u64>,
    pub(in crate::placement) job: &'a JobId,
}

impl Ask {
    /// Whether the answer to this one has everybody in it whom the other asks for.
    pub(in crate::placement) const fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::WorthLess(own), Self::WorthLess(other)) => {
                let (above, below) = (own.priority, other.priority);
                let more = own.value <= other.value && own.stretch >= other.stretch;
                above > below || (above == below && more)
            }
            (Self::WorthLess(_), Self::All) => false,
        }
    }
}

/// One running job.
#[derive(Debug, Clone)]
struct Member {
    id: JobId,
    sequence: u64,
    priority: i32,
    policy: Policy,
    gpus: u32,
    units: u64,
    started: Timestamp,
    /// It is not stopped before that; if it is `special`, perhaps much later.
    rested: Timestamp,
    special: bool,
    /// What has been done since is lost when it is stopped.
    kept: Timestamp,
    restart: Millis,
    /// Unit-milliseconds of the attempts before.
    attained: u64,
    /// Run time of the attempts before, and what of all is not to be counted.
    used: u64,
    lost: u64,
    outlook: Outlook,
}

/// All of one group, in no order.
#[derive(Debug, Clone, Default)]
pub(super) struct Herd {
    members: Vec<Member>,
    places: HashMap<JobId, usize>,
}

impl Member {
    fn cost(&self, now: Timestamp) -> u64 {
        now.since(self.kept).0.saturating_add(self.restart.0).saturating_mul(self.units)
    }

    /// Whether it may be among those that are asked for. It may turn out not to be.
    fn may_be(&self, ask: &Ask, now: Timestamp, attained: u64, history: &History) -> bool {
        match ask {
            Ask::All => true,
            Ask::WorthLess(_) if !preempts(self.policy) => false,
            Ask::WorthLess(worth) if self.priority != worth.priority => {
                self.priority < worth.priority
            }
            Ask::WorthLess(worth) if self.policy == Policy::Las => {
                worth.value < value(self.policy, attained, 0, self.gpus)
            }
            Ask::WorthLess(worth) => {
                let ran = self.used.saturating_add(now.since(self.started).0);
                let left = self.outlook.least(ran.saturating_sub(self.lost), history);
                let value = value(self.policy, attained, left, self.gpus);
                let cost = self.cost(now);
                worth.stretch > cost && worth.value.saturating_add(cost) < value
            }
        }
    }
}

impl Herd {
    pub(super) const fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Takes a job in, or anew. `lost` is run time in which nothing was done.
    pub(super) fn insert(
        &mut self,
        job: &Running,
        settings: &Settings,
        lost: u64,
        outlook: Outlook,
    ) {
        self.remove(&job.id);
        let kept = job.checkpointed.map_or(job.started, |at| at.max(job.started));
        let member = Member {
            id: job.id.clone(),
            sequence: job.sequence,
            priority: job.priority,
            policy: settings.policy,
            gpus: job.resources.gpus,
            units: job.units(),
            started: job.started,
            rested: victims::rested(job, settings),
            special: victims::is_special(job, settings),
            // Who saves its state when it is asked to loses nothing.
            kept: if job.on_request { Timestamp(u64::MAX) } else { kept },
            restart: settings.restart_cost,
            attained: job.attained,
            used: job.used.0,
            lost,
            outlook,
        };
        self.places.insert(job.id.clone(), self.members.len());
        self.members.push(member);
    }

    pub(super) fn remove(&mut self, job: &JobId) {
        let Some(at) = self.places.remove(job) else { return };
        self.members.swap_remove(at);
        if let Some(moved) = self.members.get(at) {
            self.places.insert(moved.id.clone(), at);
        }
    }

    /// What the stop of each loses that has run for long enough, in no order, and when there will
    /// be one more of those.
    pub(super) fn losses(&self, now: Timestamp) -> (Vec<Loss<'_>>, Option<Timestamp>) {
        let (mut losses, mut next) = (Vec::with_capacity(self.members.len()), None::<Timestamp>);
        for member in &self.members {
            if member.rested > now {
                next = Some(next.map_or(member.rested, |before| before.min(member.rested)));
                continue;
            }
            let (cost, sequence) = (member.cost(now), Reverse(member.sequence));
            losses.push(Loss { cost, sequence, job: &member.id });
        }
        (losses, next)
    }

    /// Calls `found` with everybody who may be among those that are asked for, and says when time
    /// alone may change the answer.
    pub(super) fn search<'a>(
        &'a self,
        ask: &Ask,
        now: Timestamp,
        history: &History,
        mut found: impl FnMut(&'a JobId),
    ) -> Option<Timestamp> {
        let mut next = u64::MAX;
        for member in &self.members {
            if member.rested > now {
                next = next.min(member.rested.0);
                continue;
            }
            let ran = now.since(member.started).0;
            let attained = member.attained.saturating_add(ran.saturating_mul(member.units));
            if member.may_be(ask, now, attained, history) {
                found(&member.id);
            }
            if !member.special {
                let whole = bucket_end(attained).saturating_sub(attained);
                next = next.min(now.0.saturating_add(whole.div_ceil(member.units.max(1))));
            }
        }
        (next < u64::MAX).then_some(Timestamp(next))
    }
}
