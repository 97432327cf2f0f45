//! The job log of Microsoft's Philly traces (Jeon et al., ATC '19): a JSON array of jobs, each with
//! its attempts and the GPUs that each had. A job's run time is that of all its attempts, its gang
//! the largest of theirs.

use std::collections::BTreeMap;

use serde::Deserialize;
use trainyard_jobs::Millis;

use super::{between, from_first, instant, job_name, project, tame};
use crate::{SimError, TraceJob, Workload};

#[derive(Deserialize)]
struct Job {
    #[serde(default)]
    jobid: String,
    #[serde(default)]
    vc: String,
    #[serde(default)]
    user: String,
    submitted_time: Option<String>,
    #[serde(default)]
    attempts: Vec<Attempt>,
}

#[derive(Deserialize)]
struct Attempt {
    start_time: Option<String>,
    end_time: Option<String>,
    #[serde(default)]
    detail: Vec<Server>,
}

#[derive(Deserialize)]
struct Server {
    #[serde(default)]
    gpus: Vec<serde::de::IgnoredAny>,
}

pub(super) fn read(file: &str, text: &str) -> Result<Workload, SimError> {
    let jobs: Vec<Job> = serde_json::from_str(text).map_err(|error| SimError::Trace {
        file: file.to_owned(),
        what: format!("{error}; expected an array of jobs with `submitted_time` and `attempts`"),
    })?;
    let mut left_out = BTreeMap::new();
    let mut taken = Vec::new();
    for job in jobs {
        match job.take() {
            Ok(job) => taken.push(job),
            Err(why) => *left_out.entry(why).or_insert(0) += 1,
        }
    }
    Ok(from_first(taken, left_out))
}

impl Job {
    fn take(self) -> Result<(i64, TraceJob), &'static str> {
        let submitted = self.submitted_time.as_deref().and_then(instant);
        let submitted = submitted.ok_or("jobs without a time of submission")?;
        let gpus = self.attempts.iter().map(Attempt::gpus).max().unwrap_or_default();
        let gpus = u32::try_from(gpus).unwrap_or(u32::MAX);
        if gpus == 0 {
            return Err("jobs without a GPU");
        }
        let ran = self.attempts.iter().filter_map(Attempt::ran).map(|ran| ran.0).sum();
        if ran == 0 {
            return Err("jobs that never ran, or have not ended");
        }
        let job = TraceJob {
            id: self.jobid,
            submit: Millis(0),
            gpus,
            duration: Millis(ran),
            project: project(&self.vc).ok_or("jobs with a name that cannot be read")?,
            user: tame(&self.user).or_else(|| tame(&self.vc)).unwrap_or_else(|| "default".into()),
            name: job_name("").ok_or("jobs with a name that cannot be read")?,
            gpu_type: None,
            priority: 0,
            min_gpus: None,
            fraction: None,
            cpus_per_rank: None,
            memory_per_rank: None,
        };
        Ok((submitted, job))
    }
}

impl Attempt {
    fn gpus(&self) -> usize {
        self.detail.iter().map(|server| server.gpus.len()).sum()
    }

    fn ran(&self) -> Option<Millis> {
        between(instant(self.start_time.as_deref()?)?, instant(self.end_time.as_deref()?)?)
    }
}
