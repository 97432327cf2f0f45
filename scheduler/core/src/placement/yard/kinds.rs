//! Kinds of units under short names, so that a node is compared with a request in one step.

use trainyard_jobs::{Bytes, Device, DeviceKind};

use crate::placement::fit::Request;

/// The short name of a kind: where it stands among those seen. Nothing that is decided may
/// depend on it, because it tells in which order nodes came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KindId(pub(super) u16);

/// What makes units alike to every request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    device: DeviceKind,
    model: String,
    memory: Bytes,
}

/// The kinds that were ever seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Kinds(Vec<Kind>);

impl Kinds {
    /// The short name of a device's kind.
    pub(super) fn id(&mut self, device: &Device) -> KindId {
        let kind = |known: &Kind| {
            known.device == device.kind
                && known.memory == device.memory
                && known.model == device.model
        };
        let at = self.0.iter().position(kind).unwrap_or_else(|| {
            let Device { kind, model, memory, .. } = device.clone();
            self.0.push(Kind { device: kind, model, memory });
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
        self.0.get(usize::from(kind.0))
    }
}
