//! What runs so far say of how long jobs take. Of a job that says nothing of its progress this is
//! all that is known, and it is enough to order it well: the Gittins index of what it has had so
//! far is optimal where lengths are known as a distribution alone (Gittins 1979; for clusters,
//! Tiresias, NSDI '19, section 3.2). Those that still run count with what they have run so far
//! (Kaplan and Meier, 1958): who looks at those alone that have ended takes all jobs for short ones
//! while the long ones run. Counts are kept, so that it does not matter in which order runs ended.

mod classes;
mod lengths;

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{
    JobPhase, Millis, ProjectName, Timestamp,
    spec::{Speed, Speeds},
};

pub use self::classes::Alike;
use self::{
    classes::Classes,
    lengths::{Lengths, Pace, Together, next},
};
pub(in crate::placement) use self::{
    classes::{Kin, Who},
    lengths::{begin, bucket},
};
use super::{
    bars::{Bars, UpTo},
    forecast::times,
};
use crate::state::Job;

/// Specs of which runs are remembered, beside those of jobs that have run and not ended.
const SPECS: usize = 4096;

/// Specs that are looked at for one to forget.
const LOOKS: usize = 64;

/// A run that ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The queue that it counted against.
    pub project: ProjectName,
    /// Who submitted it.
    pub principal: String,
    /// Its ranks.
    pub gpus: u32,
    /// What it ran.
    pub alike: Alike,
    /// Its run time over all attempts.
    pub ran: Millis,
    /// That by the type of GPU, as far as it is known.
    pub ran_on: BTreeMap<String, Millis>,
    /// How fast it ran on which.
    pub speeds: Speeds,
    /// What its spec said of its run time at speed 1.
    pub estimate: Option<Millis>,
}

impl Past {
    /// The run of a job whose ranks have all ended well, if they have.
    #[must_use]
    pub fn of(job: &Job) -> Option<Self> {
        let well = matches!(job.phase, JobPhase::Finishing | JobPhase::Succeeded);
        well.then(|| Self {
            project: job.spec.project.clone(),
            principal: job.principal.clone(),
            gpus: job.spec.resources.gpus,
            alike: Alike::of(&job.spec, &job.principal),
            ran: job.used,
            ran_on: job.ran_on(),
            speeds: job.spec.resources.speed.clone(),
            estimate: job.spec.schedule.est_duration,
        })
    }

    /// The milliseconds that it would have taken at speed 1.
    pub(in crate::placement) fn work(&self) -> u64 {
        work(&self.ran_on, self.ran, &self.speeds)
    }
}

/// What was done in so much run time: the milliseconds that it takes at speed 1. Of what is not
/// known to be of any type that is what it took.
pub(in crate::placement) fn work(
    ran_on: &BTreeMap<String, Millis>,
    ran: Millis,
    speeds: &Speeds,
) -> u64 {
    if speeds.is_empty() {
        return ran.0;
    }
    let known = ran_on.values().fold(0_u64, |sum, ran| sum.saturating_add(ran.0));
    let of_type = |(model, ran): (&String, &Millis)| times(ran.0, speeds.on(model).milli(), 1000);
    let work = ran_on.iter().map(of_type).fold(0_u64, u64::saturating_add);
    work.saturating_add(ran.0.saturating_sub(known))
}

/// Runs by class and length.
#[derive(Debug, Clone, Default)]
pub(in crate::placement) struct History {
    classes: Classes,
    /// By the class's number.
    lengths: Vec<Lengths>,
    /// The classes of which more is known than was summed up.
    changed: BTreeSet<usize>,
    /// When running jobs come to their next bucket: of each class of which enough is known, those
    /// that began together.
    agenda: BTreeSet<(Timestamp, usize, Pace)>,
    /// As of when jobs have come so far.
    clock: Timestamp,
    /// Runs that were learned so far.
    turn: u64,
    /// The specs' classes of which runs have ended, by when the last was learned.
    lately: BTreeSet<(u64, usize)>,
    /// The specs' classes that nobody may be of any more.
    idle: BTreeSet<usize>,
    /// Those that were forgotten, of which some are still told.
    forgotten: Vec<usize>,
    /// How far off what was said of runs was.
    bars: Bars,
}

/// What is expected of a job, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::placement) struct Expected {
    /// The time that it will take still by the best plan to find out.
    pub(in crate::placement) left: u64,
    /// How long that plan goes: who has not ended by then is another matter.
    pub(in crate::placement) stretch: u64,
    /// What all but a tenth of its like need no longer than, where enough are known to tell.
    pub(in crate::placement) late: Option<u64>,
}

/// Of which jobs something else is expected than before. Of the widest class first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::placement) struct News {
    /// Of those of this project; of all, when absent.
    pub(in crate::placement) project: Option<ProjectName>,
    /// Of those of this class of runs.
    pub(in crate::placement) class: usize,
    /// Of those that run this alone.
    pub(in crate::placement) alike: Option<Alike>,
    /// Also of those that have not run yet.
    pub(in crate::placement) of_fresh: bool,
    /// Nothing was known of the class before, or nothing is any more.
    pub(in crate::placement) first: bool,
    /// Of those that are to be done by some time: what is said of them may be off by more or less.
    pub(in crate::placement) of_bars: bool,
}

impl News {
    const fn of_bars() -> Self {
        let class = usize::MAX;
        Self { project: None, class, alike: None, of_fresh: false, first: false, of_bars: true }
    }
}

impl History {
    /// Counts a run that has ended well.
    pub(in crate::placement) fn learn(&mut self, past: &Past) {
        let Past { project, principal, gpus, alike, .. } = past;
        let who = Who { project, principal, gpus: *gpus, alike: *alike };
        let (kin, work) = (self.kin(&who), past.work());
        let at = bucket(work);
        if let Some(estimate) = past.estimate {
            self.bars.estimates.note(estimate.0, work);
        }
        self.count(&kin, |lengths| {
            lengths.enter(0, at);
            lengths.ended.resize(lengths.ended.len().max(at + 1), 0);
            if let Some(ended) = lengths.ended.get_mut(at) {
                *ended = ended.saturating_add(1);
            }
            lengths.known = lengths.known.saturating_add(1);
        });
        self.remember(kin[0]);
    }

    /// More was learned of a spec's runs. The one of which least was heard lately is forgotten
    /// instead if there are too many, unless some of its jobs have run and not ended.
    fn remember(&mut self, class: usize) {
        let Some(lengths) = self.lengths.get_mut(class) else { return };
        self.turn += 1;
        let before = std::mem::replace(&mut lengths.learned, self.turn);
        self.lately.remove(&(before, class));
        self.lately.insert((self.turn, class));
        if self.lately.len() <= SPECS {
            return;
        }
        let nobody = |(_, class): &&(u64, usize)| {
            self.lengths.get(*class).is_none_or(|lengths| lengths.living == 0)
        };
        if let Some(oldest) = self.lately.iter().take(LOOKS).find(nobody).copied() {
            self.lately.remove(&oldest);
            self.classes.forget(oldest.1);
            self.forgotten.push(oldest.1);
        }
    }

    /// What was expected of a job that still had so much to do, and what that was.
    pub(in crate::placement) fn judge(&mut self, expected: u64, work: u64) {
        self.bars.steps.note(expected, work);
    }

    /// How far off what is said of runs may be.
    pub(super) const fn up_to(&self) -> UpTo {
        self.bars.told()
    }

    /// Counts a job that has run for so long and waits.
    pub(in crate::placement) fn enter(&mut self, kin: &Kin, at: usize) {
        self.count(kin, |lengths| {
            lengths.living += 1;
            lengths.enter(0, at);
        });
    }

    /// A job that had run for so long counts no more.
    pub(in crate::placement) fn leave(&mut self, kin: &Kin, at: usize) {
        self.count(kin, |lengths| {
            lengths.living = lengths.living.saturating_sub(1);
            lengths.leave(at);
        });
        self.idle.insert(kin[0]);
    }

    /// Counts a job that runs at some speed, since it began or as if it had run since then.
    pub(in crate::placement) fn begin(&mut self, kin: &Kin, origin: Timestamp, speed: Speed) {
        let (now, pace) = (self.clock, Pace { origin, speed });
        for class in kin {
            let Some(lengths) = self.lengths.get_mut(*class) else { continue };
            lengths.living += 1;
            let running = lengths.running.entry(pace).or_default();
            running.jobs += 1;
            if !lengths.follows {
                continue;
            }
            if running.jobs == 1 {
                running.bucket = bucket(pace.done(now));
                self.agenda.insert((next(pace, running.bucket), *class, pace));
            }
            let at = running.bucket;
            lengths.enter(0, at);
        }
        self.changes(kin);
    }

    /// A job that ran counts no more.
    pub(in crate::placement) fn end(&mut self, kin: &Kin, origin: Timestamp, speed: Speed) {
        let pace = Pace { origin, speed };
        self.idle.insert(kin[0]);
        for class in kin {
            let Some(lengths) = self.lengths.get_mut(*class) else { continue };
            let Some(running) = lengths.running.get_mut(&pace) else { continue };
            lengths.living = lengths.living.saturating_sub(1);
            running.jobs -= 1;
            let Together { jobs, bucket } = *running;
            if jobs == 0 {
                lengths.running.remove(&pace);
            }
            if lengths.follows {
                lengths.leave(bucket);
                if jobs == 0 {
                    self.agenda.remove(&(next(pace, bucket), *class, pace));
                }
            }
        }
        self.changes(kin);
    }

    /// It is `now`: those that run have come further. They go from bucket to bucket together that
    /// began together.
    pub(in crate::placement) fn advance(&mut self, now: Timestamp) {
        self.clock = now;
        while let Some((at, class, pace)) = self.agenda.first().copied()
            && at <= now
        {
            self.agenda.pop_first();
            let Some(lengths) = self.lengths.get_mut(class) else { continue };
            let Some(running) = lengths.running.get_mut(&pace) else { continue };
            let from = running.bucket + 1;
            running.bucket = bucket(pace.done(now)).max(from);
            let Together { jobs, bucket } = *running;
            lengths.enter_all(from, bucket, jobs);
            self.agenda.insert((next(pace, bucket), class, pace));
            self.changed.insert(class);
        }
    }

    fn count(&mut self, kin: &Kin, count: impl Fn(&mut Lengths)) {
        for class in kin {
            self.lengths.get_mut(*class).into_iter().for_each(&count);
        }
        self.changes(kin);
    }

    /// More is known of a job's classes.
    fn changes(&mut self, kin: &Kin) {
        let is_enough = |at: usize, class: usize| {
            self.lengths.get(class).is_some_and(|lengths| lengths.is_enough(at == 0))
        };
        let changed = kin.iter().enumerate().filter(|(at, class)| is_enough(*at, **class));
        self.changed.extend(changed.map(|(_, class)| *class));
    }

    /// The classes of a job.
    pub(in crate::placement) fn kin(&mut self, who: &Who<'_>) -> Kin {
        let kin = self.classes.number(who);
        self.lengths.resize_with(self.classes.count(), Lengths::default);
        kin
    }

    /// From now on expects what follows from all that was counted. Says of whom that is something
    /// else than before.
    pub(in crate::placement) fn sum_up(&mut self) -> Vec<News> {
        let mut news = self.tidy();
        if self.bars.sum_up() {
            news.push(News::of_bars());
        }
        for class in std::mem::take(&mut self.changed) {
            let Some(lengths) = self.lengths.get_mut(class) else { continue };
            let Some(of_class) = self.classes.get(class) else { continue };
            let agenda = lengths.follow(self.clock).into_iter();
            self.agenda.extend(agenda.map(|(at, pace)| (at, class, pace)));
            let expected = lengths.expect(of_class.alike.is_some());
            if expected != lengths.expected {
                let of_fresh = expected.first() != lengths.expected.first();
                let first = lengths.expected.is_empty();
                let (project, alike) = (of_class.project.clone(), of_class.alike);
                let of_bars = false;
                news.push(News { project, class, alike, of_fresh, first, of_bars });
                lengths.expected = expected;
            }
        }
        news.sort_unstable();
        news
    }

    /// Forgets classes of specs of which nobody is. Says whose jobs were told by one of them.
    fn tidy(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        for class in std::mem::take(&mut self.forgotten) {
            let lengths = self.lengths.get_mut(class).map(std::mem::take).unwrap_or_default();
            let of_class = self.classes.get(class).cloned().unwrap_or_default();
            if !lengths.expected.is_empty() {
                let (project, alike) = (of_class.project, of_class.alike);
                let (of_fresh, first, of_bars) = (true, true, false);
                news.push(News { project, class, alike, of_fresh, first, of_bars });
            }
            self.changed.remove(&class);
            self.idle.remove(&class);
            self.classes.reuse(class);
        }
        for class in std::mem::take(&mut self.idle) {
            let Some(lengths) = self.lengths.get_mut(class) else { continue };
            let is_spec = self.classes.is_of_spec(class);
            if is_spec && lengths.living == 0 && lengths.known == 0 {
                *lengths = Lengths::default();
                self.classes.forget(class);
                self.classes.reuse(class);
            }
        }
        news
    }

    /// What is expected of a job after it did so many milliseconds of work: the least that a
    /// quantum of service is expected to cost for each chance that the job ends within it. Of jobs
    /// of which nothing is known nothing is said.
    pub(in crate::placement) fn effective(&self, who: &Who<'_>, work: u64) -> Option<Expected> {
        let of_class = |class: Option<usize>| self.believed(class?);
        told(self.classes.find(who).map(of_class), bucket(work)).map(|(_, expected)| expected)
    }

    /// The same for a job of these classes.
    pub(in crate::placement) fn effective_of(&self, kin: &Kin, work: u64) -> Option<Expected> {
        let of_class = |class: usize| self.believed(class);
        told(kin.map(of_class), bucket(work)).map(|(_, expected)| expected)
    }

    /// The class of runs that tells of a job of these that has not run, if any does.
    pub(in crate::placement) fn teller(&self, who: &Who<'_>) -> Option<usize> {
        let mut classes = self.classes.find(who).into_iter().flatten();
        classes.find(|class| self.believed(*class).is_some())
    }

    /// Whether enough is known of a project's jobs to ask nobody else's.
    pub(in crate::placement) fn knows(&self, project: &ProjectName) -> bool {
        self.classes.of_project(project).and_then(|class| self.believed(class)).is_some()
    }

    /// Whether what is expected of a job of these classes that did so much may come from runs of
    /// other projects.
    pub(in crate::placement) fn borrows(&self, kin: &Kin, work: u64) -> bool {
        let known = kin.map(|class| self.believed(class));
        match told(known, bucket(work)) {
            Some((at, _)) => at + 1 == known.len(),
            None => known.iter().skip(1).rev().skip(1).all(Option::is_none),
        }
    }

    /// What is known of a class, if that is enough.
    fn believed(&self, class: usize) -> Option<&Lengths> {
        // Nothing is expected of anybody before enough are known.
        self.lengths.get(class).filter(|lengths| !lengths.expected.is_empty())
    }
}

/// What the first class that is believed says, and which it is. Of one spec few runs are known:
/// what has run for longer than all of them is asked of the next.
fn told(known: [Option<&Lengths>; 5], at: usize) -> Option<(usize, Expected)> {
    let says = |lengths: &Lengths| lengths.expected.get(at).copied().flatten();
    let [of_spec, wider @ ..] = known;
    if let Some(expected) = of_spec.and_then(says) {
        return Some((0, expected));
    }
    let (at, lengths) = wider.into_iter().enumerate().find_map(|(at, k)| Some((at + 1, k?)))?;
    Some((at, says(lengths)?))
}

#[cfg(test)]
mod tests;
