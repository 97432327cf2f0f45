//! What would start a waiting job: the smallest changes, each found by supposing it and planning
//! again. None is offered that was not seen to work.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    fmt,
};

use trainyard_jobs::{
    BitRate, Bytes, DeviceKind, JobId, Millis, NodeId, ReservationName, Timestamp,
    spec::{Fraction, Resources},
};

use super::counted;
use crate::placement::{
    fit::{Host, Request, WHOLE, unit_word},
    planner::{Holder, Planner},
    running::Running,
    score::Terms,
    view::{PlanNode, Waiting},
};

/// Running jobs of which one is sought whose end alone helps.
const HOLDERS: usize = 256;

/// Reservations that are looked at.
const FEW: usize = 4;

/// Nodes that somebody might add.
const MORE: usize = 64;

static NOBODY: BTreeSet<JobId> = BTreeSet::new();

/// A change that would start a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It asks for so many GPUs or CPU slots.
    Gpus(u32),
    /// It asks for another type.
    Type(String),
    /// It takes any type.
    AnyType,
    /// It asks for so many thousandths of a GPU at the least.
    Fraction(u16),
    /// It asks for whole GPUs.
    WholeGpus,
    /// It asks for no least memory.
    AnyMemory,
    /// It counts on so many CPUs of its nodes for each rank, if on any.
    CpusPerRank(Option<u32>),
    /// It counts on so much memory of its nodes for each rank, if on any.
    MemoryPerRank(Option<Bytes>),
    /// It counts on so much disk space of its nodes for each rank, if on any.
    DiskPerRank(Option<Bytes>),
    /// It counts on so much bandwidth of its nodes for each rank, if on any.
    NetworkPerRank(Option<BitRate>),
    /// Any number of its ranks may share a node.
    AnySpread,
    /// It asks for no labels.
    AnyNode,
    /// These running jobs end, the one that matters most first.
    Ends(Vec<JobId>),
    /// So many nodes like this one are added.
    Nodes {
        /// A node that exists.
        like: NodeId,
        /// How many.
        count: u32,
    },
    /// It is limited to so much run time more, so that it is gone before a reservation begins.
    Within(Millis),
    /// There is no such reservation.
    Unreserved(ReservationName),
}

/// A change, and what it comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counterfactual {
    /// What is different.
    pub change: Change,
    /// What it costs more in an hour, in micro-dollars, as far as prices are known.
    pub micro_usd_per_hour: u64,
    text: String,
}

impl Counterfactual {
    /// One that costs nothing more.
    pub(super) const fn free(change: Change, text: String) -> Self {
        Self { change, micro_usd_per_hour: 0, text }
    }
}

impl fmt::Display for Counterfactual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if self.micro_usd_per_hour > 0 {
            let usd = trainyard_jobs::Usd(self.micro_usd_per_hour);
            write!(f, ", for ${usd} an hour")?;
        }
        Ok(())
    }
}

/// Something supposed: a job as it would be, running jobs that would have ended, more nodes.
#[derive(Debug, Clone, Copy)]
pub(in crate::placement) struct Scenario<'a> {
    pub(in crate::placement) job: &'a Waiting,
    pub(in crate::placement) gone: &'a BTreeSet<JobId>,
    pub(in crate::placement) more: &'a [PlanNode],
    pub(in crate::placement) without: Option<&'a ReservationName>,
}

impl<'a> Scenario<'a> {
    const fn of(job: &'a Waiting) -> Self {
        Self { job, gone: &NOBODY, more: &[], without: None }
    }
}

impl Planner {
    /// The smallest changes that would start a waiting job.
    pub(super) fn what_if(&mut self, job: &Waiting, now: Timestamp) -> Vec<Counterfactual> {
        let mut found = self.other_wishes(job, now);
        found.extend(self.less_beside(job, now));
        found.extend(self.fewer_ranks(job, now));
        found.extend(self.ends(job, now));
        found.extend(self.more_nodes(job, now));
        if !self.windows().is_empty() {
            found.extend(self.without_reservations(job, now));
        }
        found
    }

    fn works(&mut self, scenario: &Scenario<'_>, now: Timestamp) -> bool {
        self.would_fit(scenario, now) && self.would_start(scenario, now)
    }

    /// Another type, or one wish less.
    fn other_wishes(&mut self, job: &Waiting, now: Timestamp) -> Vec<Counterfactual> {
        let mut found = Vec::new();
        let sizes = self.smaller_parts(job);
        for (changed, change, text) in relaxations(job, &self.models(), &sizes) {
            // One other type or size is enough to know of.
            let known = |c: &Counterfactual| match change {
                Change::Type(_) => matches!(c.change, Change::AnyType | Change::Type(_)),
                Change::Fraction(_) => matches!(c.change, Change::Fraction(_)),
                _ => false,
            };
            if found.iter().any(known) {
                continue;
            }
            if self.works(&Scenario::of(&changed), now) {
                found.push(Counterfactual { change, micro_usd_per_hour: 0, text });
            }
        }
        found
    }

    /// The GPU types that there are.
    fn models(&self) -> BTreeSet<String> {
        let nodes = self.nodes().values();
        let devices = nodes.filter_map(|node| node.devices.values().next());
        let gpus = devices.filter(|device| device.kind == DeviceKind::Gpu);
        gpus.map(|device| device.model.clone()).collect()
    }

    /// By how much less of something it would start, the least that does.
    pub(super) fn less(
        &mut self,
        job: &Waiting,
        most: usize,
        alter: impl Fn(&mut Resources, usize),
        now: Timestamp,
    ) -> Option<usize> {
        let mut works = |fewer: usize, quick: bool| {
            let mut changed = job.clone();
            alter(&mut changed.resources, fewer);
            let scenario = Scenario::of(&changed);
            if quick { self.would_fit(&scenario, now) } else { self.works(&scenario, now) }
        };
        least(most, &mut works)
    }

    /// The largest smaller gang that would start.
    fn fewer_ranks(&mut self, job: &Waiting, now: Timestamp) -> Option<Counterfactual> {
        let asked = job.resources.gpus;
        let with = |fewer| asked.saturating_sub(u32::try_from(fewer).unwrap_or(u32::MAX));
        let alter = |resources: &mut Resources, fewer| resources.gpus = with(fewer);
        let most = usize::try_from(asked.saturating_sub(1)).unwrap_or(usize::MAX);
        let gpus = with(self.less(job, most, alter, now)?);
        let text = format!("with `gpus = {gpus}` it would start now");
        let change = Change::Gpus(gpus);
        Some(Counterfactual { change, micro_usd_per_hour: 0, text })
    }

    /// The running job whose end would start this one, or the fewest of those that are expected
    /// to end first.
    fn ends(&mut self, job: &Waiting, now: Timestamp) -> Option<Counterfactual> {
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
            .find(|one| self.would_fit(&Scenario { gone: one, ..Scenario::of(job) }, now));
        let gone = one.or_else(|| {
            let ends = |holder: Holder<'_>| Reverse((holder.ends, holder.job.clone()));
            let mut ends: BinaryHeap<_> = self.holders(now).map(ends).collect();
            let next = || ends.pop().map(|Reverse((_, id))| id);
            self.fewest(job, std::iter::from_fn(next), matters, now)
        });
        let gone = gone.filter(|gone| !gone.is_empty())?;
        if !self.works(&Scenario { gone: &gone, ..Scenario::of(job) }, now) {
            return None;
        }
        let running = gone.iter().filter_map(|id| self.running().get(id));
        let last = running.map(|job| self.end_of(job, now)).max()?;
        // By then a reservation may be in its way that is not yet.
        if !self.would_fit(&Scenario { gone: &gone, ..Scenario::of(job) }, last) {
            return None;
        }
        let one = gone.first()?.short();
        let who = if gone.len() == 1 {
            format!("job {one} ends")
        } else {
            format!("the {} jobs that are expected to end first have ended", gone.len())
        };
        let about = trainyard_jobs::Millis(last.since(now).0 / 60_000 * 60_000);
        let expected = match last {
            Timestamp(u64::MAX) => String::new(),
            _ if about.0 == 0 => ", expected within a minute".to_owned(),
            _ => format!(", expected in {about}"),
        };
        let text = format!("it would start when {who}{expected}");
        let change = Change::Ends(gone.into_iter().collect());
        Some(Counterfactual { change, micro_usd_per_hour: 0, text })
    }

    /// How many nodes more, of those that have most units of the kind.
    fn more_nodes(&mut self, job: &Waiting, now: Timestamp) -> Option<Counterfactual> {
        let request = Request::from(&job.resources);
        let ranks_of = |ranks: u32| usize::try_from(ranks).unwrap_or(usize::MAX);
        let answers = |node: &PlanNode| {
            let units = node.devices.values();
            let units = units.filter(|d| request.takes(d.kind, &d.model, d.memory, d.part.milli()));
            let units = if request.on_parts() && request.ranks > 1 {
                units.map(|d| d.part.parent()).collect::<BTreeSet<_>>().len()
            } else {
                units.count()
            };
            (units.min(ranks_of(node.host.ranks(request.host))), units)
        };
        let usable = self.nodes().values().filter(|node| request.allows(&node.labels));
        let ((each, size), like) = usable
            .map(|node| (answers(node), node))
            .max_by(|(a, x), (b, y)| a.cmp(b).then_with(|| y.id.cmp(&x.id)))?;
        let ranks = ranks_of(job.resources.gpus);
        let each = each.min(ranks_of(request.most_per_node));
        let most = ranks.checked_div(each)? + usize::from(!ranks.is_multiple_of(each));
        let (like, terms) = (like.clone(), Terms::of(&like.labels));
        let nodes: Vec<PlanNode> = (0..most.min(MORE)).map(|n| copy(&like, n)).collect();
        if most > MORE {
            return None;
        }
        let mut works = |count: usize, quick: bool| {
            let more = nodes.get(..count).unwrap_or_default();
            let scenario = Scenario { more, ..Scenario::of(job) };
            if quick { self.would_fit(&scenario, now) } else { self.works(&scenario, now) }
        };
        let many = least(most, &mut works)?;
        let units = counted(u32::try_from(size).unwrap_or(u32::MAX), &unit_word(&job.resources));
        let count = u32::try_from(many).unwrap_or(u32::MAX);
        let nodes = counted(count, "more node");
        let text = format!("with {nodes} like {} ({units}) it would start now", like.name);
        let milli = u64::from(request.part).saturating_mul(u64::try_from(size).unwrap_or(0));
        let of_node = terms.price.micro_usd().saturating_mul(milli) / u64::from(WHOLE);
        let change = Change::Nodes { like: like.id, count };
        let micro_usd_per_hour = of_node.saturating_mul(u64::from(count));
        Some(Counterfactual { change, micro_usd_per_hour, text })
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
        let free = |(change, text)| Counterfactual { change, micro_usd_per_hour: 0, text };
        let mut found = Vec::new();
        for begins in begins.into_iter().take(FEW) {
            let left = Millis(begins.since(now).0 / 60_000 * 60_000);
            let shorter = Waiting { time_left: Some(left), ..job.clone() };
            if left.0 > 0 && self.works(&Scenario::of(&shorter), now) {
                let text = format!("if its limit ended it within {left} it would start now");
                found.push(free((Change::Within(left), text)));
                break;
            }
        }
        for name in names.into_iter().take(FEW) {
            let scenario = Scenario { without: Some(&name), ..Scenario::of(job) };
            if self.works(&scenario, now) {
                let text = format!("without reservation {name} it would start now");
                found.push(free((Change::Unreserved(name), text)));
                break;
            }
        }
        found
    }
}

/// The least of 1 to `most` that works: a quick look by bisection finds where there is room, and
/// mostly that is it; where others go first, a plan for each step does.
fn least(most: usize, works: &mut dyn FnMut(usize, bool) -> bool) -> Option<usize> {
    let room = bisect((0, most), true, works)?;
    if works(room, false) { Some(room) } else { bisect((room, most), false, works) }
}

fn bisect(
    (mut few, mut many): (usize, usize),
    quick: bool,
    works: &mut dyn FnMut(usize, bool) -> bool,
) -> Option<usize> {
    if few >= many || !works(many, quick) {
        return None;
    }
    while many - few > 1 {
        let middle = few + (many - few) / 2;
        if works(middle, quick) {
            many = middle;
        } else {
            few = middle;
        }
    }
    Some(many)
}

/// A node like another, with nothing taken.
fn copy(like: &PlanNode, n: usize) -> PlanNode {
    let mut node = like.clone();
    // A reservation of the other's name is none of this one. No node is called so.
    node.name = format!("another like {}", like.name);
    // Ids are drawn at random: one of these is not taken.
    node.id = NodeId::from_random(u64::MAX - u64::try_from(n).unwrap_or(0));
    node.owners.clear();
    node.taken = Host::default();
    node.ports_in_use.clear();
    node
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

/// Each wish changed alone, and what to say if that helps.
fn relaxations(
    job: &Waiting,
    models: &BTreeSet<String>,
    sizes: &[Fraction],
) -> Vec<(Waiting, Change, String)> {
    let r = &job.resources;
    let mut list = Vec::new();
    let mut offer = |change: Change, text: String, alter: &dyn Fn(&mut Resources)| {
        let mut copy = job.clone();
        alter(&mut copy.resources);
        list.push((copy, change, format!("{text} it would start now")));
    };
    if !r.gpu_type.is_empty() {
        offer(Change::AnyType, "without `gpu_type`".into(), &|r| r.gpu_type.clear());
        let asked = |model: &&String| r.gpu_type.iter().any(|t| t.eq_ignore_ascii_case(model));
        for model in models.iter().filter(|model| !asked(model)) {
            let text = format!("with `gpu_type = [\"{model}\"]`");
            let only = vec![model.clone()];
            offer(Change::Type(model.clone()), text, &|r| r.gpu_type.clone_from(&only));
        }
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
