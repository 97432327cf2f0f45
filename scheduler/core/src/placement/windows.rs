//! Reservations as the planner sees them: which nodes each covers, and which of them keep a job
//! off its nodes. A node's reservations are part of its kind in the yard, so that a search passes
//! over all nodes of a reservation in one step.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{NodeId, ProjectName, ReservationName, ReservationSpec, Timestamp};

use super::view::PlanNode;

/// The reservations of a node.
pub(super) type Covers = BTreeSet<ReservationName>;

/// All reservations, and the nodes that are up of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Windows {
    all: BTreeMap<ReservationName, ReservationSpec>,
    members: BTreeMap<ReservationName, BTreeSet<NodeId>>,
}

/// When a job would run: reservations that begin before its end and are not over at its start are
/// in its way, but for those that are for it.
#[derive(Debug, Clone, Copy)]
pub struct During<'a> {
    windows: &'a Windows,
    from: Timestamp,
    until: Timestamp,
}

impl Windows {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The reservations by name.
    pub(super) const fn all(&self) -> &BTreeMap<ReservationName, ReservationSpec> {
        &self.all
    }

    /// The nodes that are up and that a reservation covers.
    pub(super) fn members(&self, name: &ReservationName) -> impl Iterator<Item = &NodeId> {
        self.members.get(name).into_iter().flatten()
    }

    /// Takes in a reservation, or that it is no more. Who its nodes are is to be told anew.
    pub(super) fn set(
        &mut self,
        name: &ReservationName,
        spec: Option<ReservationSpec>,
    ) -> Option<ReservationSpec> {
        self.members.remove(name);
        match spec {
            Some(spec) => self.all.insert(name.clone(), spec),
            None => self.all.remove(name),
        }
    }

    /// Notes that a node is up, and says which reservations cover it.
    pub(super) fn enter(&mut self, node: &PlanNode) -> Covers {
        let covered =
            self.all.iter().filter(|(_, spec)| spec.nodes.covers(&node.name, &node.labels));
        let covers: Covers = covered.map(|(name, _)| name.clone()).collect();
        self.leave(&node.id);
        for name in &covers {
            self.join(name, &node.id);
        }
        covers
    }

    /// Notes that a reservation covers a node.
    pub(super) fn join(&mut self, name: &ReservationName, node: &NodeId) {
        self.members.entry(name.clone()).or_default().insert(node.clone());
    }

    /// Forgets a node.
    pub(super) fn leave(&mut self, node: &NodeId) {
        self.members.retain(|_, nodes| {
            nodes.remove(node);
            !nodes.is_empty()
        });
    }

    /// The reservations that are for jobs of these queues and this user.
    pub(super) fn entitled<'a>(
        &self,
        queues: impl Iterator<Item = &'a ProjectName> + Clone,
        user: &str,
    ) -> BTreeSet<ReservationName> {
        let admits = |spec: &ReservationSpec| spec.purpose.admits(queues.clone(), user);
        let entitled = self.all.iter().filter(|(_, spec)| admits(spec));
        entitled.map(|(name, _)| name.clone()).collect()
    }

    /// A job that runs from then on and for so many milliseconds.
    pub(super) fn during(&self, from: Timestamp, runs: u64) -> Option<During<'_>> {
        let until = Timestamp(from.0.saturating_add(runs.max(1)));
        (!self.is_empty()).then_some(During { windows: self, from, until })
    }
}

impl<'a> During<'a> {
    /// When the job would be gone.
    pub(super) const fn until(&self) -> Timestamp {
        self.until
    }

    /// The same of a job that is gone at once: only what holds already is in its way.
    pub(super) const fn at_once(self) -> Self {
        Self { until: Timestamp(self.from.0.saturating_add(1)), ..self }
    }

    /// The same job, begun at another time.
    pub(super) const fn begun(self, from: Timestamp) -> Self {
        let runs = self.until.since(self.from).0;
        Self { from, until: Timestamp(from.0.saturating_add(runs)), ..self }
    }

    /// The same job with fewer ranks than it asks for: it runs for so much longer.
    pub(super) fn longer(self, ranks: u32, fewer: u32) -> Self {
        let runs = u128::from(self.until.since(self.from).0) * u128::from(ranks);
        let runs = u64::try_from(runs.div_ceil(u128::from(fewer.max(1)))).unwrap_or(u64::MAX);
        Self { until: Timestamp(self.from.0.saturating_add(runs)), ..self }
    }

    /// Those of a node's reservations that are in the way of a job, if it is entitled to none but
    /// these.
    pub(super) fn barring(
        self,
        covers: &'a Covers,
        entitled: &BTreeSet<ReservationName>,
    ) -> impl Iterator<Item = &'a ReservationName> {
        covers.iter().filter(move |name| {
            let meets = |spec: &ReservationSpec| spec.meets(self.from, self.until);
            !entitled.contains(*name) && self.windows.all.get(*name).is_some_and(meets)
        })
    }

    /// Jobs for which as many reservations are in the way are told the same.
    pub(super) fn class(&self) -> usize {
        self.windows.all.values().filter(|spec| spec.meets(self.from, self.until)).count()
    }

    /// Which of all reservations are there while the job runs, in their order.
    pub(super) fn meets(&self) -> Vec<bool> {
        self.windows.all.values().map(|spec| spec.meets(self.from, self.until)).collect()
    }

    /// A reservation.
    pub(super) fn spec(&self, name: &ReservationName) -> Option<&'a ReservationSpec> {
        self.windows.all.get(name)
    }
}
