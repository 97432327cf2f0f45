//! What is known of a running job, packed into numbers: a pass asks thousands of jobs how long they
//! run still.

use trainyard_jobs::spec::Speed;

use super::{
    forecast::{Facts, LEAST, UNKNOWN, UNSURE, times, whole_by_progress},
    history::{History, Kin, begin, bucket},
};

/// What a job's run time is expected to be by what was said of it.
#[derive(Debug, Clone, Copy)]
enum Said {
    /// By itself: it ends then, however long it has run.
    Steps(u64),
    /// By its spec: nothing, once it has run for longer.
    Spec(u64),
    Nothing,
}

/// A job that is expected to run for longer the longer it runs is looked at again after so many
/// milliseconds.
const WINDOW: u64 = 60_000;

/// What a job will need still at most, for some time to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::placement) struct Within {
    pub(in crate::placement) left: u64,
    /// For so many milliseconds that it runs.
    pub(in crate::placement) lasts: u64,
    /// This does not follow from runs of its own project.
    pub(in crate::placement) borrows: bool,
    /// It will need more and more.
    pub(in crate::placement) grows: bool,
}

/// How long a job will run, to be asked at any later time.
#[derive(Debug, Clone, Copy)]
pub(in crate::placement) struct Outlook {
    said: Said,
    /// The run time at which its limit ends it.
    limit: u64,
    /// What it had done when it had run for so long, and how fast it runs.
    done: (u64, u64),
    speed: Speed,
    kin: Kin,
}

impl Outlook {
    pub(in crate::placement) fn of(facts: &Facts<'_>, kin: Kin) -> Self {
        let said = match (whole_by_progress(facts), facts.estimated()) {
            (Some(whole), _) => Said::Steps(whole),
            (None, Some(whole)) => Said::Spec(whole),
            (None, None) => Said::Nothing,
        };
        let limit = facts.time_left.map_or(u64::MAX, |left| left.0.saturating_add(facts.ran));
        Self { said, limit, done: (facts.work, facts.ran), speed: facts.speed, kin }
    }

    /// What it has done once it has run for so long: the milliseconds that take at speed 1.
    fn work(&self, ran: u64) -> u64 {
        let (work, since) = self.done;
        work.saturating_add(times(ran.saturating_sub(since), self.speed.milli(), 1000))
    }

    /// The run time that so much work takes, and not less.
    fn takes(&self, work: u64) -> u64 {
        let time = (u128::from(work) * 1000).div_ceil(u128::from(self.speed.milli()));
        u64::try_from(time).unwrap_or(u64::MAX)
    }

    /// What [`super::remaining`] says once the job has run for so long.
    pub(in crate::placement) fn remaining(&self, ran: u64, history: &History) -> u64 {
        self.left(ran, 1, history)
    }

    /// What [`super::least`] says then.
    pub(in crate::placement) fn least(&self, ran: u64, history: &History) -> u64 {
        self.left(ran, UNSURE, history)
    }

    /// Of what others make one expect, that part.
    fn left(&self, ran: u64, part: u64, history: &History) -> u64 {
        let left = self.limit.saturating_sub(ran);
        let guess = match self.said {
            Said::Steps(whole) => whole.saturating_sub(ran),
            Said::Spec(whole) if whole > ran => whole - ran,
            Said::Spec(_) | Said::Nothing => {
                let unsaid = match history.effective_of(&self.kin, self.work(ran)) {
                    Some(expected) => times(expected.left, 1000, self.speed.milli()),
                    None if self.limit < u64::MAX => left / 2,
                    None => ran.max(UNKNOWN),
                };
                unsaid / part
            }
        };
        guess.min(left).max(LEAST)
    }

    /// No more than this will [`Self::least`] say of the job for some time after it has run for so
    /// long.
    pub(in crate::placement) fn within(&self, ran: u64, history: &History) -> Within {
        // It ends some day: what is left of that gets less.
        let left = self.least(ran, history);
        let falls = |lasts| Within { left, lasts, borrows: false, grows: false };
        match self.said {
            Said::Steps(_) => return falls(u64::MAX),
            Said::Spec(whole) if whole > ran => return falls(whole - ran),
            Said::Spec(_) | Said::Nothing => {}
        }
        let work = self.work(ran);
        let lasts = self.takes(begin(bucket(work) + 1).saturating_sub(work)).max(1);
        let known = history.effective_of(&self.kin, work).is_some() || self.limit < u64::MAX;
        let borrows = history.borrows(&self.kin, work);
        if known {
            return Within { borrows, ..falls(lasts) };
        }
        let lasts = lasts.min(WINDOW);
        let left = self.least(ran.saturating_add(lasts), history);
        Within { left, lasts, borrows, grows: true }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trainyard_jobs::{Millis, Timestamp, spec::Speed};

    use super::*;
    use crate::placement::{
        running::Progress,
        time::{Alike, Past, Seen, Who},
    };

    proptest! {
        #[test]
        fn what_is_said_for_some_time_holds_so_long(
            runs in prop::collection::vec(1_u64..10_000_000, 0..30),
            ran in 0_u64..20_000_000,
            estimate in prop::option::of(1_u64..20_000_000),
            time_left in prop::option::of(1_u64..20_000_000),
            seen in prop::option::of((1_u64..100, 100_u64..200)),
            speed in 1_u64..10_000,
            after in 0_u64..=1000,
        ) {
            let project = "p".parse().unwrap();
            let speed = Speed::from_milli(speed).unwrap();
            let mut history = History::default();
            for ran in runs {
                history.learn(&Past::example("ada", Millis(ran)));
            }
            history.sum_up();
            let who = Who { project: &project, principal: "ada", gpus: 1, alike: Alike::default() };
            let kin = history.kin(&who);
            let facts = Facts {
                who,
                ran,
                work: ran / 2,
                estimate: estimate.map(Millis),
                time_left: time_left.map(Millis),
                seen: seen.map(|(done, total)| {
                    let says = Progress { done, total: Some(total), at: Timestamp(0) };
                    Seen::of(says, ran, speed, None)
                }),
                speed,
            };
            let outlook = Outlook::of(&facts, kin);
            let within = outlook.within(ran, &history);
            prop_assert!(within.lasts > 0);
            let lasts = within.lasts.min(100_000_000);
            let later = ran + (lasts - 1) * after / 1000;
            prop_assert!(outlook.least(later, &history) <= within.left);
        }
    }
}
