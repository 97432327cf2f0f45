//! Racks, fabrics and zones: which nodes stand in each, and how many units are free there.

use std::collections::{BTreeMap, BTreeSet};

use super::{kinds::KindId, spot::Spot};
use crate::placement::topology::{Span, places};

/// Where a domain stands among those known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DomainId(usize);

/// All domains that were ever seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Domains {
    by_name: BTreeMap<(Span, String), usize>,
    all: Vec<Domain>,
}

/// A rack, a fabric or a zone.
#[derive(Debug, Clone)]
pub(super) struct Domain {
    pub(super) span: Span,
    /// Its nodes: sort key and place in the yard.
    pub(super) members: BTreeSet<(u64, u32)>,
    /// Units of each kind of which all is free.
    free: Vec<usize>,
}

impl Domains {
    /// The domains that a node's labels name.
    pub(super) fn of(&mut self, labels: &BTreeMap<String, String>) -> Vec<DomainId> {
        let Self { by_name, all } = self;
        let id = |(span, name): (Span, String)| {
            let at = *by_name.entry((span, name)).or_insert_with(|| {
                all.push(Domain { span, members: BTreeSet::new(), free: Vec::new() });
                all.len() - 1
            });
            DomainId(at)
        };
        places(labels).into_iter().map(id).collect()
    }

    /// Notes that a node came or went, with nothing free.
    pub(super) fn count(&mut self, slot: u32, spot: &Spot, came: bool) {
        for id in &spot.domains {
            let Some(domain) = self.all.get_mut(id.0) else { continue };
            if came {
                domain.members.insert((spot.key, slot));
            } else {
                domain.members.remove(&(spot.key, slot));
            }
        }
    }

    /// Notes that units of a node are free, or not any more.
    pub(super) fn change(&mut self, spot: &Spot, kind: KindId, count: usize, add: bool) {
        for id in &spot.domains {
            let Some(domain) = self.all.get_mut(id.0) else { continue };
            let at = usize::from(kind.0);
            if domain.free.len() <= at {
                domain.free.resize(at + 1, 0);
            }
            if let Some(free) = domain.free.get_mut(at) {
                *free = if add { *free + count } else { free.saturating_sub(count) };
            }
        }
    }

    /// The narrowest domain that all of these nodes share.
    pub(super) fn common<'a>(&self, mut nodes: impl Iterator<Item = &'a Spot>) -> Span {
        let Some(first) = nodes.next() else { return Span::Node };
        let mut shared = first.domains.clone();
        let mut alone = true;
        for node in nodes {
            shared.retain(|id| node.domains.contains(id));
            alone = false;
        }
        let spans = shared.iter().filter_map(|id| self.all.get(id.0)).map(|domain| domain.span);
        if alone { Span::Node } else { spans.min().unwrap_or(Span::Any) }
    }

    /// The domains of each width that have so many units free, at most `most` of each width, those
    /// with the least to spare first.
    pub(super) fn with(&self, kind: KindId, units: usize, most: usize) -> Vec<&Domain> {
        let free = |at: &usize| Some((*at, *self.all.get(*at)?.free.get(usize::from(kind.0))?));
        let enough = self.by_name.iter().filter_map(|((span, name), at)| {
            let (at, free) = free(at).filter(|(_, free)| *free >= units)?;
            Some((*span, free, name, at))
        });
        let mut found: Vec<_> = enough.collect();
        found.sort_unstable();
        let mut taken: BTreeMap<Span, usize> = BTreeMap::new();
        found.retain(|(span, ..)| {
            let taken = taken.entry(*span).or_default();
            *taken += 1;
            *taken <= most
        });
        found.into_iter().filter_map(|(.., at)| self.all.get(at)).collect()
    }
}
