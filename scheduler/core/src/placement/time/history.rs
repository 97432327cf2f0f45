//! What runs so far say of how long jobs take. Of a job that says nothing of its progress this is
//! all that is known, and it is enough to order it well: the Gittins index of what it has had so
//! far is optimal where lengths are known as a distribution alone (Gittins 1979; for clusters,
//! Tiresias, NSDI '19, section 3.2). Those that still run count with what they have run so far
//! (Kaplan and Meier, 1958): who looks at those alone that have ended takes all jobs for short ones
//! while the long ones run. Counts are kept, so that it does not matter in which order runs ended.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{JobPhase, Millis, ProjectName, Timestamp};

use crate::state::Job;

/// Runs that have to be known before a finer class is believed.
const ENOUGH: u32 = 8;

/// Lengths fall into buckets, two to each doubling, from a second on.
const BUCKETS: usize = 64;

/// All jobs of a class, in the fixed point in which those are counted that are left of them.
const WHOLE: u128 = 1 << 40;

/// A run that ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The queue that it counted against.
    pub project: ProjectName,
    /// Who submitted it.
    pub principal: String,
    /// Its ranks.
    pub gpus: u32,
    /// Its run time over all attempts.
    pub ran: Millis,
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
            ran: job.used,
        })
    }
}

/// The numbers of the classes of runs, by what runs have in common that are likely to take alike.
#[derive(Debug, Clone, Default)]
struct Classes {
    /// The project of each; none of the one that has all.
    projects_of: Vec<Option<ProjectName>>,
    all: Option<usize>,
    projects: BTreeMap<ProjectName, OfProject>,
}

#[derive(Debug, Clone)]
struct OfProject {
    all: usize,
    sizes: BTreeMap<u32, usize>,
    users: BTreeMap<String, BTreeMap<u32, usize>>,
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
    agenda: BTreeSet<(Timestamp, usize, Timestamp)>,
    /// As of when jobs have come so far.
    clock: Timestamp,
}

/// The numbers of a job's classes, the finest first: its user's jobs of its size, its project's of
/// its size, its project's, all.
pub(in crate::placement) type Kin = [usize; 4];

/// Runs of one class. There are many classes of few runs: none has more than it needs.
#[derive(Debug, Clone, Default)]
struct Lengths {
    /// Jobs whose run time came into each bucket: those that ended in it or later, and those that
    /// have come so far.
    entered: Vec<u32>,
    /// Those of them that ended in it, and well.
    ended: Vec<u32>,
    /// All that ended well.
    known: u32,
    /// Jobs that run, by when they began, or would have if they had run all along.
    running: BTreeMap<Timestamp, Together>,
    /// Those that run are among those that entered their buckets.
    follows: bool,
    /// What is expected of a job whose run time is in each bucket, as of the last [`History::sum_up`].
    expected: Vec<Option<Expected>>,
}

/// Jobs of a class that began together, and the bucket that they have come to.
#[derive(Debug, Clone, Copy, Default)]
struct Together {
    jobs: u32,
    bucket: usize,
}

/// What is expected of a job, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::placement) struct Expected {
    /// The time that it will take still by the best plan to find out.
    pub(in crate::placement) left: u64,
    /// How long that plan goes: who has not ended by then is another matter.
    pub(in crate::placement) stretch: u64,
}

/// Of which jobs something else is expected than before. Of the widest class first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::placement) struct News {
    /// Of those of this project; of all, when absent.
    pub(in crate::placement) project: Option<ProjectName>,
    /// Of those of this class of runs.
    pub(in crate::placement) class: usize,
    /// Also of those that have not run yet.
    pub(in crate::placement) of_fresh: bool,
    /// Nothing was known of the class before.
    pub(in crate::placement) first: bool,
}

/// Jobs of about as many ranks are of one size.
fn size(gpus: u32) -> u32 {
    gpus.max(1).ilog2()
}

impl Classes {
    /// The numbers of a job's classes; those that it is the first of are counted on.
    fn number(&mut self, project: &ProjectName, principal: &str, gpus: u32) -> Kin {
        let (known, size) = (&mut self.projects_of, size(gpus));
        let mut next = |project: Option<&ProjectName>| {
            known.push(project.cloned());
            known.len() - 1
        };
        let all = *self.all.get_or_insert_with(|| next(None));
        let mut next = || next(Some(project));
        let of_project = match self.projects.get_mut(project) {
            Some(known) => known,
            None => self.projects.entry(project.clone()).or_insert_with(|| OfProject {
                all: next(),
                sizes: BTreeMap::new(),
                users: BTreeMap::new(),
            }),
        };
        let of_size = *of_project.sizes.entry(size).or_insert_with(&mut next);
        let of_user = match of_project.users.get_mut(principal) {
            Some(known) => known,
            None => of_project.users.entry(principal.to_owned()).or_default(),
        };
        let of_user = *of_user.entry(size).or_insert_with(&mut next);
        [of_user, of_size, of_project.all, all]
    }

    /// The numbers of those of a job's classes that have one.
    fn find(&self, project: &ProjectName, principal: &str, gpus: u32) -> [Option<usize>; 4] {
        let size = size(gpus);
        let Some(of_project) = self.projects.get(project) else {
            return [None, None, None, self.all];
        };
        let of_user = of_project.users.get(principal).and_then(|sizes| sizes.get(&size));
        let of_size = of_project.sizes.get(&size);
        [of_user.copied(), of_size.copied(), Some(of_project.all), self.all]
    }
}

impl History {
    /// Counts a run that has ended well.
    pub(in crate::placement) fn learn(&mut self, past: &Past) {
        let kin = self.kin(&past.project, &past.principal, past.gpus);
        let at = bucket(past.ran.0);
        self.count(&kin, |lengths| {
            lengths.enter(0, at);
            lengths.ended.resize(lengths.ended.len().max(at + 1), 0);
            if let Some(ended) = lengths.ended.get_mut(at) {
                *ended = ended.saturating_add(1);
            }
            lengths.known = lengths.known.saturating_add(1);
        });
    }

    /// Counts a job that has run for so long and waits.
    pub(in crate::placement) fn enter(&mut self, kin: &Kin, at: usize) {
        self.count(kin, |lengths| lengths.enter(0, at));
    }

    /// A job that had run for so long counts no more.
    pub(in crate::placement) fn leave(&mut self, kin: &Kin, at: usize) {
        self.count(kin, |lengths| lengths.leave(at));
    }

    /// Counts a job that runs, since it began or as if it had run since then.
    pub(in crate::placement) fn begin(&mut self, kin: &Kin, origin: Timestamp) {
        let now = self.clock;
        for class in kin {
            let Some(lengths) = self.lengths.get_mut(*class) else { continue };
            let running = lengths.running.entry(origin).or_default();
            running.jobs += 1;
            if !lengths.follows {
                continue;
            }
            if running.jobs == 1 {
                running.bucket = bucket(now.since(origin).0);
                self.agenda.insert((next(origin, running.bucket), *class, origin));
            }
            let at = running.bucket;
            lengths.enter(0, at);
        }
        self.changes(kin);
    }

    /// A job that ran counts no more.
    pub(in crate::placement) fn end(&mut self, kin: &Kin, origin: Timestamp) {
        for class in kin {
            let Some(lengths) = self.lengths.get_mut(*class) else { continue };
            let Some(running) = lengths.running.get_mut(&origin) else { continue };
            running.jobs -= 1;
            let Together { jobs, bucket } = *running;
            if jobs == 0 {
                lengths.running.remove(&origin);
            }
            if lengths.follows {
                lengths.leave(bucket);
                if jobs == 0 {
                    self.agenda.remove(&(next(origin, bucket), *class, origin));
                }
            }
        }
        self.changes(kin);
    }

    /// It is `now`: those that run have come further. They go from bucket to bucket together that
    /// began together.
    pub(in crate::placement) fn advance(&mut self, now: Timestamp) {
        self.clock = now;
        while let Some((at, class, origin)) = self.agenda.first().copied()
            && at <= now
        {
            self.agenda.pop_first();
            let Some(lengths) = self.lengths.get_mut(class) else { continue };
            let Some(running) = lengths.running.get_mut(&origin) else { continue };
            let from = running.bucket + 1;
            running.bucket = bucket(now.since(origin).0).max(from);
            let Together { jobs, bucket } = *running;
            lengths.enter_all(from, bucket, jobs);
            self.agenda.insert((next(origin, bucket), class, origin));
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
        let enough = |class: &&usize| self.lengths.get(**class).is_some_and(Lengths::is_enough);
        self.changed.extend(kin.iter().filter(enough));
    }

    /// The classes of a job.
    pub(in crate::placement) fn kin(
        &mut self,
        project: &ProjectName,
        principal: &str,
        gpus: u32,
    ) -> Kin {
        let kin = self.classes.number(project, principal, gpus);
        self.lengths.resize_with(self.classes.projects_of.len(), Lengths::default);
        kin
    }

    /// From now on expects what follows from all that was counted. Says of whom that is something
    /// else than before.
    pub(in crate::placement) fn sum_up(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        for class in std::mem::take(&mut self.changed) {
            let Some(lengths) = self.lengths.get_mut(class) else { continue };
            let agenda = lengths.follow(self.clock).into_iter();
            self.agenda.extend(agenda.map(|(at, origin)| (at, class, origin)));
            let expected = lengths.expect();
            if expected != lengths.expected {
                let of_fresh = expected.first() != lengths.expected.first();
                let first = lengths.expected.is_empty();
                let project = self.classes.projects_of.get(class).cloned().flatten();
                news.push(News { project, class, of_fresh, first });
                lengths.expected = expected;
            }
        }
        news.sort_unstable();
        news
    }

    /// What is expected of a job after it ran `ran` milliseconds: the least that a quantum of
    /// service is expected to cost for each chance that the job ends within it. Of jobs of which
    /// nothing is known nothing is said.
    pub(in crate::placement) fn effective(
        &self,
        project: &ProjectName,
        principal: &str,
        gpus: u32,
        ran: u64,
    ) -> Option<Expected> {
        let classes = self.classes.find(project, principal, gpus);
        self.expected(classes.into_iter().flatten(), ran)
    }

    /// The same for a job of these classes.
    pub(in crate::placement) fn effective_of(&self, kin: &Kin, ran: u64) -> Option<Expected> {
        self.expected(kin.iter().copied(), ran)
    }

    fn expected(&self, mut classes: impl Iterator<Item = usize>, ran: u64) -> Option<Expected> {
        let at = bucket(ran);
        let believed = classes.find_map(|class| self.believed(class));
        believed.and_then(|lengths| lengths.expected.get(at).copied().flatten())
    }

    /// The class of runs that tells of a job of these, if any does.
    pub(in crate::placement) fn teller(
        &self,
        project: &ProjectName,
        principal: &str,
        gpus: u32,
    ) -> Option<usize> {
        let mut classes = self.classes.find(project, principal, gpus).into_iter().flatten();
        classes.find(|class| self.believed(*class).is_some())
    }

    /// Whether enough is known of a project's jobs to ask nobody else's.
    pub(in crate::placement) fn knows(&self, project: &ProjectName) -> bool {
        let class = self.classes.projects.get(project).map(|known| known.all);
        class.and_then(|class| self.believed(class)).is_some()
    }

    /// Whether what is expected of a job of these classes is what is expected of all.
    pub(in crate::placement) fn borrows(&self, kin: &Kin) -> bool {
        let [of_user, of_size, of_project, _] = kin;
        [of_user, of_size, of_project].iter().all(|class| self.believed(**class).is_none())
    }

    /// What is known of a class, if that is enough.
    fn believed(&self, class: usize) -> Option<&Lengths> {
        // Nothing is expected of anybody before enough are known.
        self.lengths.get(class).filter(|lengths| !lengths.expected.is_empty())
    }
}

/// The bucket that a run time falls into.
pub(in crate::placement) fn bucket(ran: u64) -> usize {
    let doublings = (ran / 1000).checked_ilog2().unwrap_or(0);
    let first = usize::try_from(2 * doublings).unwrap_or(BUCKETS);
    (first..BUCKETS - 1).find(|at| ran < end(*at)).unwrap_or(BUCKETS - 1)
}

/// Where a bucket ends, in milliseconds.
fn end(bucket: usize) -> u64 {
    let at = u32::try_from(bucket + 1).unwrap_or(u32::MAX);
    let whole = 1000_u64.saturating_mul(1_u64.checked_shl(at / 2).unwrap_or(u64::MAX));
    // Half a doubling is the square root of two.
    if at.is_multiple_of(2) { whole } else { whole.saturating_mul(1414) / 1000 }
}

/// The number's place in steps of the square root of two: finer differences between expectations
/// are noise.
fn coarse(ms: u64) -> u64 {
    end(bucket(ms))
}

/// When those come to their next bucket that began then and are in this one.
fn next(origin: Timestamp, bucket: usize) -> Timestamp {
    Timestamp(origin.0.saturating_add(begin(bucket + 1)))
}

/// The run time at which a bucket begins.
pub(in crate::placement) fn begin(bucket: usize) -> u64 {
    bucket.checked_sub(1).map_or(0, end)
}

impl Lengths {
    fn is_enough(&self) -> bool {
        self.known >= ENOUGH
    }

    /// A job has come from one bucket to another.
    fn enter(&mut self, from: usize, to: usize) {
        self.enter_all(from, to, 1);
    }

    fn enter_all(&mut self, from: usize, to: usize, jobs: u32) {
        self.entered.resize(self.entered.len().max(to + 1), 0);
        for entered in self.entered.iter_mut().take(to + 1).skip(from) {
            *entered = entered.saturating_add(jobs);
        }
    }

    /// A job that had come to a bucket counts no more.
    fn leave(&mut self, at: usize) {
        for entered in self.entered.iter_mut().take(at + 1) {
            *entered = entered.saturating_sub(1);
        }
    }

    /// From now on those that run are counted as they come from bucket to bucket. Says when they
    /// come to their next, if they were not counted before.
    fn follow(&mut self, now: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let mut agenda = Vec::new();
        if !std::mem::replace(&mut self.follows, true) {
            for (origin, together) in std::mem::take(&mut self.running) {
                let bucket = bucket(now.since(origin).0);
                self.enter_all(0, bucket, together.jobs);
                self.running.insert(origin, Together { bucket, ..together });
                agenda.push((next(origin, bucket), origin));
            }
        }
        agenda
    }

    /// What is expected of a job whose run time is in each bucket.
    ///
    /// Seen from the beginning, so many are left at the begin of each bucket, and so much time was
    /// spent on them until then. Between two buckets the time for each that ends is the slope from
    /// one point to the other, so the best plan from a bucket is its tangent to what comes later.
    fn expect(&self) -> Vec<Option<Expected>> {
        if !self.is_enough() {
            return Vec::new();
        }
        let (mut left, mut spent) = (WHOLE, 0);
        let mut points = vec![(left, spent)];
        for at in 0..BUCKETS {
            let Some(part) = self.part_that_ends(at, left) else { break };
            // Those that end in a bucket do so in its middle.
            spent += (left - part / 2) * u128::from(end(at) - begin(at));
            left -= part;
            points.push((left, spent));
        }
        // The lower hull of what comes later, from right to left.
        let mut expected = vec![None; points.len()];
        let mut hull: Vec<(usize, (u128, u128))> = Vec::new();
        for (at, point) in points.iter().enumerate().rev() {
            while let [.., (_, second), (_, first)] = hull.as_slice()
                && slope(*point, *first) >= slope(*first, *second)
            {
                hull.pop();
            }
            let best = hull.last().and_then(|(next, to)| Some((next, slope(*point, *to).ok()?)));
            if let (Some((next, cost)), Some(expected)) = (best, expected.get_mut(at)) {
                let left = coarse(u64::try_from(cost).unwrap_or(u64::MAX));
                *expected = Some(Expected { left, stretch: begin(*next) - begin(at) });
            }
            hull.push((at, *point));
        }
        expected
    }

    /// What part of those `left` that come into a bucket ends in it; nothing if nobody has come so
    /// far.
    fn part_that_ends(&self, at: usize, left: u128) -> Option<u128> {
        let (time, ended, inside) = self.seen_in(at)?;
        let (time, ended) = match at.checked_sub(1).and_then(|before| self.seen_in(before)) {
            // Of those that have come furthest too little was seen: they go on as they did.
            Some((more, others, _)) if inside > 0 && self.seen_in(at + 1).is_none() => {
                (time + more, ended + others)
            }
            _ => (time, ended),
        };
        let width = u128::from(end(at) - begin(at));
        // As many as end at this rate, by the middle of the bucket on average.
        let part = left * 2 * ended * width / (2 * time + ended * width).max(1);
        Some(part.min(left))
    }

    /// Of those that came into a bucket: the milliseconds that they were seen to run in it, how
    /// many ended in it, and how many are in it now and have seen half of it.
    fn seen_in(&self, at: usize) -> Option<(u128, u128, u128)> {
        let entered = self.entered.get(at).filter(|entered| **entered > 0)?;
        let ended = self.ended.get(at).copied().unwrap_or_default();
        let further = self.entered.get(at + 1).copied().unwrap_or_default();
        let inside = entered.saturating_sub(ended).saturating_sub(further);
        let width = u128::from(end(at) - begin(at));
        let halves = u128::from(ended) + u128::from(inside);
        let time = u128::from(further) * width + halves * width / 2;
        Some((time, u128::from(ended), u128::from(inside)))
    }
}

/// The milliseconds for each that ends between two points; an error, more than any, when none does.
fn slope(from: (u128, u128), to: (u128, u128)) -> Result<u128, ()> {
    (to.1 - from.1).checked_div(from.0 - to.0).ok_or(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(runs: &[(u64, usize)]) -> History {
        let mut history = History::default();
        for (seconds, times) in runs {
            for _ in 0..*times {
                history.learn(&Past {
                    project: "p".parse().unwrap(),
                    principal: "ada".into(),
                    gpus: 1,
                    ran: Millis(seconds * 1000),
                });
            }
        }
        history
    }

    fn effective(history: &History, ran: u64) -> Option<u64> {
        let mut history = history.clone();
        history.sum_up();
        let expected = history.effective(&"p".parse().unwrap(), "ada", 1, ran * 1000);
        expected.map(|expected| expected.left / 1000)
    }

    #[test]
    fn buckets_grow_by_half_doublings() {
        for at in 0..BUCKETS - 1 {
            assert_eq!((bucket(end(at) - 1), bucket(end(at))), (at, at + 1));
            assert!(end(at) < end(at + 1));
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn little_is_believed_of_few_runs() {
        assert_eq!(effective(&history(&[(100, 7)]), 0), None);
        assert!(effective(&history(&[(100, 8)]), 0).is_some());
    }

    #[test]
    fn of_short_and_long_runs_a_new_job_is_tried_first_and_an_old_one_last() {
        let mixed = history(&[(60, 90), (100_000, 10)]);
        let fresh = effective(&mixed, 0).unwrap();
        assert!(fresh < 120, "most end within a minute: {fresh}");
        let old = effective(&mixed, 1000).unwrap();
        assert!(old > 50_000, "who did not is one of the long ones: {old}");
        let nearly = effective(&mixed, 90_000).unwrap();
        assert!(nearly < old, "and has less before it later on: {nearly}");
    }

    #[test]
    fn those_that_still_run_count_with_what_they_have_run() {
        let ended = [(60, 8)];
        let alone = effective(&history(&ended), 0).unwrap();
        let mut among_many = history(&ended);
        let project = "p".parse().unwrap();
        let kin = among_many.kin(&project, "ada", 1);
        for _ in 0..792 {
            among_many.enter(&kin, bucket(90_000));
        }
        let fresh = effective(&among_many, 0).unwrap();
        assert!(fresh > 50 * alone, "one in a hundred ends in a minute: {alone} {fresh}");
        for _ in 0..792 {
            among_many.leave(&kin, bucket(90_000));
        }
        assert_eq!(effective(&among_many, 0), Some(alone), "as if they had never been");
    }

    #[test]
    fn a_plan_to_find_out_goes_as_far_as_jobs_are_likely_to_end() {
        let mut mixed = history(&[(60, 90), (100_000, 10)]);
        mixed.sum_up();
        let fresh = mixed.effective(&"p".parse().unwrap(), "ada", 1, 0).unwrap();
        assert_eq!(fresh.stretch, 64_000, "the end of the bucket of a minute");
    }

    #[test]
    fn the_order_in_which_runs_ended_does_not_matter() {
        let (a, b) = (history(&[(10, 9), (500, 9)]), history(&[(500, 9), (10, 9)]));
        for ran in [0, 5, 20, 400] {
            assert_eq!(effective(&a, ran), effective(&b, ran));
        }
    }
}
