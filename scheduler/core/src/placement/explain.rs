//! Why a job waits: what keeps it, with counts, and its place in the queue. What would start it
//! stands in `whatif`.

mod change;
mod ends;
mod host;
mod less;
mod nodes;
mod parts;
mod queue;
mod whatif;

use trainyard_jobs::{
    JobId, Millis, ProjectName, Purpose, ReservationSpec, Timestamp, Usd, spec::Resources,
};

pub use self::change::{Change, Cost, Counterfactual, Limit};
pub(super) use self::whatif::Scenario;
use super::{
    fit::{Hints, Request, beside, unit_word},
    planner::Planner,
    share::OverQuota,
    windows::During,
    yard::{Census, Yard},
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
    /// Units are reserved, and it would not be gone in time.
    Reserved,
    /// There are units, but it would delay jobs before it that were promised a start, or that its
    /// queue lets nobody past.
    Promised,
    /// GPUs, or parts of them, are free that are no such parts as it asks for.
    OtherParts,
    /// Units are free on nodes that have too few processors, or too little memory, left.
    Host,
    /// Units are free, and it waits for cheaper ones.
    Cheaper,
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
            Self::Reserved => "reserved",
            Self::Promised => "promised",
            Self::OtherParts => "other_parts",
            Self::Host => "host",
            Self::Cheaper => "cheaper",
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
    /// Changes that would start it, in words.
    pub suggestions: Vec<String>,
    /// The same for programs: each was supposed and planned.
    pub counterfactuals: Vec<Counterfactual>,
    /// What its run would take and cost as it is.
    pub asked: Cost,
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

    /// It would delay so many jobs before it.
    pub(super) fn promised(count: usize) -> Self {
        let jobs = counted(u32::try_from(count).unwrap_or(u32::MAX), "job");
        let message = format!("units are kept for {jobs} before it, which it would delay");
        Self { kind: BlockerKind::Promised, message }
    }

    /// So many jobs before it wait for what it would take.
    pub(super) fn behind(group: &ProjectName, count: usize) -> Self {
        let jobs = counted(u32::try_from(count).unwrap_or(u32::MAX), "job");
        let wait = if count == 1 { "waits" } else { "wait" };
        let name = group.as_str();
        let message = format!("{jobs} before it {wait}, and queue {name} lets nobody past");
        Self { kind: BlockerKind::Promised, message }
    }

    /// It waits for units of a type on which its work costs the first amount, and not the second.
    pub(super) fn cheaper(model: &str, (there, here): (u64, u64), wait: Millis) -> Self {
        let message = format!(
            "waits for cheaper {model}: about ${} instead of ${} in all, expected in {wait}",
            Usd(there),
            Usd(here)
        );
        Self { kind: BlockerKind::Cheaper, message }
    }

    pub(super) fn held(job: &JobId) -> Self {
        let message = format!("free units are held for job {job}, which has waited longer");
        Self { kind: BlockerKind::Held, message }
    }
}

/// Counts what stands between a job and its units at `now`. What it asks for comes twice: in its
/// own words, and with what is known of it.
pub(super) fn blockers(
    planner: &Planner,
    yard: &Yard,
    request: &Resources,
    (asked, hints): (&Request, &Hints<'_>),
    now: Timestamp,
) -> Vec<Blocker> {
    let word = unit_word(request);
    if planner.nodes().is_empty() {
        let message = "no worker is up: start one with `yard worker`".into();
        return vec![Blocker { kind: BlockerKind::NoNodes, message }];
    }
    let Census { all, busy, out, reachable, nodes, .. } = yard.census(asked);
    let units = counted(request.gpus, &word);
    let needs = format!("needs {units}{}{}", parts::asked(request), beside(request));
    let spread = request
        .max_ranks_per_node
        .map_or_else(String::new, |most| format!(", at most {most} a node"));
    if reachable < request.gpus {
        let has = format!("{} on {} up", counted(all, &word), counted(nodes, "node"));
        let room = if asked.needs_host() && all >= request.gpus {
            format!(", with room for {}", counted(reachable, "such rank"))
        } else {
            String::new()
        };
        let message = format!("{needs}{spread}; there are {has}{room}");
        let mut list = vec![Blocker { kind: BlockerKind::TooFew, message }];
        list.extend(parts::others(yard, asked));
        return list;
    }
    let mut list = Vec::new();
    let message = format!("{needs}{spread}; {busy} of {all} are busy");
    list.push(Blocker { kind: BlockerKind::Busy, message });
    if out > 0 {
        let message = format!("{} cannot be used: {}", counted(out, &word), reasons(planner));
        list.push(Blocker { kind: BlockerKind::Unusable, message });
    }
    list.extend(host::lacking(planner, asked));
    list.extend(parts::others(yard, asked));
    if let Some(during) = hints.during {
        list.extend(reserved(yard, asked, hints, during, now, &word));
    }
    list
}

/// The reservations that are in a job's way, at most so many of them.
const SHOWN: usize = 4;

fn reserved(
    yard: &Yard,
    asked: &Request,
    hints: &Hints<'_>,
    during: During<'_>,
    now: Timestamp,
    word: &str,
) -> Vec<Blocker> {
    let found = yard.reserved(asked, hints).by_name;
    let mut known: Vec<_> = found
        .iter()
        .filter_map(|(name, counts)| Some((during.spec(name)?, name, counts)))
        .collect();
    known.sort_by_key(|(spec, name, _)| (spec.from, *name));
    let blocker = |(spec, name, (units, nodes)): (&ReservationSpec, _, &(u32, u32))| {
        let units = format!("{} on {}", counted(*units, word), counted(*nodes, "node"));
        let are = if units.starts_with("1 ") { "is" } else { "are" };
        let when = if spec.from <= now {
            format!("for {} more", spec.until.since(now))
        } else {
            let (begins, lasts) = (spec.from.since(now), spec.until.since(spec.from));
            format!("in {begins} for {lasts}, and it may run until then")
        };
        // For whom else is not told: projects do not exist for those who are not in them.
        let what = match spec.purpose {
            Purpose::Maintenance => "maintenance",
            Purpose::For { .. } => "others",
        };
        let message = format!("{units} {are} reserved for {what} ({name}) {when}");
        Blocker { kind: BlockerKind::Reserved, message }
    };
    known.into_iter().take(SHOWN).map(blocker).collect()
}

/// Whether the request would fit if every unit that the job may use were free.
pub(super) fn could_fit(yard: &Yard, request: &Request, hints: &Hints<'_>) -> bool {
    let usable = yard.census(request).usable;
    let reserved = if hints.during.is_some() { yard.reserved(request, hints).usable } else { 0 };
    usable.saturating_sub(reserved) >= request.ranks
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
        let blockers = self.reason(job, now).map(|b| b.to_vec()).unwrap_or_default();
        let (counterfactuals, asked) = if blockers.is_empty() {
            (Vec::new(), Cost::default())
        } else {
            self.what_if(&waiting, now)
        };
        let suggestions = counterfactuals.iter().map(ToString::to_string).collect();
        Some(Explanation { position, blockers, suggestions, counterfactuals, asked })
    }
}
