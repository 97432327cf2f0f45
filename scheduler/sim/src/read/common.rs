//! The common schema: one header line, then a job a line; columns are found by name. Needed are
//! `submit_time_s`, `gpus` and `duration_s`; `job_id`, `vc`, `gpu_type`, `model`, `user`, `name`,
//! `priority`, `min_gpus`, `gpu_fraction`, `cpus_per_rank` and `memory_per_rank` are taken where
//! they stand.

use trainyard_jobs::{Bytes, spec::Fraction};

use super::{
    job_name, project,
    table::{Line, Table},
    tame,
};
use crate::{SimError, TraceJob, Workload};

/// Words that say that any GPU will do.
const ANY: [&str; 4] = ["", "any", "none", "-"];

pub(super) fn read(file: &str, text: &str) -> Result<Workload, SimError> {
    let table = Table::read(file, text, b',', &["submit_time_s", "gpus", "duration_s"])?;
    let mut jobs = Vec::new();
    let mut without = 0;
    for (number, line) in table.lines().enumerate() {
        match job(number, &line)? {
            Some(job) => jobs.push(job),
            None => without += 1,
        }
    }
    let left_out = (without > 0).then(|| ("jobs without a GPU".to_owned(), without));
    Ok(Workload::of(jobs, left_out.into_iter().collect()))
}

fn job(number: usize, line: &Line<'_>) -> Result<Option<TraceJob>, SimError> {
    let gpus = line.whole::<u32>("gpus")?.unwrap_or_default();
    if gpus == 0 {
        return Ok(None);
    }
    let vc = line.get("vc");
    let name = [line.get("name"), line.get("model")];
    let name = name.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
    let id = line.get("job_id");
    let kind = line.get("gpu_type").to_ascii_lowercase();
    let unnamed = || line.wrong("a name that cannot be read");
    Ok(Some(TraceJob {
        id: if id.is_empty() { number.to_string() } else { id.to_owned() },
        submit: line.seconds("submit_time_s")?,
        gpus,
        duration: line.seconds("duration_s")?,
        project: project(vc).ok_or_else(unnamed)?,
        user: tame(line.get("user")).or_else(|| tame(vc)).unwrap_or_else(|| "default".into()),
        name: job_name(name).ok_or_else(unnamed)?,
        gpu_type: Some(kind).filter(|kind| !ANY.contains(&kind.as_str())),
        priority: line.whole("priority")?.unwrap_or_default(),
        min_gpus: line.whole("min_gpus")?.filter(|least| *least < gpus),
        fraction: fraction(line)?,
        cpus_per_rank: line.whole("cpus_per_rank")?.filter(|cpus| *cpus > 0),
        memory_per_rank: memory(line)?,
    }))
}

fn fraction(line: &Line<'_>) -> Result<Option<Fraction>, SimError> {
    let text = line.get("gpu_fraction");
    if text.is_empty() {
        return Ok(None);
    }
    let milli = text.parse().map(|part: f64| crate::num::whole(part * 1e3)).ok();
    let fraction = milli.and_then(|milli| Fraction::from_milli(u16::try_from(milli).ok()?));
    let expected = || format!("gpu_fraction is `{text}`; expected a number from 0.001 to 1");
    fraction.map(Some).ok_or_else(|| line.wrong(expected()))
}

fn memory(line: &Line<'_>) -> Result<Option<Bytes>, SimError> {
    let text = line.get("memory_per_rank");
    if text.is_empty() {
        return Ok(None);
    }
    let memory = text.parse::<Bytes>();
    let memory = memory.map_err(|error| line.wrong(format!("memory_per_rank: {error}")))?;
    Ok(Some(memory).filter(|memory| memory.0 > 0))
}
