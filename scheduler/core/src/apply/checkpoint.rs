//! The checkpoint catalogue: parts come in, whole checkpoints are committed, old ones are
//! retired and forgotten.

use trainyard_jobs::{Bytes, CheckpointId, CheckpointPart, EndReason, JobId, NodeId};

use trainyard_probe::reached;

use super::Applied;
use crate::{
    command::Reply,
    event::Event,
    refusal::Refusal,
    state::{Checkpoint, Job, State},
};

/// Steps whose parts may be outstanding at once; the oldest gives way.
const OPEN_STEPS: usize = 16;

impl State {
    pub(super) fn report_checkpoint(
        &mut self,
        node: &NodeId,
        part: CheckpointPart,
        events: &mut Vec<Event>,
    ) -> Applied {
        let (index, time) = (self.index, self.time);
        let id = part.attempt.job.clone();
        let job = self.jobs.get_mut(&id).ok_or_else(|| Refusal::NoJob(id.clone()))?;
        if !job.is_current(&part.attempt) || job.phase.is_final() {
            return Err(Refusal::Superseded(part.attempt));
        }
        check_part(job, node, &part)?;
        let known = |c: &Checkpoint| c.manifests.contains(&part.manifest);
        if job.checkpoints.iter().any(known) {
            reached("core: a checkpoint that is catalogued already");
            return Ok(Reply::Done);
        }
        let (step, parts) = (part.step, part.parts);
        let attempt = part.attempt.clone();
        let open = job.parts.entry(step).or_default();
        open.insert(part.part, part);
        if u32::try_from(open.len()) != Ok(parts) {
            reached("core: a checkpoint that is not whole yet");
            while job.parts.len() > OPEN_STEPS {
                job.parts.pop_first();
            }
            return Ok(Reply::Done);
        }
        let whole = job.parts.remove(&step).unwrap_or_default();
        job.parts.retain(|open, _| *open > step);
        let size = whole.values().map(|p| p.size.0).fold(0, u64::saturating_add);
        job.checkpoints.push(Checkpoint {
            id: CheckpointId(index),
            attempt,
            step,
            manifests: whole.into_values().map(|p| p.manifest).collect(),
            size: Bytes(size),
            created: time,
            retired: false,
        });
        job.version += 1;
        let leaving = job.current().and_then(|attempt| attempt.leaving.as_ref());
        let cause = leaving.map(|leaving| leaving.cause);
        let checkpoint = CheckpointId(index);
        events.push(Event::Checkpoint { job: id.clone(), checkpoint, step });
        if let Some(cause) = cause {
            reached("core: an attempt that was asked to leave has saved its state");
            self.stop_current(&id, &EndReason::Preempted { cause }, events);
        }
        Ok(Reply::Done)
    }

    pub(super) fn retire_checkpoint(
        &mut self,
        id: &JobId,
        checkpoint: CheckpointId,
        events: &mut Vec<Event>,
    ) -> Applied {
        let job = self.jobs.get_mut(id).ok_or_else(|| Refusal::NoJob(id.clone()))?;
        if job.pins(checkpoint) {
            reached("core: a checkpoint that is needed");
            return Err(Refusal::Pinned(checkpoint.0));
        }
        if let Some(entry) = job.checkpoints.iter_mut().find(|c| c.id == checkpoint) {
            entry.retired = true;
            job.version += 1;
            events.push(Event::CheckpointGone { job: id.clone(), checkpoint });
        }
        Ok(Reply::Done)
    }

    pub(super) fn forget_checkpoint(
        &mut self,
        id: &JobId,
        checkpoint: CheckpointId,
        events: &mut Vec<Event>,
    ) -> Applied {
        let job = self.jobs.get_mut(id).ok_or_else(|| Refusal::NoJob(id.clone()))?;
        if job.checkpoint(checkpoint).is_some_and(|c| !c.retired) {
            return Err(Refusal::Pinned(checkpoint.0));
        }
        job.checkpoints.retain(|c| c.id != checkpoint);
        events.push(Event::CheckpointGone { job: id.clone(), checkpoint });
        Ok(Reply::Done)
    }
}

fn check_part(job: &Job, node: &NodeId, part: &CheckpointPart) -> Result<(), Refusal> {
    let nodes = job.current().map_or(&[][..], |a| &a.placements);
    let position = nodes.iter().position(|p| p.node == *node);
    if position.and_then(|p| u32::try_from(p).ok()) != Some(part.part) && part.parts > 1 {
        return Err(Refusal::Malformed(format!("part {} is not node {node}'s", part.part)));
    }
    let in_range = part.part < part.parts.max(1) || part.parts == 1;
    let fits = usize::try_from(part.parts).is_ok_and(|n| (1..=nodes.len()).contains(&n));
    if position.is_none() || !in_range || !fits {
        return Err(Refusal::Malformed(format!(
            "part {} of {} from node {node}: the attempt has {} nodes",
            part.part,
            part.parts,
            nodes.len()
        )));
    }
    Ok(())
}
