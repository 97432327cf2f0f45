//! What of its queue would start a waiting job: a higher limit, or a higher priority, with which
//! others may be stopped for it.

use std::collections::BTreeSet;

use trainyard_jobs::{DeviceKind, JobId, ProjectName, QueueSpec, Timestamp};

use super::{
    change::{Change, Counterfactual, Limit},
    counted,
    whatif::{Scenario, bisect},
};
use crate::placement::{
    fit::Request,
    planner::{Planner, slot},
    running::Stop,
    share::{OverQuota, Shares},
    victims,
    view::Waiting,
    yard::Hire,
};

/// Types whose limits are looked at.
const TYPES: usize = 4;

/// A limit of a job's queues, and the units in use.
struct Bound {
    queue: ProjectName,
    gpu_type: Option<String>,
    limit: u32,
    used: u64,
}

/// What a higher priority comes to.
struct Preferred {
    stops: Vec<Stop>,
    hire: Hire,
}

impl Planner {
    /// With which limits of its queues it would start, the lowest that do.
    pub(super) fn higher_limit(&mut self, job: &Waiting, now: Timestamp) -> Option<Counterfactual> {
        let bounds = self.bounds(job, now);
        if bounds.is_empty() {
            return None;
        }
        self.would_fit(&Scenario::of(job), now)?;
        let over = |bound: &&Bound| raised(bound, job, 0).is_some();
        let mut types: Vec<&Bound> =
            bounds.iter().filter(|bound| bound.gpu_type.is_some()).filter(over).collect();
        types.sort_by_key(|bound| raised(bound, job, 0).map(|limit| limit.to - limit.from));
        let mut seen = BTreeSet::new();
        let types = types.into_iter().map(|bound| bound.gpu_type.as_deref());
        let types = types.filter(|gpu_type| seen.insert(*gpu_type)).take(TYPES);
        let (limits, hire) = std::iter::once(None).chain(types).find_map(|gpu_type| {
            let of_type =
                |bound: &&Bound| bound.gpu_type.is_none() || bound.gpu_type.as_deref() == gpu_type;
            let bounds: Vec<&Bound> = bounds.iter().filter(of_type).collect();
            self.lowest(&bounds, job, now)
        })?;
        let text = limits_in_words(&limits);
        Some(self.starts_now((job, job), (hire, now), Change::Limit(limits), &text))
    }

    /// The limits that a job's queues have for what it asks for.
    fn bounds(&self, job: &Waiting, now: Timestamp) -> Vec<Bound> {
        let Some(settings) = self.settings_of(&job.project) else { return Vec::new() };
        let quotas = settings.path.iter().filter_map(|name| self.queues().get(name));
        if !quotas.flat_map(|spec| &spec.quotas).any(|quota| quota.limit.is_some()) {
            return Vec::new();
        }
        let types = Request::from(&job.resources).types;
        let shares = Shares::of(self, now);
        let asked = |limit: &OverQuota<'_>| {
            let of_type = |model: &str| types.iter().any(|t| t.eq_ignore_ascii_case(model));
            types.is_empty() || limit.gpu_type.is_none_or(of_type)
        };
        let bound = |limit: OverQuota<'_>| Bound {
            queue: limit.queue.clone(),
            gpu_type: limit.gpu_type.map(str::to_owned),
            limit: limit.limit,
            used: limit.used,
        };
        shares.limits(settings).into_iter().filter(asked).map(bound).collect()
    }

    /// The lowest of these limits with which a job starts, if it does with any: as much as it
    /// needs, and what those take that go before it.
    fn lowest(
        &mut self,
        bounds: &[&Bound],
        job: &Waiting,
        now: Timestamp,
    ) -> Option<(Vec<Limit>, Hire)> {
        let ranks = usize::try_from(job.resources.gpus).unwrap_or(usize::MAX).max(1);
        let all =
            self.capacity().units.get(slot(job.resources.device)).copied().unwrap_or_default();
        let all = usize::try_from(all).unwrap_or(usize::MAX);
        let mut works = |beside: usize, _: bool| {
            let limits: Vec<Limit> =
                bounds.iter().filter_map(|bound| raised(bound, job, beside)).collect();
            if limits.is_empty() {
                return None;
            }
            let queues = self.with_limits(&limits);
            let hire = self.would_start(&Scenario { queues: &queues, ..Scenario::of(job) }, now)?;
            Some((limits, hire))
        };
        if let Some(found) = works(0, false) {
            return Some(found);
        }
        if !bounds.iter().any(|bound| raised(bound, job, 0).is_some()) {
            return None;
        }
        works(all, false)?;
        let (mut few, mut many) = (0, ranks.min(all));
        while many < all && works(many, false).is_none() {
            (few, many) = (many, many.saturating_mul(2).min(all));
        }
        bisect((few, many), false, &mut works).map(|(_, found)| found)
    }

    /// Queues as they would be with these limits.
    fn with_limits(&self, limits: &[Limit]) -> Vec<(ProjectName, QueueSpec)> {
        let mut queues: Vec<(ProjectName, QueueSpec)> = Vec::new();
        for limit in limits {
            let at = queues.iter().position(|(name, _)| *name == limit.queue);
            let at = at.unwrap_or_else(|| {
                let spec = self.queues().get(&limit.queue).cloned().unwrap_or_default();
                queues.push((limit.queue.clone(), spec));
                queues.len() - 1
            });
            let quotas = queues.get_mut(at).into_iter().flat_map(|(_, spec)| &mut spec.quotas);
            for quota in quotas.filter(|quota| quota.gpu_type == limit.gpu_type) {
                quota.limit = Some(limit.to);
            }
        }
        queues
    }

    /// The lowest priority with which it would start, now or once others are stopped for it.
    pub(super) fn higher_priority(
        &mut self,
        job: &Waiting,
        now: Timestamp,
    ) -> Option<Counterfactual> {
        let highest = self.highest_priority(&job.project)?;
        let most = i64::from(highest) - i64::from(job.priority) + 1;
        let most = usize::try_from(most).ok().filter(|most| *most > 0)?;
        let with = |more: usize| -> Option<Waiting> {
            let priority = job.priority.checked_add(i32::try_from(more).ok()?)?;
            Some(Waiting { priority, ..job.clone() })
        };
        let mut works = |more: usize, _: bool| self.preferred(&with(more)?, now);
        let (more, Preferred { stops, hire }) = bisect((0, most), false, &mut works)?;
        let priority = with(more)?.priority;
        let notice = stops.iter().filter_map(|stop| stop.checkpoint_by).max();
        let lost = stops.iter().map(|stop| self.loss(&stop.job, now)).fold(0, u64::saturating_add);
        let stops: Vec<JobId> = stops.into_iter().map(|stop| stop.job).collect();
        let (text, note) = stops_in_words(&stops, lost, job);
        let text = format!("with `priority = {priority}` it would start {text}");
        let change = Change::Priority { priority, stops, lost };
        let cost = self.cost_of(job, job, hire);
        let mut found = Counterfactual::at(notice.unwrap_or(now), cost, change, text);
        found.notes.extend(note);
        Some(found)
    }

    /// Whom a job would have stopped, if it would start then, or now.
    fn preferred(&mut self, job: &Waiting, now: Timestamp) -> Option<Preferred> {
        let stops = match self.would_stop(&Scenario::of(job), now) {
            Ok(hire) => return Some(Preferred { stops: Vec::new(), hire }),
            Err(stops) => stops,
        };
        if stops.is_empty() {
            return None;
        }
        let leaving = self.leaving().filter(|job| job.goes_on.is_none()).map(|job| &job.id);
        let gone = stops.iter().map(|stop| &stop.job).chain(leaving).cloned().collect();
        // What they give up may be another's whose turn it is then.
        let mut hire = self.would_start(&Scenario { gone: &gone, ..Scenario::of(job) }, now)?;
        if stops.iter().any(|stop| stop.goes_on.is_some()) {
            // They do not give up all that they have: what is cheapest of that is not known.
            hire = self.hire_as_asked(job)?;
        }
        Some(Preferred { stops, hire })
    }

    /// Unit-milliseconds that the stop of a running job loses.
    fn loss(&self, job: &JobId, now: Timestamp) -> u64 {
        let job = self.running().get(job);
        let known = job.and_then(|job| Some((job, self.settings_of(&job.project)?)));
        known.map_or(0, |(job, settings)| victims::cost(job, settings, now))
    }
}

/// The limit that leaves a job what it asks for, and so much beside it, if that is more.
fn raised(bound: &Bound, job: &Waiting, beside: usize) -> Option<Limit> {
    let beside = u64::try_from(beside).unwrap_or(u64::MAX);
    let to = bound.used.saturating_add(u64::from(job.resources.gpus)).saturating_add(beside);
    let to = u32::try_from(to).unwrap_or(u32::MAX);
    let Bound { queue, gpu_type, limit, .. } = bound;
    (to > *limit).then(|| Limit {
        queue: queue.clone(),
        gpu_type: gpu_type.clone(),
        from: *limit,
        to,
    })
}

/// Such as `with queue a's limit raised from 6 to 8 and lab's of h100 from 7 to 8`.
fn limits_in_words(limits: &[Limit]) -> String {
    let text = |(n, limit): (usize, &Limit)| {
        let Limit { queue, gpu_type, from, to } = limit;
        let of_type = gpu_type.as_ref().map_or_else(String::new, |model| format!(" of {model}"));
        match n {
            0 => format!("with queue {queue}'s limit{of_type} raised from {from} to {to}"),
            _ => format!("{queue}'s{of_type} from {from} to {to}"),
        }
    };
    limits.iter().enumerate().map(text).collect::<Vec<_>>().join(" and ")
}

/// When that is, and what it loses.
fn stops_in_words(stops: &[JobId], lost: u64, job: &Waiting) -> (String, Option<String>) {
    let (who, are) = match stops {
        [] => return ("now".to_owned(), None),
        [one] => (format!("job {}", one.short()), "is"),
        many => (format!("{} jobs", many.len()), "are"),
    };
    let word = match job.resources.device {
        DeviceKind::Cpu => "slot",
        DeviceKind::Gpu => "GPU",
    };
    let lost = match lost / 60_000 {
        0 => format!("less than a {word} minute"),
        minutes @ 1..60 => {
            counted(u32::try_from(minutes).unwrap_or(u32::MAX), &format!("{word} minute"))
        }
        minutes => format!("{}.{} {word} hours", minutes / 60, minutes % 60 / 6),
    };
    (format!("once {who} {are} stopped"), Some(format!("{who} would lose {lost}")))
}
