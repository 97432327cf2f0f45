//! How long a job has still to run: from its own progress; else from what its spec says; else from
//! earlier runs like it; else from its limit. Each is worse than the one before, and none is
//! believed once the job has shown it to be wrong.

use trainyard_jobs::{Millis, Timestamp, spec::Speed};

use super::history::{History, Who};
use crate::placement::running::Progress;

/// What is expected of a job of which nothing at all is known.
pub(super) const UNKNOWN: u64 = 3_600_000;

/// An expectation of which nothing was said by the job may be so many times too high.
pub(super) const UNSURE: u64 = 2;

/// A prediction never says that a running job is about to end at once.
pub(super) const LEAST: u64 = 1000;

/// What others' runs make one expect is hardly exceeded by more than this, in thousandths, as long
/// as too few of them are known.
const REST_UP_TO: u64 = 2000;

/// What a job said of its progress, with the run time that it had had then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::placement) struct Seen {
    pub(in crate::placement) done: u64,
    pub(in crate::placement) total: Option<u64>,
    pub(in crate::placement) ran: u64,
    /// When it said so.
    pub(in crate::placement) at: Timestamp,
    /// What it did in that run time: the milliseconds that it would have taken at speed 1.
    pub(in crate::placement) work: u64,
    /// What it had done about half-way, and what it made one expect then that was left of that.
    pub(in crate::placement) half: Option<(u64, u64)>,
}

/// What is known of a job.
#[derive(Debug, Clone, Copy)]
pub(in crate::placement) struct Facts<'a> {
    pub(in crate::placement) who: Who<'a>,
    /// Its run time so far, over all attempts.
    pub(in crate::placement) ran: u64,
    /// What it did in that: the milliseconds that it would have taken at speed 1.
    pub(in crate::placement) work: u64,
    /// What its spec says of its run time at speed 1.
    pub(in crate::placement) estimate: Option<Millis>,
    /// Run time that its limit leaves it.
    pub(in crate::placement) time_left: Option<Millis>,
    pub(in crate::placement) seen: Option<Seen>,
    /// How fast it runs, or can be counted on to run.
    pub(in crate::placement) speed: Speed,
}

impl Seen {
    /// What a job says now that has run for `ran` in all, at this speed since it said something
    /// the last time.
    pub(in crate::placement) fn of(
        Progress { done, total, at }: Progress,
        ran: u64,
        speed: Speed,
        before: Option<&Self>,
    ) -> Self {
        let (ran_then, work_then) = before.map_or((0, 0), |seen| (seen.ran, seen.work));
        let more = times(ran.saturating_sub(ran_then), speed.milli(), 1000);
        let less = times(ran_then.saturating_sub(ran), speed.milli(), 1000);
        let work = work_then.saturating_add(more).saturating_sub(less);
        let is_half = |total: &u64| (total / 4..=total - total / 4).contains(&done) && done > 0;
        let half = || total.filter(is_half).map(|total| (work, times(work, total - done, done)));
        Self { done, total, ran, at, work, half: before.and_then(|seen| seen.half).or_else(half) }
    }
}

impl Facts<'_> {
    /// The run time that its spec makes one expect where it runs.
    pub(super) fn estimated(&self) -> Option<u64> {
        self.estimate.map(|estimate| self.takes(estimate.0))
    }

    /// The run time that so much work takes where it runs.
    fn takes(&self, work: u64) -> u64 {
        times(work, 1000, self.speed.milli())
    }
}

/// So many times a span.
pub(in crate::placement) fn times(span: u64, by: u64, of: u64) -> u64 {
    let span = u128::from(span) * u128::from(by) / u128::from(of.max(1));
    u64::try_from(span).unwrap_or(u64::MAX)
}

/// The milliseconds that the job has still to run with its whole gang.
pub(in crate::placement) fn remaining(facts: &Facts<'_>, history: &History) -> u64 {
    let guess = said(facts).unwrap_or_else(|| unsaid(facts, history));
    facts.time_left.map_or(guess, |left| guess.min(left.0)).max(LEAST)
}

/// The same, whatever its limit is, if anything but that says something of it.
pub(in crate::placement) fn known(facts: &Facts<'_>, history: &History) -> Option<u64> {
    let of_others = || history.effective(&facts.who, facts.work);
    let of_others = || of_others().map(|expected| facts.takes(expected.left));
    said(facts).or_else(of_others).map(|left| left.max(LEAST))
}

/// The milliseconds that the job has still to run at least, as far as one can tell. What others
/// took is no good witness: half of it is.
pub(in crate::placement) fn least(facts: &Facts<'_>, history: &History) -> u64 {
    let guess = said(facts).unwrap_or_else(|| unsaid(facts, history) / UNSURE);
    facts.time_left.map_or(guess, |left| guess.min(left.0)).max(LEAST)
}

/// The milliseconds for which it will be as well to run the job as it is now: all that it has still
/// to run, unless those like it end soon or late.
pub(in crate::placement) fn stretch(facts: &Facts<'_>, history: &History) -> u64 {
    let likely = remaining(facts, history);
    if said(facts).is_some() {
        return likely;
    }
    let expected = history.effective(&facts.who, facts.work);
    expected.map_or(likely, |expected| facts.takes(expected.stretch))
}

/// What was said of this very job.
fn said(facts: &Facts<'_>) -> Option<u64> {
    by_progress(facts).or_else(|| by_estimate(facts))
}

/// What others and its limit make one expect.
fn unsaid(facts: &Facts<'_>, history: &History) -> u64 {
    history
        .effective(&facts.who, facts.work)
        .map(|expected| facts.takes(expected.left))
        .or_else(|| facts.time_left.map(|left| left.0 / 2))
        // What has run for long is likely to run for long: lengths of jobs have heavy tails.
        .unwrap_or_else(|| facts.ran.max(UNKNOWN))
}

/// The milliseconds that the job will hardly run longer than: what all but a tenth of such
/// predictions were no further off than, or of runs like it took no longer, where enough of them
/// are known. Else a job's own progress is a good witness, its spec and earlier runs are not. Its
/// limit is certain.
pub(in crate::placement) fn longest(facts: &Facts<'_>, history: &History) -> u64 {
    let likely = remaining(facts, history);
    let up_to = history.up_to();
    let most = if by_progress(facts).is_some() {
        times(likely, up_to.steps, 1000)
    } else if by_estimate(facts).is_some() {
        times(likely, up_to.estimates, 1000)
    } else {
        let expected = history.effective(&facts.who, facts.work);
        let late = expected.and_then(|expected| expected.late).map(|late| facts.takes(late));
        late.unwrap_or_else(|| times(likely, REST_UP_TO, 1000))
    };
    let most = most.max(likely);
    facts.time_left.map_or(most, |left| most.min(left.0))
}

/// The rate so far goes on, as fast as it runs now.
fn by_progress(facts: &Facts<'_>) -> Option<u64> {
    whole_by_progress(facts).map(|whole| whole.saturating_sub(facts.ran))
}

/// The run time with which the job will be done if its rate so far goes on. Nothing is said by one
/// that is behind its own total.
pub(super) fn whole_by_progress(facts: &Facts<'_>) -> Option<u64> {
    let Seen { done, total, ran, work, .. } = facts.seen?;
    let total = total.filter(|total| *total >= done && done > 0)?;
    let left = times(times(work, total - done, done), 1000, facts.speed.milli());
    Some(left.saturating_add(ran))
}

/// A job that runs for longer than its spec says has shown the estimate to be wrong.
fn by_estimate(facts: &Facts<'_>) -> Option<u64> {
    facts.estimated().and_then(|whole| whole.checked_sub(facts.ran)).filter(|left| *left > 0)
}

#[cfg(test)]
mod tests {
    use trainyard_jobs::ProjectName;

    use super::*;
    use crate::placement::time::Alike;

    fn who(project: &ProjectName) -> Who<'_> {
        Who { project, principal: "ada", gpus: 1, alike: Alike::default() }
    }

    const fn says(done: u64, total: u64) -> Progress {
        Progress { done, total: Some(total), at: Timestamp(0) }
    }

    #[test]
    fn each_source_gives_way_to_the_next() {
        let project = "p".parse().unwrap();
        let history = History::default();
        let bare = Facts {
            who: who(&project),
            ran: 100_000,
            work: 100_000,
            estimate: None,
            time_left: None,
            seen: None,
            speed: Speed::ONE,
        };
        let left = |facts: Facts<'_>| remaining(&facts, &history);
        assert_eq!(left(bare), UNKNOWN);
        assert_eq!(left(Facts { ran: 9 * UNKNOWN, ..bare }), 9 * UNKNOWN);
        assert_eq!(left(Facts { time_left: Some(Millis(50_000)), ..bare }), 25_000);
        let estimated = Facts { estimate: Some(Millis(130_000)), ..bare };
        assert_eq!(left(estimated), 30_000);
        assert_eq!(left(Facts { ran: 200_000, ..estimated }), UNKNOWN, "it was wrong");
        let seen = Some(Seen {
            done: 10,
            total: Some(40),
            ran: 100_000,
            at: Timestamp(0),
            work: 100_000,
            half: None,
        });
        assert_eq!(left(Facts { seen, ..estimated }), 300_000);
        assert_eq!(left(Facts { seen, ran: 150_000, ..bare }), 250_000, "it went on since");
        assert_eq!(left(Facts { seen, time_left: Some(Millis(70_000)), ..bare }), 70_000);
        let lost = Some(Seen {
            done: 50,
            total: Some(40),
            ran: 100_000,
            at: Timestamp(0),
            work: 100_000,
            half: None,
        });
        assert_eq!(left(Facts { seen: lost, ..bare }), UNKNOWN, "behind its own total");
    }

    #[test]
    fn what_was_seen_on_one_type_says_how_long_it_takes_on_another() {
        let project = "p".parse().unwrap();
        let at = |milli| Speed::from_milli(milli).unwrap();
        let facts = |seen, ran, milli| Facts {
            who: who(&project),
            ran,
            work: ran,
            estimate: Some(Millis(120_000)),
            time_left: None,
            seen,
            speed: at(milli),
        };
        let left = |seen, ran, milli| remaining(&facts(seen, ran, milli), &History::default());
        assert_eq!(left(None, 0, 1000), 120_000);
        assert_eq!(left(None, 10_000, 3000), 30_000, "an estimate is for speed 1");
        // A quarter in 60 s at speed 1: three quarters take 180 s there, 60 s at speed 3.
        let slow = Seen::of(says(25, 100), 60_000, at(1000), None);
        assert_eq!(left(Some(slow), 60_000, 1000), 180_000);
        assert_eq!(left(Some(slow), 60_000, 3000), 60_000);
        // 20 s at speed 3 make another quarter.
        let fast = Seen::of(says(50, 100), 80_000, at(3000), Some(&slow));
        assert_eq!(left(Some(fast), 80_000, 3000), 40_000);
        assert_eq!(left(Some(fast), 90_000, 3000), 30_000);
        assert_eq!(left(Some(fast), 80_000, 1000), 120_000);
        let late = Seen::of(says(25, 100), 60_000, at(1000), Some(&fast));
        assert_eq!((late.work, late.ran), (100_000, 60_000), "an older word");
    }
}
