//! Turns a job's successive states into what happened between them. Pure: times come from the
//! states themselves.

use std::collections::BTreeSet;

use trainyard_proto::v1;

/// Something that a follower wants to know.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Happening {
    /// The job is in another phase.
    Phase {
        /// Its word.
        phase: String,
        /// Why.
        reason: String,
    },
    /// Ranks were started.
    Started {
        /// The attempt.
        attempt: u32,
        /// Where.
        nodes: Vec<String>,
        /// The step of the checkpoint that they resume from.
        from_step: Option<u64>,
    },
    /// An attempt ended.
    Ended {
        /// The attempt.
        attempt: u32,
        /// Why.
        end: String,
    },
    /// A checkpoint is in the catalogue.
    Checkpoint {
        /// Its step.
        step: u64,
        /// Its size in bytes.
        size: u64,
    },
    /// New figures.
    Figures(Figures),
}

/// The newest figures of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Figures {
    /// Optimizer steps done.
    pub(crate) step: f64,
    /// Steps in all.
    pub(crate) total: Option<f64>,
    /// The newest loss.
    pub(crate) loss: Option<f64>,
    /// Over all ranks.
    pub(crate) samples_per_s: Option<f64>,
    /// Seconds to the end, by the pace so far.
    pub(crate) left_s: Option<f64>,
}

/// Remembers what was said.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    phase: String,
    started: BTreeSet<u32>,
    ended: BTreeSet<u32>,
    newest: u64,
    figures_at: u64,
    /// The attempt's first figures: when, and at which step.
    pace_from: Option<(u32, u64, f64)>,
}

impl Tracker {
    /// What happened between the states seen before and this one, in the order of its cause.
    pub(crate) fn observe(&mut self, job: &v1::Job) -> Vec<Happening> {
        let mut happenings = Vec::new();
        self.attempts(job, &mut happenings);
        let newest = job.checkpoints.iter().map(|c| c.id).max().unwrap_or_default();
        let fresh = job.checkpoints.iter().filter(|checkpoint| checkpoint.id > self.newest);
        happenings.extend(fresh.map(|c| Happening::Checkpoint { step: c.step, size: c.size }));
        self.newest = self.newest.max(newest);
        if self.phase != job.phase {
            self.phase.clone_from(&job.phase);
            let (phase, reason) = (job.phase.clone(), job.reason.clone());
            happenings.push(Happening::Phase { phase, reason });
        }
        if let Some(progress) = job.progress.as_ref().filter(|p| p.unix_ms > self.figures_at) {
            self.figures_at = progress.unix_ms;
            happenings.extend(self.figures(progress).map(Happening::Figures));
        }
        happenings
    }

    fn attempts(&mut self, job: &v1::Job, happenings: &mut Vec<Happening>) {
        for attempt in &job.attempts {
            if attempt.started_ms > 0 && self.started.insert(attempt.number) {
                let resumed = job.checkpoints.iter().find(|c| c.id == attempt.resumed_from);
                happenings.push(Happening::Started {
                    attempt: attempt.number,
                    nodes: attempt.placements.iter().map(|p| p.node.clone()).collect(),
                    from_step: resumed.filter(|_| attempt.resumed_from > 0).map(|c| c.step),
                });
            }
            if attempt.ended_ms > 0 && self.ended.insert(attempt.number) {
                let (attempt, end) = (attempt.number, attempt.end.clone());
                happenings.push(Happening::Ended { attempt, end });
            }
        }
    }

    fn figures(&mut self, progress: &v1::Progress) -> Option<Figures> {
        let metric = |name| progress.metrics.get(name).copied().filter(|v: &f64| v.is_finite());
        let attempt = progress.attempt.as_ref().map_or(0, |attempt| attempt.attempt);
        let step = metric("step")?;
        let from = self.pace_from.filter(|(of, _, first)| *of == attempt && *first <= step);
        let (_, since_ms, first) =
            *self.pace_from.insert(from.unwrap_or((attempt, progress.unix_ms, step)));
        let total = metric("total_steps").filter(|total| *total >= step);
        let seconds = seconds(progress.unix_ms.saturating_sub(since_ms));
        let left_s = total
            .filter(|_| step > first && seconds > 0.0)
            .map(|total| (total - step) * seconds / (step - first));
        let samples_per_s = metric("samples_per_s");
        Some(Figures { step, total, loss: metric("loss"), samples_per_s, left_s })
    }
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "an estimate")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests;
