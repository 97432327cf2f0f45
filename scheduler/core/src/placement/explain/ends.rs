//! Which running jobs a waiting one waits for: the one, or the fewest, whose end would start it,
//! and when that is expected.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
};

use trainyard_jobs::{JobId, Millis, Timestamp, spec::Resources};

use super::{
    change::{Change, Counterfactual},
    whatif::Scenario,
};
use crate::placement::{
    fit::{Host, Request},
    planner::{Holder, Planner},
    running::Running,
    view::Waiting,
};

/// Running jobs of which one is sought whose end alone helps.
const HOLDERS: usize = 256;

impl Planner {
    /// The running job whose end would start this one, or the fewest of those that are expected
    /// to end first.
    pub(super) fn ends(&mut self, job: &Waiting, now: Timestamp) -> Option<Counterfactual> {
        let request = Request::from(&job.resources);
        // One that has as many units is likely to do; of those the smallest.
        let likely = |holder: Holder<'_>| {
            let enough = holder.gpus >= job.resources.gpus;
            let order = if enough { holder.gpus } else { u32::MAX - holder.gpus };
            Reverse((!enough, order, holder.started, holder.job.clone()))
        };
        let mut ones: BinaryHeap<_> = self.holders(now).map(likely).collect();
        let next = || ones.pop().map(|Reverse((.., id))| id);
        let matters = |holder: &Running| overlaps(&request, &holder.resources);
        let of_note = |id: &JobId| self.running().get(id).is_some_and(matters);
        let few: Vec<JobId> = std::iter::from_fn(next).filter(of_note).take(HOLDERS).collect();
        let one = few
            .into_iter()
            .map(|id| BTreeSet::from([id]))
            .find(|one| self.would_fit(&of_gone(job, one), now).is_some());
        let gone = one.or_else(|| {
            let ends = |holder: Holder<'_>| Reverse((holder.ends, holder.job.clone()));
            let mut ends: BinaryHeap<_> = self.holders(now).map(ends).collect();
            let next = || ends.pop().map(|Reverse((_, id))| id);
            self.fewest(job, std::iter::from_fn(next), matters, now)
        });
        let gone = gone.filter(|gone| !gone.is_empty())?;
        self.works(&of_gone(job, &gone), now)?;
        let running = gone.iter().filter_map(|id| self.running().get(id));
        let last = running.map(|job| self.end_of(job, now)).max()?;
        // By then a reservation may be in its way that is not yet, or others may have waited too
        // long.
        let hire = self.would_start_at(&of_gone(job, &gone), (now, last))?;
        let one = gone.first()?.short();
        let who = if gone.len() == 1 {
            format!("job {one} ends")
        } else {
            format!("the first {} jobs to end have ended", gone.len())
        };
        let about = Millis(last.since(now).0 / 60_000 * 60_000);
        let expected = match last {
            Timestamp(u64::MAX) => String::new(),
            _ if about.0 == 0 => ", expected within a minute".to_owned(),
            _ => format!(", expected in {about}"),
        };
        let text = format!("it would start when {who}{expected}");
        let change = Change::Ends(gone.into_iter().collect());
        Some(Counterfactual::at(last, self.cost_of(job, job, hire), change, text))
    }
}

fn of_gone<'a>(job: &'a Waiting, gone: &'a BTreeSet<JobId>) -> Scenario<'a> {
    Scenario { gone, ..Scenario::of(job) }
}

/// Whether units that one holds could answer to the other, as far as their wishes go, or what it
/// has of its nodes beside them.
fn overlaps(request: &Request, holder: &Resources) -> bool {
    if request.needs_host() && !Host::of_rank(holder).is_none() {
        return true;
    }
    request.device == holder.device
        && request.on_parts() == holder.on_parts()
        && (request.types.is_empty()
            || holder.gpu_type.is_empty()
            || holder.gpu_type.iter().any(|t| request.types.contains(&t.to_ascii_lowercase())))
}
