//! A job as replicas know it: spec, attempts, checkpoint catalogue, outcome.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trainyard_jobs::{
    AttemptNo, AttemptPhase, AttemptRef, Bytes, CheckpointId, CheckpointPart, Digest, EndReason,
    FileEntry, Generation, JobId, JobPhase, JobSpec, Millis, ModelName, NodeId, RankExit, Revision,
    StopCause, Timestamp, UnitId,
    spec::{Resources, Speed},
};
use trainyard_probe::planted;

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What it runs.
    pub spec: JobSpec,
    /// Who submitted it.
    pub principal: String,
    /// Its work directory, if one was sent.
    pub bundle: Option<Digest>,
    /// The git commit of the work directory, if it was one.
    pub commit: Option<String>,
    /// When it was submitted.
    pub submitted: Timestamp,
    /// The log index of its submission: its place among jobs of equal priority.
    pub sequence: u64,
    /// Where it stands.
    pub phase: JobPhase,
    /// Counts changes, for preconditions.
    pub version: u64,
    /// Somebody wants it ended.
    pub cancel_requested: bool,
    /// Its attempts, oldest first; the newest owns the job.
    pub attempts: Vec<Attempt>,
    /// Attempts that failed by the job's own doing.
    pub restarts: u32,
    /// Not to be started before this.
    pub not_before: Timestamp,
    /// Run time of the attempts that ended.
    pub used: Millis,
    /// The checkpoint catalogue, oldest first.
    pub checkpoints: Vec<Checkpoint>,
    /// Parts of checkpoints that are not whole yet, by step and part.
    pub parts: BTreeMap<u64, BTreeMap<u32, CheckpointPart>>,
    /// What the last attempt left, once it ended well.
    pub outcome: Option<Outcome>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Why it ended.
    pub end: Option<EndReason>,
    /// The model version that it registered.
    pub registered: Option<(ModelName, u32)>,
    /// Unit-milliseconds of the attempts that ended; nothing where all of them had the same size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attained: Option<u64>,
}

/// What a run that ended well left behind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Uploaded files.
    pub artifacts: Vec<FileEntry>,
    /// Final metrics, as decimal text.
    pub metrics: BTreeMap<String, String>,
}

/// One start of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number.
    pub number: AttemptNo,
    /// The restart in place within it.
    pub generation: Generation,
    /// Where it stands.
    pub phase: AttemptPhase,
    /// The point in history at which it was started.
    pub started_at: Revision,
    /// When it was started.
    pub started: Timestamp,
    /// When every node had confirmed its end.
    pub ended: Option<Timestamp>,
    /// Its nodes in group-rank order.
    pub placements: Vec<Placement>,
    /// Where rank 0 listens.
    pub master_addr: String,
    /// Where rank 0 listens.
    pub master_port: u16,
    /// What it resumed from.
    pub resume: Option<CheckpointId>,
    /// Why it ended or is being stopped.
    pub end: Option<EndReason>,
    /// It was asked to save its state and is to be stopped then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<Leaving>,
    /// What its job goes on with once it is stopped. Who asks what still holds asks
    /// [`Attempt::goes_on`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<GoesOn>,
    /// Its GPUs by type, as their nodes called them when it was started.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gpu_types: BTreeMap<String, u32>,
}

/// An attempt that was asked to save its state, and is stopped once it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// What it is stopped for.
    pub cause: StopCause,
    /// When it is stopped at the latest.
    pub by: Timestamp,
    /// When it was asked.
    pub asked: Timestamp,
}

/// The units that are kept for the next attempt of a job that is stopped and goes on at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoesOn {
    /// Node by node in group-rank order, one unit a rank.
    pub units: Vec<(NodeId, Vec<UnitId>)>,
    /// The job that gets what it gives up, if one does.
    pub for_job: Option<JobId>,
}

impl GoesOn {
    /// The ranks of the next attempt.
    #[must_use]
    pub fn ranks(&self) -> u32 {
        let ranks: usize = self.units.iter().map(|(_, units)| units.len()).sum();
        u32::try_from(ranks).unwrap_or(u32::MAX)
    }
}

/// One node's share of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The node.
    pub node: NodeId,
    /// The node's name then.
    pub node_name: String,
    /// Its first rank.
    pub first_rank: u32,
    /// One unit a rank, in rank order.
    pub units: Vec<UnitId>,
    /// What is known of its ranks.
    pub state: PlacementState,
    /// How its ranks exited.
    pub exits: BTreeMap<u32, RankExit>,
}

/// What is known of an attempt's ranks on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlacementState {
    /// In the node's desired set.
    Assigned,
    /// The node says that they run.
    Started,
    /// The node says that they exited, or never ran.
    Exited,
    /// The node was called lost; its units stay taken until it registers without them.
    Lost,
}

impl PlacementState {
    /// Nothing more will be heard of these ranks that matters to their attempt.
    #[must_use]
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Exited | Self::Lost)
    }

    /// The word that tables and JSON use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Started => "started",
            Self::Exited => "exited",
            Self::Lost => "lost",
        }
    }
}

/// A catalogued checkpoint. Only these are ever resumed from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The log index that committed it.
    pub id: CheckpointId,
    /// The attempt that wrote it.
    pub attempt: AttemptRef,
    /// Optimizer steps done.
    pub step: u64,
    /// Its parts' manifests in group-rank order.
    pub manifests: Vec<FileEntry>,
    /// Bytes in all files.
    pub size: Bytes,
    /// When it was committed.
    pub created: Timestamp,
    /// Its bytes are being deleted; never resumed from again.
    pub retired: bool,
}

impl Job {
    /// The attempt that owns the job.
    #[must_use]
    pub fn current(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    pub(crate) fn current_mut(&mut self) -> Option<&mut Attempt> {
        self.attempts.last_mut()
    }

    /// Names one of its attempts.
    #[must_use]
    pub fn attempt_ref(&self, attempt: &Attempt) -> AttemptRef {
        AttemptRef { job: self.id.clone(), attempt: attempt.number, generation: attempt.generation }
    }

    /// Whether `attempt` owns the job.
    #[must_use]
    pub fn is_current(&self, attempt: &AttemptRef) -> bool {
        let owns = |a: &Attempt| planted("skip the attempt check") || a.is(attempt);
        self.id == attempt.job && self.current().is_some_and(owns)
    }

    /// The newest checkpoint to resume from.
    #[must_use]
    pub fn newest_checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoints.iter().rev().find(|c| !c.retired)
    }

    /// A catalogued checkpoint.
    #[must_use]
    pub fn checkpoint(&self, id: CheckpointId) -> Option<&Checkpoint> {
        self.checkpoints.iter().find(|c| c.id == id)
    }

    /// Whether something still needs the bytes of a checkpoint: a restore that may be under way.
    #[must_use]
    pub fn pins(&self, id: CheckpointId) -> bool {
        let restoring = |a: &Attempt| {
            let starting = |p: &Placement| p.state == PlacementState::Assigned;
            a.resume == Some(id) && a.placements.iter().any(starting)
        };
        let newest = !self.phase.is_final() && self.newest_checkpoint().is_some_and(|c| c.id == id);
        newest || self.current().is_some_and(restoring)
    }

    /// Checkpoints beyond what the job keeps, and those whose deletion was begun; newest first.
    pub fn surplus(&self) -> impl Iterator<Item = &Checkpoint> {
        let keep = usize::try_from(self.spec.checkpoint.keep).unwrap_or(usize::MAX);
        let mut kept = 0;
        self.checkpoints.iter().rev().filter(move |checkpoint| {
            let goes = checkpoint.retired || (kept >= keep && !self.pins(checkpoint.id));
            kept += usize::from(!goes);
            goes
        })
    }

    /// Whether nothing more is to be done about it: it has ended, and nothing of it is to be
    /// deleted.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.phase.is_final() && self.surplus().next().is_none()
    }

    /// Unit-milliseconds of the attempts that ended.
    #[must_use]
    pub fn attained(&self) -> u64 {
        let whole = || self.used.0.saturating_mul(u64::from(self.spec.resources.gpus));
        self.attained.unwrap_or_else(whole)
    }

    /// Run time of the attempts whose GPUs are known, by the type that set their pace, in lower
    /// case; of one with fewer ranks than the job asks for, that part.
    #[must_use]
    pub fn ran_on(&self) -> BTreeMap<String, Millis> {
        let asked = &self.spec.resources;
        let mut ran_on: BTreeMap<String, Millis> = BTreeMap::new();
        for attempt in &self.attempts {
            let Some((ended, model)) = attempt.ended.zip(attempt.slowest(asked)) else { continue };
            let ranks = u64::from(attempt.world_size());
            let ran = ended.since(attempt.started).0.saturating_mul(ranks);
            let sum = ran_on.entry(model.to_ascii_lowercase()).or_default();
            sum.0 = sum.0.saturating_add(ran / u64::from(asked.gpus.max(1)));
        }
        ran_on
    }

    /// The run time that is left to it, if it has a limit.
    #[must_use]
    pub fn allowance(&self) -> Option<Millis> {
        let used = if planted("a fresh allowance each time") { 0 } else { self.used.0 };
        self.spec.limits.time.map(|limit| Millis(limit.0.saturating_sub(used)))
    }
}

impl Attempt {
    /// Whether it is the one of its job that `attempt` names.
    #[must_use]
    pub fn is(&self, attempt: &AttemptRef) -> bool {
        self.number == attempt.attempt && self.generation == attempt.generation
    }

    /// The ranks of the whole gang.
    #[must_use]
    pub fn world_size(&self) -> u32 {
        let ranks: usize = self.placements.iter().map(|p| p.units.len()).sum();
        u32::try_from(ranks).unwrap_or(u32::MAX)
    }

    /// What its job goes on with, as long as it is stopped for nothing else than that.
    #[must_use]
    pub fn goes_on(&self) -> Option<&GoesOn> {
        let cause = match (&self.end, &self.leaving) {
            (Some(EndReason::Preempted { cause }), _) => *cause,
            (None, Some(leaving)) => leaving.cause,
            _ => return None,
        };
        let moves = matches!(cause, StopCause::Shrink | StopCause::Migration);
        self.kept.as_ref().filter(|_| moves)
    }

    /// Why it ended or is being stopped, in words.
    #[must_use]
    pub fn why_ended(&self) -> Option<String> {
        let reason = self.end.as_ref()?;
        let Some(kept) = self.goes_on() else { return Some(reason.to_string()) };
        let (had, keeps) = (self.world_size(), kept.ranks());
        let whom = kept.for_job.as_ref().map_or_else(String::new, |job| format!(" to job {job}"));
        Some(match had.checked_sub(keeps) {
            Some(gives @ 1..) => {
                format!("gave {gives} of its {had} units{whom}, goes on with {keeps}")
            }
            _ => match &kept.for_job {
                Some(job) => format!("moved to other units to make room for job {job}"),
                None => reason.to_string(),
            },
        })
    }

    /// The type of its GPUs that sets its pace, if they are known.
    #[must_use]
    pub fn slowest(&self, asked: &Resources) -> Option<&str> {
        let models = self.gpu_types.keys().map(String::as_str);
        models.min_by_key(|model| asked.speed.on(model))
    }

    /// How fast its job says that it runs on what it has.
    #[must_use]
    pub fn speed(&self, asked: &Resources) -> Speed {
        asked.speed.of_gang(self.gpu_types.keys().map(String::as_str))
    }

    /// Nodes where a rank of it failed by itself, or that were lost with it. Ranks that were stopped
    /// because another one failed say nothing of their node.
    pub fn failed_on(&self) -> impl Iterator<Item = &NodeId> {
        let failed = match &self.end {
            Some(EndReason::RankFailed { rank, .. }) => Some(*rank),
            _ => None,
        };
        let here = move |placement: &&Placement| {
            let ranks = u32::try_from(placement.units.len()).unwrap_or(u32::MAX);
            let own = placement.first_rank..placement.first_rank.saturating_add(ranks);
            failed.is_some_and(|rank| own.contains(&rank))
                || placement.state == PlacementState::Lost
        };
        self.placements.iter().filter(here).map(|placement| &placement.node)
    }

    /// Its share on `node`.
    #[must_use]
    pub fn placement(&self, node: &NodeId) -> Option<&Placement> {
        self.placements.iter().find(|p| p.node == *node)
    }

    pub(crate) fn placement_mut(&mut self, node: &NodeId) -> Option<&mut Placement> {
        self.placements.iter_mut().find(|p| p.node == *node)
    }
}
