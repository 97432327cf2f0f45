//! What would start a waiting job: the smallest changes, each found by supposing it and planning
//! again. None is offered that was not seen to work.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use trainyard_jobs::{
    DeviceKind, JobId, Millis, ProjectName, QueueSpec, ReservationName, Timestamp,
    spec::{Fraction, Resources},
};

use super::change::{Change, Cost, Counterfactual};
use crate::placement::{
    planner::Planner,
    view::{PlanNode, Waiting},
    yard::Hire,
};

/// Reservations that are looked at.
const FEW: usize = 4;

static NOBODY: BTreeSet<JobId> = BTreeSet::new();

/// Something supposed: a job as it would be, running jobs that would have ended, more nodes, other
/// settings of queues.
#[derive(Debug, Clone, Copy)]
pub(in crate::placement) struct Scenario<'a> {
    pub(in crate::placement) job: &'a Waiting,
    pub(in crate::placement) gone: &'a BTreeSet<JobId>,
    pub(in crate::placement) more: &'a [PlanNode],
    pub(in crate::placement) without: Option<&'a ReservationName>,
    pub(in crate::placement) queues: &'a [(ProjectName, QueueSpec)],
}

impl<'a> Scenario<'a> {
    pub(super) const fn of(job: &'a Waiting) -> Self {
        Self { job, gone: &NOBODY, more: &[], without: None, queues: &[] }
    }
}

impl Planner {
    /// The smallest changes that would start a waiting job, and what its run would cost as it is.
    pub(super) fn what_if(&mut self, job: &Waiting, now: Timestamp) -> (Vec<Counterfactual>, Cost) {
        let mut found = self.other_wishes(job, now);
        found.extend(self.less_beside(job, now));
        found.extend(self.fewer_ranks(job, now));
        found.extend(self.higher_limit(job, now));
        found.extend(self.higher_priority(job, now));
        found.extend(self.ends(job, now));
        found.extend(self.more_nodes(job, now));
        found.extend(self.another_time(job, now));
        if !self.windows().is_empty() {
            found.extend(self.without_reservations(job, now));
        }
        let hire = self.hire_as_asked(job);
        let asked = hire.map_or_else(Cost::default, |hire| self.cost_of(job, job, hire));
        let noted = |change: Counterfactual| change.noted(&asked, job.max_cost);
        (found.into_iter().map(noted).collect(), asked)
    }

    /// What a job would have if it started now, if it did.
    pub(super) fn works(&mut self, scenario: &Scenario<'_>, now: Timestamp) -> Option<Hire> {
        self.would_fit(scenario, now)?;
        self.would_start(scenario, now)
    }

    /// What a job's run takes and costs that has this instead of what it asked for.
    pub(super) fn cost_of(&self, job: &Waiting, changed: &Waiting, hire: Hire) -> Cost {
        let (all, ranks) = (u64::from(job.resources.gpus), u64::from(hire.ranks.max(1)));
        let whole = self.known_left(job, hire.speed);
        // With fewer ranks it runs for longer.
        let runs = whole.map(|whole| Millis(whole.saturating_mul(all).div_ceil(ranks)));
        let cut = changed.time_left.filter(|left| runs.is_some_and(|runs| runs > *left));
        Cost { micro_usd_per_hour: hire.micro_usd_per_hour, runs, cut }
    }

    /// A change with which a job starts now.
    pub(super) fn starts_now(
        &self,
        (job, changed): (&Waiting, &Waiting),
        (hire, now): (Hire, Timestamp),
        change: Change,
        with: &str,
    ) -> Counterfactual {
        let cost = self.cost_of(job, changed, hire);
        Counterfactual::at(now, cost, change, format!("{with} it would start now"))
    }

    /// Another type, or one wish less.
    fn other_wishes(&mut self, job: &Waiting, now: Timestamp) -> Vec<Counterfactual> {
        let mut found: Vec<Counterfactual> = Vec::new();
        let sizes = self.smaller_parts(job);
        for (changed, change, text) in relaxations(job, &sizes) {
            // One other size is enough to know of.
            let is_size = |change: &Change| matches!(change, Change::Fraction(_));
            if is_size(&change) && found.iter().any(|known| is_size(&known.change)) {
                continue;
            }
            let is_any_type = change == Change::AnyType;
            let hire = self.works(&Scenario::of(&changed), now);
            if let Some(hire) = hire {
                found.push(self.starts_now((job, &changed), (hire, now), change, &text));
            }
            if is_any_type {
                let other = self.another_type(job, now).filter(|(other, _)| Some(*other) != hire);
                found.extend(other.map(|(_, change)| change));
            }
        }
        found
    }

    /// The other type that works and on which its work is cheapest, and what it would have there.
    fn another_type(&mut self, job: &Waiting, now: Timestamp) -> Option<(Hire, Counterfactual)> {
        let asked =
            |model: &String| job.resources.gpu_type.iter().any(|t| t.eq_ignore_ascii_case(model));
        let mut types = Vec::new();
        for model in self.models().into_iter().filter(|model| !asked(model)) {
            let mut changed = job.clone();
            changed.resources.gpu_type = vec![model.clone()];
            let Some(hire) = self.would_fit(&Scenario::of(&changed), now) else { continue };
            let work = hire.micro_usd_per_hour.saturating_mul(1000) / hire.speed.milli().max(1);
            types.push((work, Reverse(hire.speed), model, changed));
        }
        types.sort_by(|(a, x, m, _), (b, y, n, _)| (a, x, m).cmp(&(b, y, n)));
        types.into_iter().find_map(|(_, _, model, changed)| {
            let hire = self.would_start(&Scenario::of(&changed), now)?;
            let text = format!("with `gpu_type = [\"{model}\"]`");
            let change = Change::Type(model);
            Some((hire, self.starts_now((job, &changed), (hire, now), change, &text)))
        })
    }

    /// The GPU types that there are.
    fn models(&self) -> BTreeSet<String> {
        let nodes = self.nodes().values();
        let devices = nodes.filter_map(|node| node.devices.values().next());
        let gpus = devices.filter(|device| device.kind == DeviceKind::Gpu);
        gpus.map(|device| device.model.clone()).collect()
    }

    /// By how much less of something it would start, the least that does, and what it would have.
    pub(super) fn less(
        &mut self,
        job: &Waiting,
        most: usize,
        alter: impl Fn(&mut Resources, usize),
        now: Timestamp,
    ) -> Option<(usize, Hire)> {
        least(most, &mut |fewer: usize, quick: bool| {
            let mut changed = job.clone();
            alter(&mut changed.resources, fewer);
            let scenario = Scenario::of(&changed);
            if quick { self.would_fit(&scenario, now) } else { self.works(&scenario, now) }
        })
    }

    /// The largest smaller gang that would start. Of an elastic job that is what it may do with.
    fn fewer_ranks(&mut self, job: &Waiting, now: Timestamp) -> Option<Counterfactual> {
        let asked = job.resources.gpus;
        let elastic = job.resources.min_gpus.filter(|_| self.elastic());
        let fewer_than =
            |all: u32| move |fewer| all.saturating_sub(u32::try_from(fewer).unwrap_or(u32::MAX));
        let most = |from: u32, to: u32| usize::try_from(from.saturating_sub(to)).unwrap_or(0);
        let whole = fewer_than(asked);
        let alter = |resources: &mut Resources, fewer| resources.gpus = whole(fewer);
        let to = job.resources.min_gpus.unwrap_or(1);
        if let Some((fewer, hire)) = self.less(job, most(asked, to), alter, now) {
            let (gpus, mut changed) = (whole(fewer), job.clone());
            changed.resources.gpus = gpus;
            let text = format!("with `gpus = {gpus}`");
            return Some(self.starts_now((job, &changed), (hire, now), Change::Gpus(gpus), &text));
        }
        let least = elastic?;
        let part = fewer_than(least);
        let alter = |resources: &mut Resources, fewer| resources.min_gpus = Some(part(fewer));
        let (fewer, hire) = self.less(job, most(least, 1), alter, now)?;
        let min_gpus = part(fewer);
        let text = format!("with `min_gpus = {min_gpus}`");
        Some(self.starts_now((job, job), (hire, now), Change::MinGpus(min_gpus), &text))
    }

    /// When the job waits for a time alone: the end of its back-off, or of a reservation.
    fn another_time(&mut self, job: &Waiting, now: Timestamp) -> Option<Counterfactual> {
        let (request, hints) = (self.request_of(job), self.hints_of(job, now));
        let mut times: BTreeMap<Timestamp, String> = BTreeMap::new();
        for name in self.in_the_way(&request, &hints) {
            if let Some(spec) = hints.during.and_then(|during| during.spec(&name)) {
                times.entry(spec.until).or_insert_with(|| format!("reservation {name} is over"));
            }
        }
        if job.not_before > now {
            times.insert(job.not_before, "its back-off is over".to_owned());
        }
        let times = times.into_iter().filter(|(at, _)| *at > now && at.0 < u64::MAX);
        let times: Vec<_> = times.take(FEW).collect();
        times.into_iter().find_map(|(at, what)| {
            let scenario = Scenario::of(job);
            self.would_fit(&scenario, at)?;
            let hire = self.would_start_at(&scenario, (now, at))?;
            let text = format!("it would start in {}, when {what}", at.since(now));
            let cost = self.cost_of(job, job, hire);
            Some(Counterfactual::at(at, cost, Change::Until(at), text))
        })
    }

    /// A limit with which it would be gone before a reservation, or a reservation without which
    /// it would start.
    fn without_reservations(&mut self, job: &Waiting, now: Timestamp) -> Vec<Counterfactual> {
        let request = self.request_of(job);
        let hints = self.hints_of(job, now);
        let Some(during) = hints.during else { return Vec::new() };
        let names = self.in_the_way(&request, &hints);
        let begins = |name: &ReservationName| during.spec(name).map(|spec| spec.from);
        let mut begins: Vec<Timestamp> = names.iter().filter_map(begins).collect();
        begins.sort_unstable_by_key(|at| Reverse(*at));
        begins.dedup();
        let mut found = Vec::new();
        for begins in begins.into_iter().take(FEW) {
            let left = Millis(begins.since(now).0 / 60_000 * 60_000);
            let shorter = Waiting { time_left: Some(left), ..job.clone() };
            let hire = if left.0 > 0 { self.works(&Scenario::of(&shorter), now) } else { None };
            if let Some(hire) = hire {
                let text = format!("if its limit ended it within {left}");
                let change = Change::Within(left);
                found.push(self.starts_now((job, &shorter), (hire, now), change, &text));
                break;
            }
        }
        for name in names.into_iter().take(FEW) {
            let scenario = Scenario { without: Some(&name), ..Scenario::of(job) };
            if let Some(hire) = self.works(&scenario, now) {
                let text = format!("without reservation {name}");
                let change = Change::Unreserved(name);
                found.push(self.starts_now((job, job), (hire, now), change, &text));
                break;
            }
        }
        found
    }
}

/// The least of 1 to `most` that works, with what comes of it: a quick look by bisection finds
/// where there is room, and mostly that is it; where others go first, a plan for each step does.
pub(super) fn least<T>(
    most: usize,
    works: &mut dyn FnMut(usize, bool) -> Option<T>,
) -> Option<(usize, T)> {
    let (room, _) = bisect((0, most), true, works)?;
    match works(room, false) {
        Some(found) => Some((room, found)),
        None => bisect((room, most), false, works),
    }
}

/// The least above `few`, up to `many`, that works, if the last does.
pub(super) fn bisect<T>(
    (mut few, mut many): (usize, usize),
    quick: bool,
    works: &mut dyn FnMut(usize, bool) -> Option<T>,
) -> Option<(usize, T)> {
    if few >= many {
        return None;
    }
    let mut found = works(many, quick)?;
    while many - few > 1 {
        let middle = few + (many - few) / 2;
        match works(middle, quick) {
            Some(better) => (many, found) = (middle, better),
            None => few = middle,
        }
    }
    Some((many, found))
}

/// Each wish changed alone, and what to say if that helps.
fn relaxations(job: &Waiting, sizes: &[Fraction]) -> Vec<(Waiting, Change, String)> {
    let r = &job.resources;
    let mut list = Vec::new();
    let mut offer = |change: Change, text: String, alter: &dyn Fn(&mut Resources)| {
        let mut copy = job.clone();
        alter(&mut copy.resources);
        list.push((copy, change, text));
    };
    if !r.gpu_type.is_empty() {
        offer(Change::AnyType, "without `gpu_type`".into(), &|r| r.gpu_type.clear());
    }
    for size in sizes {
        let text = format!("with `gpu_fraction = {size}`");
        offer(Change::Fraction(size.milli()), text, &|r| r.gpu_fraction = Some(*size));
    }
    if r.on_parts() {
        offer(Change::WholeGpus, "without `gpu_fraction`".into(), &|r| r.gpu_fraction = None);
    }
    if r.min_gpu_memory.is_some() {
        let text = "without `min_gpu_memory`".into();
        offer(Change::AnyMemory, text, &|r| r.min_gpu_memory = None);
    }
    if r.max_ranks_per_node.is_some() {
        let text = "without `max_ranks_per_node`".into();
        offer(Change::AnySpread, text, &|r| r.max_ranks_per_node = None);
    }
    if !r.node_labels.is_empty() {
        offer(Change::AnyNode, "without `node_labels`".into(), &|r| r.node_labels.clear());
    }
    list
}
