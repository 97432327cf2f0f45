//! What telemetry asks of the attempts: which processes are theirs, and what is to become of one
//! whose ranks have more of a GPU's memory than their share.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use trainyard_jobs::{Bytes, OverMemory, UnitId};

use super::registry::{Entry, Registry};
use crate::{
    shares::{GpuMemory, used, verdict},
    shim,
    telemetry::Watch,
};

/// The attempts of the node, as telemetry sees them.
pub(crate) struct Attempts(pub(crate) Arc<Registry>);

impl Watch for Attempts {
    fn own(&self) -> BTreeSet<i32> {
        let mut own = self.0.shims();
        own.extend(shim::descendants(&own));
        own
    }

    fn memory(&self, gpus: &[GpuMemory]) -> BTreeMap<UnitId, Bytes> {
        let mut all = BTreeMap::new();
        if gpus.iter().all(|gpu| gpu.by_pid.is_empty()) {
            return all;
        }
        for (entry, shim) in self.0.on_shares() {
            let own = shim::descendants(&BTreeSet::from([shim]));
            let holdings = entry.holdings();
            let of_share = |holding| Some((used(holding, &own, gpus)?, holding));
            for ((used, _), holding) in holdings.iter().filter_map(of_share) {
                all.insert(holding.unit.clone(), used);
            }
            if let Some(over) = verdict(&holdings, &own, gpus) {
                end(&entry, over);
            }
        }
        all
    }
}

/// Stops an attempt, with the reason on record before: the next agent tells it if this one cannot.
fn end(entry: &Entry, over: OverMemory) {
    let attempt = &entry.order.attempt;
    let OverMemory { rank, used, share } = over;
    tracing::warn!(%attempt, rank, %used, %share, "above its share of a GPU's memory: stopped");
    if let Err(error) = entry.dir.record_over_memory(over) {
        tracing::error!(%attempt, %error, "why it is stopped is not on record");
    }
    entry.stop();
}
