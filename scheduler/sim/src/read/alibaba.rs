//! Tables of Alibaba's GPU traces: the pods of cluster-trace-gpu-v2023 (`num_gpu`,
//! `creation_time`, …) and the tasks of cluster-trace-gpu-v2020 (`plan_gpu`, `inst_num`, …), whose
//! first line may lack the names of its columns. Parts of GPUs, processors and memory are kept for
//! each rank; tasks of 2020 are submitted when they start, since the table says no more.

use std::collections::BTreeMap;

use trainyard_jobs::{Bytes, Millis, WHOLE_GPU, spec::Fraction};

use super::{
    job_name, project,
    table::{Line, Table},
    tame,
};
use crate::{SimError, TraceJob, Workload};

/// The columns of the tasks of 2020.
const TASKS: &str =
    "job_name,task_name,inst_num,status,start_time,end_time,plan_cpu,plan_mem,plan_gpu,gpu_type";

pub(super) fn read(file: &str, text: &str) -> Result<Workload, SimError> {
    let head = text.lines().next().unwrap_or_default().to_ascii_lowercase();
    let pods = head.contains("num_gpu");
    let text = if pods || head.contains("plan_gpu") {
        text.to_owned()
    } else {
        format!("{TASKS}\n{text}")
    };
    let needed: &[&str] = if pods {
        &["name", "num_gpu", "creation_time", "deletion_time"]
    } else {
        &["job_name", "inst_num", "start_time", "end_time", "plan_gpu"]
    };
    let table = Table::read(file, &text, b',', needed)?;
    let mut left_out = BTreeMap::new();
    let mut jobs = Vec::new();
    for line in table.lines() {
        match if pods { pod(&line)? } else { task(&line)? } {
            Ok(job) => jobs.push(job),
            Err(why) => *left_out.entry(why.to_owned()).or_insert(0) += 1,
        }
    }
    let first = jobs.iter().map(|job| job.submit.0).min().unwrap_or_default();
    for job in &mut jobs {
        job.submit = Millis(job.submit.0 - first);
    }
    Ok(Workload::of(jobs, left_out.into_iter().collect()))
}

fn pod(line: &Line<'_>) -> Result<Result<TraceJob, &'static str>, SimError> {
    let gpus = line.whole::<u32>("num_gpu")?.unwrap_or_default();
    if gpus == 0 {
        return Ok(Err("pods without a GPU"));
    }
    let submit = line.seconds("creation_time")?;
    let start = if line.get("scheduled_time").is_empty() {
        submit
    } else {
        line.seconds("scheduled_time")?
    };
    if line.get("deletion_time").is_empty() {
        return Ok(Err("pods that have not ended"));
    }
    let end = line.seconds("deletion_time")?;
    let kind = Some(line.get("gpu_spec")).filter(|kind| !kind.is_empty() && !kind.contains('|'));
    let job = job(line, line.get("name"), line.get("qos"), gpus, kind, [submit, start, end])?;
    let fraction = line.whole("gpu_milli")?.filter(|milli| gpus == 1 && *milli < WHOLE_GPU);
    let cpus = line.whole::<u64>("cpu_milli")?.unwrap_or_default();
    let memory = line.whole::<u64>("memory_mib")?.unwrap_or_default().saturating_mul(1 << 20);
    let asked = |job| asking(job, fraction, cpus, memory, u64::from(gpus));
    Ok(job.map(asked))
}

/// A job that asks for a part of a GPU (thousandths), and for processors (thousandths) and memory
/// (bytes) that its ranks on a node divide among themselves.
fn asking(job: TraceJob, part: Option<u16>, cpus: u64, memory: u64, ranks: u64) -> TraceJob {
    let cpus = u32::try_from(cpus.div_ceil(1000 * ranks.max(1))).unwrap_or(u32::MAX);
    let memory = memory.div_ceil(ranks.max(1));
    TraceJob {
        fraction: part.and_then(Fraction::from_milli),
        cpus_per_rank: Some(cpus).filter(|cpus| *cpus > 0),
        memory_per_rank: Some(Bytes(memory)).filter(|memory| memory.0 > 0),
        ..job
    }
}

fn task(line: &Line<'_>) -> Result<Result<TraceJob, &'static str>, SimError> {
    let percent: f64 = line.get("plan_gpu").parse().unwrap_or_default();
    let each = crate::num::whole((percent / 100.0).ceil());
    let instances = line.whole::<u64>("inst_num")?.unwrap_or(1);
    let gpus = u32::try_from(each.saturating_mul(instances)).unwrap_or(u32::MAX);
    if gpus == 0 {
        return Ok(Err("tasks without a GPU"));
    }
    if line.get("start_time").is_empty() || line.get("end_time").is_empty() {
        return Ok(Err("tasks that have not ended"));
    }
    let (start, end) = (line.seconds("start_time")?, line.seconds("end_time")?);
    let kind = Some(line.get("gpu_type")).filter(|kind| !kind.is_empty() && *kind != "MISC");
    let job = job(line, line.get("job_name"), "", gpus, kind, [start, start, end])?;
    // Processors and GPUs in hundredths, memory in GB, each for an instance.
    let number = |name: &str| line.get(name).parse::<f64>().unwrap_or_default();
    let part = u16::try_from(crate::num::whole(percent * 10.0)).ok().filter(|m| *m < WHOLE_GPU);
    let (cpus, memory) = (number("plan_cpu") * 10.0, number("plan_mem") * 1e9);
    let (cpus, memory) = (crate::num::whole(cpus), crate::num::whole(memory));
    Ok(job.map(|job| asking(job, part, cpus, memory, each)))
}

fn job(
    line: &Line<'_>,
    id: &str,
    vc: &str,
    gpus: u32,
    kind: Option<&str>,
    [submit, start, end]: [Millis; 3],
) -> Result<Result<TraceJob, &'static str>, SimError> {
    if end.0 < start.0 {
        return Ok(Err("jobs that end before they start"));
    }
    let unnamed = || line.wrong("a name that cannot be read");
    Ok(Ok(TraceJob {
        id: id.to_owned(),
        submit,
        gpus,
        duration: Millis(end.0 - start.0),
        project: project(vc).ok_or_else(unnamed)?,
        user: tame(vc).unwrap_or_else(|| "default".into()),
        name: job_name(line.get("task_name")).ok_or_else(unnamed)?,
        gpu_type: kind.map(str::to_ascii_lowercase),
        priority: 0,
        min_gpus: None,
        fraction: None,
        cpus_per_rank: None,
        memory_per_rank: None,
    }))
}
