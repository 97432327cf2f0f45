//! One worker's stream: what it said last, and what follows from that.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use trainyard_core::placement::{Reading, Strain, StrangersUse};
use trainyard_jobs::{AttemptRef, SessionId, Timestamp, UnitId};
use trainyard_proto::v1;

use super::{Tenants, figures};

/// One worker's stream as the leader knows it.
#[derive(Debug, Clone)]
pub struct Live {
    /// The life of the agent that is heard.
    pub session: SessionId,
    /// When it was heard last, by the leader's monotonic clock.
    pub seen: Duration,
    /// Its newest figures.
    pub sample: Option<v1::NodeSample>,
    /// What runs there although the state does not know it.
    pub held: Vec<v1::HeldAttempt>,
    /// When those figures were heard, by the leader's wall clock: the worker's own is not asked.
    pub(super) sampled: Timestamp,
    pub(super) progress: BTreeMap<AttemptRef, v1::Progress>,
    /// Units that somebody else may be using.
    pub(super) strangers: BTreeMap<UnitId, StrangersUse>,
}

impl Live {
    pub(super) const fn fresh(session: SessionId, now: Duration) -> Self {
        Self {
            session,
            seen: now,
            sample: None,
            held: Vec::new(),
            sampled: Timestamp(0),
            progress: BTreeMap::new(),
            strangers: BTreeMap::new(),
        }
    }

    /// Takes in figures; `tenants` tells which units are in use by jobs of ours.
    pub(super) fn take_sample(
        &mut self,
        sample: v1::NodeSample,
        tenants: &Tenants,
        now: Timestamp,
    ) {
        // Shares of a GPU show the use of all of it.
        let ours: BTreeSet<&str> = tenants.keys().map(UnitId::gpu).collect();
        let mut before = std::mem::take(&mut self.strangers);
        for device in &sample.devices {
            let unit = UnitId(device.unit.clone());
            if ours.contains(unit.gpu()) {
                continue;
            }
            let Some(percent) = device.utilisation_percent.and_then(figures::small) else {
                continue;
            };
            let mut known = before.remove(&unit).unwrap_or_default();
            known.note(percent, now);
            self.strangers.insert(unit, known);
        }
        (self.sample, self.sampled) = (Some(sample), now);
    }

    fn readings(&self) -> impl Iterator<Item = (UnitId, Reading)> {
        let devices = self.sample.iter().flat_map(|sample| &sample.devices);
        devices.map(|device| {
            let unit = UnitId(device.unit.clone());
            let strangers = self.strangers.get(&unit).and_then(StrangersUse::percent);
            let celsius = device.temperature_celsius.and_then(figures::small);
            (unit, Reading { at: self.sampled, celsius, strangers })
        })
    }

    /// Units that are better left alone.
    pub(super) fn strained(&self, tenants: &Tenants, now: Timestamp) -> BTreeMap<UnitId, Strain> {
        let strain = |(unit, reading): (UnitId, Reading)| {
            let since = tenants.get(&unit).map(|tenant| tenant.since);
            Some((unit, reading.strain(now, since)?))
        };
        self.readings().filter_map(strain).collect()
    }

    /// Whether its figures say of any unit that it is better left alone, as long as they are fresh
    /// and of whoever has it.
    pub(super) fn is_strained(&self) -> bool {
        self.readings().any(|(_, reading)| reading.strain(self.sampled, None).is_some())
    }

    /// Units that cannot be handed out, with the reason.
    pub(super) fn unusable(&self) -> BTreeMap<UnitId, String> {
        let mut units = self.sample.as_ref().map(figures::unusable).unwrap_or_default();
        for held in &self.held {
            let attempt = held.attempt.clone().unwrap_or_default();
            let reason = format!(
                "held by attempt {} of job {}, which the recovered cluster does not know",
                attempt.attempt, attempt.job
            );
            units.extend(held.units.iter().map(|u| (UnitId(u.clone()), reason.clone())));
        }
        units
    }
}
