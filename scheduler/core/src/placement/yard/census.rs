//! How many units answer to a request, and in which way they are not to be had: what an
//! explanation counts. As the nodes are, whatever a plan has tried.

use std::collections::BTreeMap;

use trainyard_jobs::{Device, DeviceKind, ReservationName};

use super::{Yard, kinds::KindId, spot::Spot};
use crate::placement::{
    fit::{Hints, Request, WHOLE},
    windows::Covers,
};

/// Units that answer to a request, wherever they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// All of them.
    pub all: u32,
    /// Those that attempts have.
    pub busy: u32,
    /// Those that nobody has and that cannot be used.
    pub out: u32,
    /// What the limit of ranks a node, its processors and its memory leave of all.
    pub reachable: u32,
    /// What that leaves without those that cannot be used.
    pub usable: u32,
    /// The nodes that have any.
    pub nodes: u32,
}

/// Units that answer to a request and that reservations keep it from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::placement) struct Reserved {
    /// Of those, what the limit of ranks a node leaves and nothing else keeps from being used.
    pub(in crate::placement) usable: u32,
    /// Units and nodes by reservation.
    pub(in crate::placement) by_name: BTreeMap<ReservationName, (u32, u32)>,
}

impl Reserved {
    fn count(&mut self, name: &ReservationName, units: u32, nodes: u32) {
        let sum = self.by_name.entry(name.clone()).or_default();
        *sum = (sum.0.saturating_add(units), sum.1.saturating_add(nodes));
    }
}

/// What makes units alike to whoever only counts them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::placement) struct UnitType {
    pub(in crate::placement) device: DeviceKind,
    /// A part of a GPU.
    pub(in crate::placement) is_part: bool,
    /// In lower case.
    pub(in crate::placement) model: String,
}

impl UnitType {
    /// Whether a device is such a unit.
    pub(in crate::placement) fn is_of(&self, device: &Device) -> bool {
        self.device == device.kind
            && self.is_part == (device.part.milli() < WHOLE)
            && self.model.eq_ignore_ascii_case(&device.model)
    }
}

impl Yard {
    /// How many units of each type there are.
    pub(in crate::placement) fn units_by_type(&self) -> BTreeMap<UnitType, u64> {
        let mut units = BTreeMap::new();
        for (id, kind) in self.kinds.all() {
            let model = kind.model.to_ascii_lowercase();
            let kind = UnitType { device: kind.device, is_part: kind.part < WHOLE, model };
            *units.entry(kind).or_default() += u64::from(self.kinds.census(id).1);
        }
        units
    }

    /// Counts the units that reservations keep a job from.
    pub(in crate::placement) fn reserved(&self, request: &Request, hints: &Hints<'_>) -> Reserved {
        let mut reserved = Reserved::default();
        let Some(during) = hints.during else { return reserved };
        let kinds = self.kinds.answering(request);
        let spots = self.covers.iter().filter_map(|(node, covers)| {
            let spot = self.spot(*self.by_id.get(node)?)?;
            request.allows(&spot.labels).then_some((spot, covers))
        });
        for (spot, covers) in spots {
            let mut names = during.barring(covers, &request.entitled).peekable();
            let pools = || spot.pools.iter().filter(|pool| kinds.contains(&pool.kind));
            let units: u32 = pools().map(|pool| u32::from(pool.total)).sum();
            if units == 0 || names.peek().is_none() {
                continue;
            }
            reserved.usable += spot.counts(request, &kinds).1;
            names.for_each(|name| reserved.count(name, units, 1));
        }
        reserved
    }

    /// Whether a reservation keeps a job off a node.
    pub(super) fn is_barred(&self, spot: &Spot, request: &Request, hints: &Hints<'_>) -> bool {
        let bars = |(during, covers): (crate::placement::During<'_>, &Covers)| {
            during.barring(covers, &request.entitled).next().is_some()
        };
        hints.during.zip(self.covers.get(&spot.id)).is_some_and(bars)
    }

    /// Counts the units that answer to a request.
    #[must_use]
    pub fn census(&self, request: &Request) -> Census {
        let kinds = self.kinds.answering(request);
        let spreads = request.on_parts() && request.ranks > 1;
        let anywhere = request.labels.is_empty() && request.most_per_node == u32::MAX;
        if anywhere && !spreads && !request.needs_host() && self.is_simple() {
            return self.sum(&kinds);
        }
        let mut census = Census::default();
        for (_, spot) in self.spots().filter(|(_, spot)| request.allows(&spot.labels)) {
            let (mut here, mut out) = (0, 0);
            for pool in spot.pools.iter().filter(|pool| kinds.contains(&pool.kind)) {
                here += u32::from(pool.total);
                out += u32::from(pool.out);
                census.busy += u32::from(pool.busy);
            }
            census.all += here;
            census.out += out;
            census.nodes += u32::from(here > 0);
            let (reachable, usable) = spot.counts(request, &kinds);
            census.reachable += reachable;
            census.usable += usable;
        }
        census
    }

    /// Whether no node has units of several kinds.
    fn is_simple(&self) -> bool {
        self.several == 0
    }

    fn sum(&self, kinds: &[KindId]) -> Census {
        let mut census = Census::default();
        for kind in kinds {
            let (nodes, units, busy, out) = self.kinds.census(*kind);
            census.nodes += nodes;
            census.all += units;
            census.busy += busy;
            census.out += out;
        }
        census.reachable = census.all;
        census.usable = census.all - census.out;
        census
    }
}
