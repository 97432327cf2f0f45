//! Slurm's accounts, as `sacct --parsable2 --allocations --format
//! JobID,JobName,User,Account,Submit,Start,End,AllocTRES` prints them. Steps are passed over; jobs
//! that have not ended, never started or had no GPU are left out.

use std::collections::BTreeMap;

use super::{
    between, from_first, instant, job_name, project,
    table::{Line, Table},
    tame,
};
use crate::{SimError, TraceJob, Workload};

pub(super) fn read(file: &str, text: &str) -> Result<Workload, SimError> {
    let table = Table::read(file, text, b'|', &["jobid", "submit", "start", "end"])?;
    if !["alloctres", "reqtres"].iter().any(|column| table.has(column)) {
        let what = "no column `AllocTRES`, which says how many GPUs a job had".to_owned();
        return Err(SimError::Trace { file: file.to_owned(), what });
    }
    let mut left_out = BTreeMap::new();
    let mut jobs = Vec::new();
    for line in table.lines() {
        // `12.batch` and `12.0` are steps of job 12.
        if line.get("jobid").contains('.') {
            continue;
        }
        match job(&line)? {
            Ok(job) => jobs.push(job),
            Err(why) => *left_out.entry(why).or_insert(0) += 1,
        }
    }
    Ok(from_first(jobs, left_out))
}

/// A job and when it was submitted, or why it is left out.
fn job(line: &Line<'_>) -> Result<Result<(i64, TraceJob), &'static str>, SimError> {
    let Some((gpus, gpu_type)) = gpus(line.get("alloctres")).or_else(|| gpus(line.get("reqtres")))
    else {
        return Ok(Err("jobs without a GPU"));
    };
    let time = |name: &str| match line.get(name) {
        "Unknown" | "None" | "" => Ok(None),
        text => match instant(text) {
            Some(at) => Ok(Some(at)),
            None => Err(line.wrong(format!("{name} is `{text}`; expected 2026-01-31T12:00:00"))),
        },
    };
    let Some(submit) = time("submit")? else { return Ok(Err("jobs without a time of submission")) };
    let Some(start) = time("start")? else { return Ok(Err("jobs that never started")) };
    let Some(end) = time("end")? else { return Ok(Err("jobs that have not ended")) };
    let duration = between(start, end).ok_or_else(|| line.wrong("it ends before it starts"))?;
    let unnamed = || line.wrong("a name that cannot be read");
    let account = line.get("account");
    let job = TraceJob {
        id: line.get("jobid").to_owned(),
        submit: trainyard_jobs::Millis(0),
        gpus,
        duration,
        project: project(account).ok_or_else(unnamed)?,
        user: tame(line.get("user")).or_else(|| tame(account)).unwrap_or_else(|| "default".into()),
        name: job_name(line.get("jobname")).ok_or_else(unnamed)?,
        gpu_type,
        priority: 0,
        min_gpus: None,
        fraction: None,
        cpus_per_rank: None,
        memory_per_rank: None,
    };
    Ok(Ok((submit, job)))
}

/// GPUs of a list such as `billing=8,cpu=8,gres/gpu=4,gres/gpu:a100=4`, and their type if it is
/// one.
fn gpus(tres: &str) -> Option<(u32, Option<String>)> {
    let items = || tres.split(',').filter_map(|item| item.trim().split_once('='));
    let typed: Vec<(&str, u32)> = items()
        .filter_map(|(name, count)| Some((name.strip_prefix("gres/gpu:")?, count.parse().ok()?)))
        .collect();
    let all = items().find(|(name, _)| *name == "gres/gpu").and_then(|(_, n)| n.parse().ok());
    let sum = typed.iter().map(|(_, count)| count).sum();
    let count = all.unwrap_or(sum);
    let kind = match typed.as_slice() {
        [(kind, _)] => Some(kind.to_ascii_lowercase()),
        _ => None,
    };
    (count > 0).then_some((count, kind))
}
