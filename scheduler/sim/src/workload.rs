//! A workload: who asks for what, when, and how long it takes. Times are whole milliseconds from
//! the start of the trace, so that a replay has no rounding of its own.

use trainyard_jobs::{Bytes, JobName, Millis, ProjectName, WHOLE_GPU, spec::Fraction};

/// All jobs of a trace, in the order of their submission.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workload {
    /// The jobs; of those submitted at one instant, the one that the trace names first is first.
    pub jobs: Vec<TraceJob>,
    /// Lines of the trace that are no jobs for GPUs and were left out, and why.
    pub left_out: Vec<(String, u64)>,
}

/// One job of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceJob {
    /// What the trace calls it.
    pub id: String,
    /// When it is submitted.
    pub submit: Millis,
    /// Its ranks.
    pub gpus: u32,
    /// Its run time with all of its ranks, undisturbed, on a node of speed 1.
    pub duration: Millis,
    /// The project that it counts against.
    pub project: ProjectName,
    /// Who submits it; the project's name where the trace does not say.
    pub user: String,
    /// What its owner calls it: jobs of one name are runs of one thing.
    pub name: JobName,
    /// The GPU type that it asks for, in lower case.
    pub gpu_type: Option<String>,
    /// The higher goes first.
    pub priority: i32,
    /// It may shrink to this many ranks.
    pub min_gpus: Option<u32>,
    /// The part of a GPU that each rank asks for; a whole one where the trace does not say.
    pub fraction: Option<Fraction>,
    /// Processors that each rank asks for.
    pub cpus_per_rank: Option<u32>,
    /// Main memory that each rank asks for.
    pub memory_per_rank: Option<Bytes>,
}

impl TraceJob {
    /// What each rank asks for, in thousandths of a GPU.
    #[must_use]
    pub fn part_milli(&self) -> u16 {
        self.fraction.map_or(WHOLE_GPU, Fraction::milli)
    }

    /// GPU time of its work, in thousandths of a GPU times milliseconds.
    pub(crate) fn work(&self) -> u128 {
        u128::from(self.gpus) * u128::from(self.part_milli()) * u128::from(self.duration.0)
    }
}

impl Workload {
    /// Puts the jobs in order.
    #[must_use]
    pub(crate) fn of(mut jobs: Vec<TraceJob>, left_out: Vec<(String, u64)>) -> Self {
        jobs.sort_by_key(|job| job.submit);
        Self { jobs, left_out }
    }

    /// The jobs of `project` alone.
    #[must_use]
    pub fn of_project(mut self, project: &str) -> Self {
        self.jobs.retain(|job| job.project.as_str() == project);
        self
    }

    /// All jobs counted against one project, as if there were no others.
    #[must_use]
    pub fn as_one_project(mut self, project: &ProjectName) -> Self {
        for job in &mut self.jobs {
            job.project = project.clone();
        }
        self
    }

    /// The first `count` jobs.
    #[must_use]
    pub fn first(mut self, count: usize) -> Self {
        self.jobs.truncate(count);
        self
    }

    /// GPU time of all jobs, in GPU-milliseconds.
    #[must_use]
    pub fn work(&self) -> u128 {
        self.jobs.iter().map(TraceJob::work).sum::<u128>() / u128::from(WHOLE_GPU)
    }
}
