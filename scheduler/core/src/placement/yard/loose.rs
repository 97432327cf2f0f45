//! Nodes that are nearly free: where a gang that finds units enough in sum, but no place, needs the
//! fewest others to move.

use std::cmp::Reverse;

use trainyard_jobs::NodeId;

use super::Yard;
use crate::placement::fit::{Hints, Request, WHOLE};

/// Nodes of one kind that are looked at.
const LOOKS: usize = 64;

impl Yard {
    /// The nodes that lack the fewest free units for their part of a gang, so many at most. None
    /// where not enough is free in sum: then nobody's move would help.
    #[must_use]
    pub fn loosest(&self, request: &Request, hints: &Hints<'_>, most: usize) -> Vec<NodeId> {
        let ranks = usize::try_from(request.ranks).unwrap_or(usize::MAX);
        if request.share != WHOLE {
            return Vec::new();
        }
        let kinds = self.kinds.open(request, hints);
        let free: usize = kinds.iter().map(|kind| self.index.whole(*kind)).sum();
        if free < ranks {
            return Vec::new();
        }
        let mut found = Vec::new();
        for kind in kinds {
            for (_, key, slot) in self.index.of(kind).iter().rev().flatten().take(LOOKS) {
                let Some(spot) = self.spot(*slot) else { continue };
                let Some(pool) = spot.pool(kind) else { continue };
                let moves = pool.busy > 0 && pool.busy <= pool.total / 2;
                if moves && request.allows(&spot.labels) {
                    found.push((Reverse(pool.free.len()), *key, spot.id.clone()));
                }
            }
        }
        found.sort();
        found.truncate(most);
        found.into_iter().map(|(.., node)| node).collect()
    }
}
