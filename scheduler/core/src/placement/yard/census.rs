//! How many units answer to a request, and in which way they are not to be had: what an
//! explanation counts. As the nodes are, whatever a plan has tried.

use super::{Yard, kinds::KindId};
use crate::placement::fit::Request;

/// Units that answer to a request, wherever they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// All of them.
    pub all: u32,
    /// Those that attempts have.
    pub busy: u32,
    /// Those that nobody has and that cannot be used.
    pub out: u32,
    /// What the limit of ranks a node leaves of all.
    pub reachable: u32,
    /// What that leaves without those that cannot be used.
    pub usable: u32,
    /// The nodes that have any.
    pub nodes: u32,
}

impl Yard {
    /// Counts the units that answer to a request.
    #[must_use]
    pub fn census(&self, request: &Request) -> Census {
        let kinds = self.kinds.answering(request);
        if request.labels.is_empty() && request.most_per_node == u32::MAX && self.is_simple() {
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
            census.reachable += here.min(request.most_per_node);
            census.usable += (here - out).min(request.most_per_node);
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
