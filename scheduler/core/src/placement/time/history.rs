//! Earlier runs, counted by how long they took. Of a job that says nothing of its progress this is
//! all that is known, and it is enough to order it well: the Gittins index of what it has had so
//! far is optimal where lengths are known as a distribution alone (Gittins 1979; for clusters,
//! Tiresias, NSDI '19, section 3.2). Counts alone are kept, so that it does not matter in which
//! order runs ended.

use std::{collections::BTreeMap, sync::OnceLock};

use trainyard_jobs::{JobPhase, Millis, ProjectName};

use crate::state::Job;

/// Runs that have to be known before a finer class is believed.
const ENOUGH: u32 = 8;

/// Lengths fall into buckets, two to each doubling, from a second on.
const BUCKETS: usize = 64;

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
    count: usize,
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
    /// By the class's number; nothing of those of which no run is known.
    lengths: Vec<Option<Box<Lengths>>>,
}

/// The numbers of a job's classes, the finest first: its user's jobs of its size, its project's of
/// its size, its project's, all.
pub(in crate::placement) type Kin = [usize; 4];

/// Of which jobs something else is expected than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::placement) enum News {
    Nothing,
    /// Of those of the run's project.
    OfProject,
    OfAll,
}

#[derive(Debug, Clone)]
struct Lengths {
    counts: [u32; BUCKETS],
    all: u32,
    /// The most that is expected of a job whose run time falls into each bucket.
    most: OnceLock<[Option<u64>; BUCKETS]>,
}

impl Default for Lengths {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], all: 0, most: OnceLock::new() }
    }
}

/// Jobs of about as many ranks are of one size.
fn size(gpus: u32) -> u32 {
    gpus.max(1).ilog2()
}

impl Classes {
    /// The numbers of a job's classes; those that it is the first of are counted on.
    fn number(&mut self, project: &ProjectName, principal: &str, gpus: u32) -> Kin {
        let (count, size) = (&mut self.count, size(gpus));
        let mut next = || {
            *count += 1;
            *count - 1
        };
        let all = *self.all.get_or_insert_with(&mut next);
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
    /// Counts a run. Says of which jobs that have not run yet that changes what is expected.
    pub(in crate::placement) fn learn(&mut self, past: &Past) -> News {
        let mut news = News::Nothing;
        let kin = self.kin(&past.project, &past.principal, past.gpus);
        let whose = [News::OfProject, News::OfProject, News::OfProject, News::OfAll];
        for (class, whose) in kin.into_iter().zip(whose) {
            let Some(lengths) = self.lengths.get_mut(class) else { continue };
            let lengths = lengths.get_or_insert_default();
            let before = lengths.fresh();
            lengths.add(past.ran.0);
            if before != lengths.fresh() {
                news = news.max(whose);
            }
        }
        news
    }

    /// The classes of a job.
    pub(in crate::placement) fn kin(
        &mut self,
        project: &ProjectName,
        principal: &str,
        gpus: u32,
    ) -> Kin {
        let kin = self.classes.number(project, principal, gpus);
        self.lengths.resize(self.classes.count, None);
        kin
    }

    /// No less than [`History::effective`] says of a job of these classes.
    pub(in crate::placement) fn most(&self, kin: &Kin, ran: u64) -> Option<u64> {
        kin.iter().find_map(|class| self.believed(*class))?.most(ran)
    }

    /// The time that a job will take still by the best plan to find out, after it ran `ran`
    /// milliseconds: the least that a quantum of service is expected to cost for each chance that
    /// the job ends within it. Of jobs of which nothing is known nothing is said.
    pub(in crate::placement) fn effective(
        &self,
        project: &ProjectName,
        principal: &str,
        gpus: u32,
        ran: u64,
    ) -> Option<u64> {
        let classes = self.classes.find(project, principal, gpus);
        let lengths = classes.into_iter().flatten().find_map(|class| self.believed(class))?;
        // Most jobs that wait have not run.
        if ran == 0 { lengths.most(0) } else { lengths.effective(ran) }
    }

    /// What is known of a class, if that is enough.
    fn believed(&self, class: usize) -> Option<&Lengths> {
        self.lengths.get(class)?.as_deref().filter(|lengths| lengths.is_enough())
    }
}

/// The bucket that a length falls into.
fn bucket(ran: u64) -> usize {
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

impl Lengths {
    fn add(&mut self, ran: u64) {
        if let Some(count) = self.counts.get_mut(bucket(ran)) {
            *count = count.saturating_add(1);
            self.all = self.all.saturating_add(1);
            self.most = OnceLock::new();
        }
    }

    const fn is_enough(&self) -> bool {
        self.all >= ENOUGH
    }

    /// No less than [`Lengths::effective`]: within a bucket a longer run is nearer to its end.
    fn most(&self, ran: u64) -> Option<u64> {
        let start = |at: usize| at.checked_sub(1).map_or(0, end);
        let most = self.most.get_or_init(|| std::array::from_fn(|at| self.effective(start(at))));
        most.get(bucket(ran)).copied().flatten()
    }

    /// What is expected of a job that has not run yet.
    fn fresh(&self) -> Option<u64> {
        self.is_enough().then(|| self.effective(0)).flatten()
    }

    fn effective(&self, ran: u64) -> Option<u64> {
        let first = bucket(ran);
        let later = || self.counts.iter().enumerate().skip(first);
        let left: u64 = later().map(|(_, count)| u64::from(*count)).sum();
        if left == 0 {
            return None;
        }
        // After each bucket: who would have ended within it, and what that had cost.
        let (mut ended, mut spent, mut from) = (0_u64, 0_u128, ran);
        let mut best: Option<u128> = None;
        for (at, count) in later() {
            let until = end(at).max(from);
            let staying = left - ended;
            // Those that end in a bucket do so in its middle.
            let (here, width) = (u64::from(*count), until - from);
            spent += u128::from(staying - here) * u128::from(width);
            spent += u128::from(here) * u128::from(width / 2);
            ended += here;
            from = until;
            if ended > 0 {
                let cost = spent / u128::from(ended);
                best = Some(best.map_or(cost, |best| best.min(cost)));
            }
            if ended == left {
                break;
            }
        }
        best.map(|cost| coarse(u64::try_from(cost).unwrap_or(u64::MAX)))
    }
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
        history.effective(&"p".parse().unwrap(), "ada", 1, ran * 1000).map(|ms| ms / 1000)
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
    fn no_job_of_a_bucket_is_expected_to_run_longer_than_its_first() {
        let mut history = history(&[(3, 40), (60, 9), (700, 20), (5000, 8), (100_000, 3)]);
        let (project, user) = ("p".parse().unwrap(), "ada");
        let kin = history.kin(&project, user, 1);
        for ran in (0..200_000_000).step_by(9973) {
            let exact = history.effective(&project, user, 1, ran);
            let most = history.most(&kin, ran);
            assert_eq!(exact.is_some(), most.is_some(), "{ran}");
            assert!(exact <= most, "{ran}: {exact:?} {most:?}");
        }
    }

    #[test]
    fn the_order_in_which_runs_ended_does_not_matter() {
        let (a, b) = (history(&[(10, 9), (500, 9)]), history(&[(500, 9), (10, 9)]));
        for ran in [0, 5, 20, 400] {
            assert_eq!(effective(&a, ran), effective(&b, ran));
        }
    }
}
