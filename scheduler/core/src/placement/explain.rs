//! Why a job waits, in counts, and the smallest changes that would start it. Every change is
//! tried by a pass over the queue before it is offered.

use std::collections::BTreeSet;

use trainyard_jobs::{JobId, Timestamp, spec::Resources};

use super::{
    fit::{Request, matches, unit_word},
    planner::Planner,
    share::OverQuota,
    view::Waiting,
};

/// One thing that keeps a job from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// Its kind, for programs.
    pub kind: BlockerKind,
    /// The whole story in one line, for people.
    pub message: String,
}

/// Kinds of blockers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockerKind {
    /// No worker is up.
    NoNodes,
    /// Not enough units of the kind exist on nodes that are up.
    TooFew,
    /// Enough exist, too many are busy.
    Busy,
    /// Units that cannot be used now.
    Unusable,
    /// The job waits out its back-off after a failure.
    Backoff,
    /// The units are held for a job that has waited longer.
    Held,
    /// No port is left for rank 0.
    Ports,
    /// Other jobs are being stopped for it.
    Stopping,
    /// Its queue, or one above, may not have more.
    Quota,
}

impl BlockerKind {
    /// The word that JSON uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoNodes => "no_nodes",
            Self::TooFew => "too_few",
            Self::Busy => "busy",
            Self::Unusable => "unusable",
            Self::Backoff => "backoff",
            Self::Held => "held",
            Self::Ports => "ports",
            Self::Stopping => "stopping",
            Self::Quota => "quota",
        }
    }
}

/// Everything that there is to say about a waiting job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Explanation {
    /// Its place in the queue from 1.
    pub position: usize,
    /// What keeps it.
    pub blockers: Vec<Blocker>,
    /// Changes that would start it now, each tried.
    pub suggestions: Vec<String>,
}

impl Blocker {
    pub(super) fn backoff(until: Timestamp, now: Timestamp) -> Self {
        let message = format!("restarts in {} after its last failure", until.since(now));
        Self { kind: BlockerKind::Backoff, message }
    }

    pub(super) fn no_port() -> Self {
        let message = "every port for rank 0 on the node is in use".to_owned();
        Self { kind: BlockerKind::Ports, message }
    }

    pub(super) fn stopping() -> Self {
        let message = "its units are becoming free: what has them is being stopped".to_owned();
        Self { kind: BlockerKind::Stopping, message }
    }

    pub(super) fn quota(over: &OverQuota<'_>) -> Self {
        let OverQuota { queue, gpu_type, limit, used } = over;
        let what = gpu_type.map_or_else(String::new, |kind| format!(" {kind}"));
        let units = if *limit == 1 { "unit" } else { "units" };
        let message = format!(
            "queue {} may have {limit}{what} {units} and has {used} in use",
            queue.as_str()
        );
        Self { kind: BlockerKind::Quota, message }
    }

    pub(super) fn held(job: &JobId) -> Self {
        let message = format!("free units are held for job {job}, which has waited longer");
        Self { kind: BlockerKind::Held, message }
    }
}

/// Counts what stands between a request and its units.
pub(super) fn blockers(planner: &Planner, request: &Resources) -> Vec<Blocker> {
    let word = unit_word(request);
    if planner.nodes().is_empty() {
        let message = "no worker is up: start one with `yard worker`".into();
        return vec![Blocker { kind: BlockerKind::NoNodes, message }];
    }
    let Count { all, busy, out, reachable, nodes, .. } = count(planner, request);
    let needs = format!("needs {}", counted(request.gpus, &word));
    let spread = request
        .max_ranks_per_node
        .map_or_else(String::new, |most| format!(", at most {most} a node"));
    if reachable < request.gpus {
        let has = format!("{} on {} up", counted(all, &word), counted(nodes, "node"));
        let message = format!("{needs}{spread}; there are {has}");
        return vec![Blocker { kind: BlockerKind::TooFew, message }];
    }
    let mut list = Vec::new();
    let message = format!("{needs}{spread}; {busy} of {all} are busy");
    list.push(Blocker { kind: BlockerKind::Busy, message });
    if out > 0 {
        let message = format!("{} cannot be used: {}", counted(out, &word), reasons(planner));
        list.push(Blocker { kind: BlockerKind::Unusable, message });
    }
    list
}

/// Whether the request would fit if every unit that can be used were free.
pub(super) fn could_fit(planner: &Planner, request: &Resources) -> bool {
    count(planner, request).usable >= request.gpus
}

/// Units that match a request, wherever they are.
#[derive(Default)]
struct Count {
    all: u32,
    busy: u32,
    out: u32,
    /// What the limit of ranks a node leaves of `all`.
    reachable: u32,
    /// What is left of `reachable` without the units that cannot be used.
    usable: u32,
    nodes: u32,
}

fn count(planner: &Planner, request: &Resources) -> Count {
    let mut count = Count::default();
    let most = request.max_ranks_per_node.unwrap_or(u32::MAX);
    let wants = Request::from(request);
    for node in planner.nodes().values().filter(|node| wants.allows(&node.labels)) {
        let unusable = planner.unusable(&node.id);
        let (mut here, mut out) = (0, 0);
        for (unit, _) in node.devices.iter().filter(|(_, d)| matches(request, d)) {
            here += 1;
            let owned = node.owners.contains_key(unit);
            count.busy += u32::from(owned);
            let is_out = unusable.is_some_and(|units| units.contains_key(unit));
            out += u32::from(is_out && !owned);
        }
        count.all += here;
        count.nodes += u32::from(here > 0);
        count.out += out;
        count.reachable += here.min(most);
        count.usable += (here - out).min(most);
    }
    count
}

fn reasons(planner: &Planner) -> String {
    let all = planner.nodes().values().filter_map(|node| {
        let units = planner.unusable(&node.id)?;
        Some(units.values().map(move |why| format!("{}: {why}", node.name)))
    });
    let texts: Vec<String> = all.flatten().take(4).collect();
    texts.join("; ")
}

fn counted(count: u32, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

impl Planner {
    /// Why `job` waits at `now`, or nothing if it does not wait.
    #[must_use]
    pub fn explain(&mut self, job: &JobId, now: Timestamp) -> Option<Explanation> {
        let (waiting, position) = self.waiting(job)?;
        let waiting = waiting.clone();
        let blockers = self.reasons(now).remove(job).map(|b| b.to_vec()).unwrap_or_default();
        let suggestions =
            if blockers.is_empty() { Vec::new() } else { self.suggestions(&waiting, now) };
        Some(Explanation { position, blockers, suggestions })
    }

    fn suggestions(&mut self, job: &Waiting, now: Timestamp) -> Vec<String> {
        let relaxed = relaxations(job).into_iter();
        let by_spec = relaxed.filter(|(changed, _)| self.would_start(changed, None, now));
        let mut found: Vec<String> = by_spec.map(|(_, text)| text).collect();
        found.extend(self.fewer_ranks(job, now));
        found.extend(self.first_release(job, now));
        found
    }

    /// The largest smaller gang that would start, found by bisection: fitting is monotone.
    fn fewer_ranks(&mut self, job: &Waiting, now: Timestamp) -> Option<String> {
        let with = |gpus| {
            let mut changed = job.clone();
            changed.resources.gpus = gpus;
            changed
        };
        let (mut fits, mut too_many) = (0, job.resources.gpus);
        while too_many - fits > 1 {
            let middle = fits + (too_many - fits) / 2;
            if self.would_start(&with(middle), None, now) {
                fits = middle;
            } else {
                too_many = middle;
            }
        }
        (fits > 0).then(|| format!("with `gpus = {fits}` it would start now"))
    }

    /// The running job whose end would start this one.
    fn first_release(&mut self, job: &Waiting, now: Timestamp) -> Option<String> {
        let owners = self.nodes().values().flat_map(|n| n.owners.values());
        let holders: BTreeSet<JobId> = owners.cloned().collect();
        let helps = |holder: &JobId| self.would_start(job, Some(holder), now);
        let holder = holders.into_iter().take(64).find(helps)?;
        Some(format!("it would start when job {} ends", holder.short()))
    }
}

/// Each constraint dropped alone, and what to say if that helps.
fn relaxations(job: &Waiting) -> Vec<(Waiting, String)> {
    let r = &job.resources;
    let changed = |change: fn(&mut Resources)| {
        let mut copy = job.clone();
        change(&mut copy.resources);
        copy
    };
    let mut list = Vec::new();
    if !r.gpu_type.is_empty() {
        let text = "without `gpu_type` it would start now".to_owned();
        list.push((changed(|r| r.gpu_type.clear()), text));
    }
    if r.min_gpu_memory.is_some() {
        let text = "without `min_gpu_memory` it would start now".to_owned();
        list.push((changed(|r| r.min_gpu_memory = None), text));
    }
    if r.max_ranks_per_node.is_some() {
        let text = "without `max_ranks_per_node` it would start now".to_owned();
        list.push((changed(|r| r.max_ranks_per_node = None), text));
    }
    if !r.node_labels.is_empty() {
        let text = "without `node_labels` it would start now".to_owned();
        list.push((changed(|r| r.node_labels.clear()), text));
    }
    list
}
