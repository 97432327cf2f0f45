//! What is known of a running job, packed into numbers: a pass asks thousands of jobs how long they
//! run still.

use super::{
    forecast::{Facts, LEAST, UNKNOWN, UNSURE, whole_by_progress},
    history::{History, Kin},
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

/// How long a job will run, to be asked at any later time.
#[derive(Debug, Clone, Copy)]
pub(in crate::placement) struct Outlook {
    said: Said,
    /// The run time at which its limit ends it.
    limit: u64,
    kin: Kin,
}

impl Outlook {
    pub(in crate::placement) fn of(facts: &Facts<'_>, kin: Kin) -> Self {
        let said = match (whole_by_progress(facts), facts.estimate) {
            (Some(whole), _) => Said::Steps(whole),
            (None, Some(estimate)) => Said::Spec(estimate.0),
            (None, None) => Said::Nothing,
        };
        let limit = facts.time_left.map_or(u64::MAX, |left| left.0.saturating_add(facts.ran));
        Self { said, limit, kin }
    }

    /// What [`super::least`] says once the job has run for so long.
    pub(in crate::placement) fn least(&self, ran: u64, history: &History) -> u64 {
        let left = self.limit.saturating_sub(ran);
        let guess = match self.said {
            Said::Steps(whole) => whole.saturating_sub(ran),
            Said::Spec(whole) if whole > ran => whole - ran,
            Said::Spec(_) | Said::Nothing => {
                let unsaid = match history.effective_of(&self.kin, ran) {
                    Some(expected) => expected.left,
                    None if self.limit < u64::MAX => left / 2,
                    None => ran.max(UNKNOWN),
                };
                unsaid / UNSURE
            }
        };
        guess.min(left).max(LEAST)
    }
}
