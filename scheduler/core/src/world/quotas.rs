//! Limits of queues in the small cluster, counted the simple way.

use trainyard_jobs::{ProjectName, Quota};

use super::World;
use crate::State;

impl World {
    /// No start takes a queue over a limit: where it was not over it before, it is not over it now,
    /// and where it was it has no more.
    pub(super) fn limits_bind(&self, before: &State) {
        for (name, queue) in self.state.queues() {
            for quota in &queue.spec.quotas {
                let Some(limit) = quota.limit else { continue };
                let (had, has) = (units(before, name, quota), units(&self.state, name, quota));
                assert!(has <= had.max(limit), "{name:?} has {has} of {quota:?}");
            }
        }
    }
}

/// The units that the jobs of a queue and of those below it have.
fn units(state: &State, queue: &ProjectName, quota: &Quota) -> u32 {
    let mut sum = 0;
    for job in state.jobs().values().filter(|job| is_below(state, &job.spec.project, queue)) {
        let open = job.current().into_iter().flat_map(|attempt| &attempt.placements);
        for placement in open.filter(|placement| !placement.state.is_settled()) {
            let devices = &state.node(&placement.node).expect("known").inventory.devices;
            let counts = |model: Option<&str>| match &quota.gpu_type {
                None => true,
                Some(kind) => model.is_some_and(|model| model.to_lowercase() == *kind),
            };
            let models = placement.units.iter().map(|unit| devices.get(unit));
            sum += models.filter(|d| counts(d.map(|d| d.model.as_str()))).count() as u32;
        }
    }
    sum
}

fn is_below(state: &State, project: &ProjectName, queue: &ProjectName) -> bool {
    let parent = state.queues().get(project).and_then(|known| known.spec.parent.as_ref());
    // What is above all others is not a queue that jobs count against by its name.
    project == queue || parent.is_some_and(|parent| is_below(state, parent, queue))
}
