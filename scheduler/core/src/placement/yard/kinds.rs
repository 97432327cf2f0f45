//! Kinds of units under short names, so that a node is compared with a request in one step.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use trainyard_jobs::{Bytes, Device, DeviceKind};

use crate::placement::{
    fit::Request,
    score::{Demand, Mix},
};

/// The short name of a kind: where it stands among those seen. Nothing that is decided may
/// depend on it, because it tells in which order nodes came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KindId(pub(super) u16);

/// What makes units alike to every request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) device: DeviceKind,
    pub(super) model: String,
    pub(super) memory: Bytes,
}

/// The kinds that were ever seen, each with a digest of what it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Kinds(Vec<(Kind, u64)>);

impl Kinds {
    /// The short name of a device's kind.
    pub(super) fn id(&mut self, device: &Device) -> KindId {
        let same = |(known, _): &(Kind, u64)| {
            known.device == device.kind
                && known.memory == device.memory
                && known.model == device.model
        };
        let at = self.0.iter().position(same).unwrap_or_else(|| {
            let Device { kind, model, memory, .. } = device.clone();
            let mut hasher = DefaultHasher::new();
            (kind, &model, memory.0).hash(&mut hasher);
            self.0.push((Kind { device: kind, model, memory }, hasher.finish()));
            self.0.len() - 1
        });
        KindId(u16::try_from(at).unwrap_or(u16::MAX))
    }

    /// Whether units of this kind answer to the request.
    pub(super) fn answers(&self, kind: KindId, request: &Request) -> bool {
        let known = self.get(kind);
        known.is_some_and(|kind| request.takes(kind.device, &kind.model, kind.memory))
    }

    /// The kinds that answer to the request, in an order that all planners share.
    pub(super) fn answering(&self, request: &Request) -> Vec<KindId> {
        let mut found: Vec<KindId> = (0..u16::try_from(self.0.len()).unwrap_or(u16::MAX))
            .map(KindId)
            .filter(|kind| self.answers(*kind, request))
            .collect();
        found.sort_by_key(|kind| self.get(*kind));
        found
    }

    pub(super) fn get(&self, kind: KindId) -> Option<&Kind> {
        self.0.get(usize::from(kind.0)).map(|(kind, _)| kind)
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// How units of each kind meet the jobs that are likely to come.
    pub(super) fn demands(&self, mix: &Mix) -> Vec<Vec<Demand>> {
        let demand = |kind: &Kind, (request, weight): &(Request, u64)| Demand {
            weight: *weight,
            ranks: u64::from(request.ranks.min(request.most_per_node)),
            share: request.share,
            cpu_milli: request.cpu_milli,
            memory: request.memory.0,
            answered: request.takes(kind.device, &kind.model, kind.memory),
        };
        let of_kind = |(kind, _): &(Kind, u64)| {
            let of_device =
                mix.shapes().iter().filter(|(request, _)| request.device == kind.device);
            of_device.map(|shape| demand(kind, shape)).collect()
        };
        self.0.iter().map(of_kind).collect()
    }

    /// A number that stands for the kind in every planner.
    pub(super) fn digest(&self, kind: KindId) -> u64 {
        self.0.get(usize::from(kind.0)).map_or(0, |(_, digest)| *digest)
    }
}
