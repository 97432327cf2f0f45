//! The running jobs of a group, packed into numbers. A pass asks which of thousands may be stopped
//! for a job, and the answer is mostly: none. Numbers say so; only of those that they do not rule
//! out is more looked at.

use std::{cmp::Reverse, collections::HashMap};

use trainyard_jobs::{JobId, Millis, Policy, Timestamp};

use crate::placement::{
    order::{Settings, Worth, bucket_end, by_service, preempts, value},
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

/// A running job that nobody stops.
#[derive(Debug, Clone, Copy)]
pub(in crate::placement) struct Holder<'a> {
    pub(in crate::placement) job: &'a JobId,
    /// The ranks that it asks for.
    pub(in crate::placement) gpus: u32,
    pub(in crate::placement) started: Timestamp,
    /// When it is predicted to end.
    pub(in crate::placement) ends: Timestamp,
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
    /// What its policy counts of the attempts before.
    attained: u64,
    /// Thousandths that it counts of each millisecond of this one.
    rate: u64,
    /// Run time of the attempts before, and what of all is not to be counted.
    used: u64,
    lost: u64,
    outlook: Outlook,
}

/// What is true of all of a group: it says of most jobs that nobody is stopped for them. It is so
/// from some time until another, however time goes by in between.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    from: Timestamp,
    until: Timestamp,
    /// The lowest priority; none if nobody may be stopped.
    priority: Option<i32>,
    /// Nobody is worth more, after what the stop loses.
    value: u64,
    /// Nobody is stopped for a job that does not stay worth what it is for so long.
    stretch: u64,
    /// When time alone may change who may be stopped.
    next: Option<Timestamp>,
    /// What is expected of somebody does not come from runs of the own project.
    borrows: bool,
    /// Somebody is expected to need more the longer it runs.
    grows: bool,
}

/// Asks that are remembered of a group because nobody was found.
const REMEMBERED: usize = 4;

/// All of one group, in no order.
#[derive(Debug, Clone, Default)]
pub(super) struct Herd {
    members: Vec<Member>,
    places: HashMap<JobId, usize>,
    /// As long as nobody comes, goes, or is expected to take another time.
    bounds: Option<Bounds>,
    /// Who was asked for in vain since then.
    in_vain: Vec<Ask>,
}

impl Member {
    fn cost(&self, now: Timestamp) -> u64 {
        now.since(self.kept).0.saturating_add(self.restart.0).saturating_mul(self.units)
    }

    /// What it has had, as its policy counts.
    fn attained(&self, now: Timestamp) -> u64 {
        let ran = now.since(self.started).0;
        self.attained.saturating_add(ran.saturating_mul(self.rate) / 1000)
    }

    /// The run time in which something was done.
    fn ran(&self, now: Timestamp) -> u64 {
        self.used.saturating_add(now.since(self.started).0).saturating_sub(self.lost)
    }

    /// When it leaves its bucket of attained service.
    fn bucket_end(&self, now: Timestamp) -> Timestamp {
        if self.rate == 0 {
            return Timestamp(u64::MAX);
        }
        let attained = self.attained(now);
        let whole = bucket_end(attained).saturating_sub(attained);
        let left = whole.saturating_mul(1000).div_ceil(self.rate);
        Timestamp(now.0.saturating_add(left))
    }

    /// Narrows what is true of all by what is true of it.
    fn bound(&self, now: Timestamp, history: &History, bounds: &mut Bounds) {
        bounds.priority =
            Some(bounds.priority.map_or(self.priority, |lowest| lowest.min(self.priority)));
        let (value, stretch, until) = if by_service(self.policy) {
            (value(self.policy, self.attained(now), 0, self.gpus), 0, self.bucket_end(now))
        } else {
            let (within, cost) = (self.outlook.within(self.ran(now), history), self.cost(now));
            bounds.borrows |= within.borrows;
            bounds.grows |= within.grows;
            let value = value(self.policy, 0, within.left, self.gpus).saturating_sub(cost);
            (value, cost.saturating_add(1), Timestamp(now.0.saturating_add(within.lasts)))
        };
        bounds.value = bounds.value.max(value);
        bounds.stretch = bounds.stretch.min(stretch);
        bounds.until = bounds.until.min(until);
    }

    /// Whether it may be among those that are asked for. It may turn out not to be.
    fn may_be(&self, ask: &Ask, now: Timestamp, history: &History) -> bool {
        match ask {
            Ask::All => true,
            Ask::WorthLess(_) if !preempts(self.policy) => false,
            Ask::WorthLess(worth) if self.priority != worth.priority => {
                self.priority < worth.priority
            }
            Ask::WorthLess(worth) if by_service(self.policy) => {
                worth.value < value(self.policy, self.attained(now), 0, self.gpus)
            }
            Ask::WorthLess(worth) => {
                let left = self.outlook.least(self.ran(now), history);
                let value = value(self.policy, 0, left, self.gpus);
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

    /// The highest priority of any.
    pub(super) fn highest(&self) -> Option<i32> {
        self.members.iter().map(|member| member.priority).max()
    }

    /// Takes a job in, or anew. `lost` is run time in which nothing was done.
    pub(super) fn insert(
        &mut self,
        job: &Running,
        settings: &Settings,
        lost: u64,
        outlook: Outlook,
        (attained, rate): (u64, u64),
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
            attained,
            rate,
            used: job.used.0,
            lost,
            outlook,
        };
        self.bounds = None;
        self.places.insert(job.id.clone(), self.members.len());
        self.members.push(member);
    }

    pub(super) fn remove(&mut self, job: &JobId) {
        let Some(at) = self.places.remove(job) else { return };
        self.bounds = None;
        self.members.swap_remove(at);
        if let Some(moved) = self.members.get(at) {
            self.places.insert(moved.id.clone(), at);
        }
    }

    /// Something else is expected of jobs of a project, or of all.
    pub(super) fn heed(&mut self, news_of_all: bool) {
        self.bounds.take_if(|bounds| !news_of_all || bounds.borrows);
    }

    /// It is `now`: what is true of all is found out anew if it is not known.
    pub(super) fn advance(&mut self, now: Timestamp, history: &History) {
        if self.bounds.is_some_and(|bounds| bounds.from <= now && now < bounds.until) {
            return;
        }
        let mut bounds = Bounds {
            from: now,
            until: Timestamp(u64::MAX),
            priority: None,
            value: 0,
            stretch: u64::MAX,
            next: None,
            borrows: false,
            grows: false,
        };
        for member in &self.members {
            if member.rested <= now && preempts(member.policy) {
                member.bound(now, history, &mut bounds);
            }
        }
        bounds.next = self.next(now);
        bounds.until = bounds.until.min(bounds.next.unwrap_or(bounds.until));
        self.bounds = Some(bounds);
        self.in_vain.clear();
    }

    /// Nobody was found of those that were asked for. As long as its bounds hold nobody gets more
    /// likely to be: what a stop loses grows, what is left to do does not.
    pub(super) fn remember(&mut self, ask: Ask) {
        if self.bounds.is_some_and(|bounds| !bounds.grows) {
            self.in_vain.retain(|known| !ask.covers(known));
            if self.in_vain.len() < REMEMBERED {
                self.in_vain.push(ask);
            }
        }
    }

    /// When time alone may change who may be stopped.
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let moves = self.members.iter().filter(|member| member.rested > now || !member.special);
        moves.map(|m| if m.rested > now { m.rested } else { m.bucket_end(now) }).min()
    }

    /// When time alone may change who may be stopped, if it is known that nobody is among those
    /// that are asked for.
    pub(super) fn nobody(&self, ask: &Ask, now: Timestamp) -> Option<Option<Timestamp>> {
        let bounds = self.bounds.filter(|bounds| bounds.from <= now && now < bounds.until)?;
        let nobody = match (ask, bounds.priority) {
            (Ask::All, _) => false,
            (_, None) => true,
            (Ask::WorthLess(worth), Some(lowest)) => {
                let worth_less = worth.value < bounds.value && worth.stretch >= bounds.stretch;
                worth.priority < lowest || (worth.priority == lowest && !worth_less)
            }
        };
        let nobody = nobody || self.in_vain.iter().any(|known| known.covers(ask));
        nobody.then_some(bounds.next)
    }

    /// Those that may not be stopped for some time, perhaps, because they had waited too long.
    pub(super) fn special(&self) -> impl Iterator<Item = &JobId> {
        self.members.iter().filter(|member| member.special).map(|member| &member.id)
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

    /// Everybody with its ranks, its start, and when it is predicted to end.
    pub(super) fn ends(
        &self,
        now: Timestamp,
        history: &History,
    ) -> impl Iterator<Item = Holder<'_>> {
        self.members.iter().map(move |member| {
            let left = member.outlook.remaining(member.ran(now), history);
            Holder {
                job: &member.id,
                gpus: member.gpus,
                started: member.started,
                ends: Timestamp(now.0.saturating_add(left)),
            }
        })
    }

    /// Whether somebody is among those that are asked for, by a look at each.
    pub(super) fn has(&self, ask: &Ask, now: Timestamp, history: &History) -> bool {
        let mut rested = self.members.iter().filter(|member| member.rested <= now);
        rested.any(|member| member.may_be(ask, now, history))
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
        for member in &self.members {
            if member.rested <= now && member.may_be(ask, now, history) {
                found(&member.id);
            }
        }
        match self.bounds {
            Some(bounds) if bounds.from <= now && now < bounds.until => bounds.next,
            _ => self.next(now),
        }
    }
}
