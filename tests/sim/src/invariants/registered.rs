//! Invariant 9: A model version is one thing: registered once a run, numbered without gaps, and its bytes are
//! what the record says.

use std::collections::{BTreeMap, BTreeSet};

use futures::executor::block_on;
use trainyard_core::{Event, State};
use trainyard_jobs::ModelName;
use trainyard_store::Store;

use super::{Invariant, hold};
use crate::{around::Ms, facts::Fact};

#[derive(Default)]
pub struct Registered(BTreeMap<ModelName, u32>);

impl Invariant for Registered {
    fn name(&self) -> &'static str {
        "a model version is registered once"
    }

    fn see(&mut self, _now: Ms, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Committed { events, .. } = fact else { return Ok(()) };
        for event in *events {
            let Event::Model { model, version } = event else { continue };
            let last = self.0.entry(model.clone()).or_default();
            hold(*version == *last + 1, || format!("{model}/{version} follows {last}"))?;
            *last = *version;
        }
        Ok(())
    }

    fn at_end(&mut self, state: &State, store: &Store) -> Result<(), String> {
        let mut runs = BTreeSet::new();
        for version in state.models().values().flat_map(BTreeMap::values) {
            let job = &version.lineage.job;
            let name = format!("{}/{}", version.model, version.version);
            hold(runs.insert(job.clone()), || format!("job {job} registered {name} as well"))?;
            for file in &version.files {
                block_on(store.verify(file)).map_err(|error| format!("{name}: {error}"))?;
            }
        }
        let registering = state.jobs().values().filter(|job| job.registered.is_some()).count();
        hold(registering == runs.len(), || format!("{} versions of {registering} runs", runs.len()))
    }
}
