//! What the shapes of a spec cannot say: what excludes what, what lies within which bounds. Asks
//! nothing of the cluster: whether a job can ever be placed is the scheduler's to say.

use std::fmt;

use crate::{BitRate, Bytes, DeviceKind, JobSpec, Millis, name::is_valid_name};

use super::{Resources, Run, Schedule, Speeds};

/// The largest gang, in ranks.
pub const MAX_GPUS: u32 = 65_536;

/// The largest canonical JSON, in bytes.
pub const MAX_CANONICAL: usize = 1 << 20;

/// Something that a spec says and cannot mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key that is to blame, with dots: `resources.gpus`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.message, self.help)
    }
}

/// A spec contradicts itself or lies out of bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the job spec cannot be meant like this: {}", joined(.problems))]
pub struct InvalidSpec {
    /// What is wrong; at least one problem.
    pub problems: Vec<Problem>,
}

/// Bytes from the wire or from disk are not a spec.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCanonical {
    /// Larger than any spec.
    #[error("a job spec of {0} bytes: at most {MAX_CANONICAL} are read")]
    TooLarge(usize),
    /// Not JSON, or not of a spec's shape.
    #[error("the bytes are not a job spec: {0}")]
    Shape(#[from] serde_json::Error),
    /// Of the right shape, and yet wrong.
    #[error(transparent)]
    Invalid(#[from] InvalidSpec),
}

fn joined(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl JobSpec {
    /// Checks what the shapes cannot say.
    ///
    /// # Errors
    /// Every problem that was found.
    pub fn check(&self) -> Result<(), InvalidSpec> {
        let mut problems = Problems(Vec::new());
        resources(&self.resources, &mut problems);
        run(&self.run, &mut problems);
        environment(&self.run, &mut problems);
        if self.checkpoint.every < Millis(1000) {
            problems.add(
                "checkpoint.every",
                format!("checkpoints every {} are too frequent", self.checkpoint.every),
                "write `1s` or more, such as `10m`",
            );
        }
        if self.checkpoint.keep == 0 {
            let message = "no checkpoint would be kept, so none could be resumed from";
            problems.add("checkpoint.keep", message, "keep 1 or more");
        }
        if self.limits.time == Some(Millis(0)) {
            let message = "a job without run time cannot do anything";
            problems.add("limits.time", message, "write a span such as `2d`, or leave it out");
        }
        schedule(&self.schedule, &mut problems);
        if problems.0.is_empty() { Ok(()) } else { Err(InvalidSpec { problems: problems.0 }) }
    }

    /// Reads canonical JSON, as it is sent and stored, and checks it.
    ///
    /// # Errors
    /// The bytes are too many, no spec, or a spec that cannot be meant.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, InvalidCanonical> {
        if bytes.len() > MAX_CANONICAL {
            return Err(InvalidCanonical::TooLarge(bytes.len()));
        }
        let spec: Self = serde_json::from_slice(bytes)?;
        spec.check()?;
        Ok(spec)
    }
}

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, path: &str, message: impl Into<String>, help: impl Into<String>) {
        self.0.push(Problem { path: path.into(), message: message.into(), help: help.into() });
    }
}

fn resources(resources: &Resources, problems: &mut Problems) {
    let gpus = resources.gpus;
    if gpus == 0 {
        let help = "write 1 or more; with `device = \"cpu\"` they are CPU slots";
        problems.add("resources.gpus", "a job needs at least one rank", help);
    } else if gpus > MAX_GPUS {
        let message = format!("{gpus} ranks are more than a job can have");
        problems.add("resources.gpus", message, format!("write {MAX_GPUS} or less"));
    }
    match resources.min_gpus {
        Some(0) => {
            let help = "write 1 or more, or leave it out";
            problems.add("resources.min_gpus", "a job cannot shrink to no rank", help);
        }
        Some(least) if least > gpus => problems.add(
            "resources.min_gpus",
            format!("the job would need at least {least} ranks but asks for {gpus}"),
            "write `min_gpus` no larger than `gpus`",
        ),
        _ => {}
    }
    if resources.max_ranks_per_node == Some(0) {
        let message = "no node may hold a rank";
        problems.add("resources.max_ranks_per_node", message, "write 1 or more, or leave it out");
    }
    if resources.cpus_per_rank == Some(0) {
        let message = "a rank cannot run on no CPU";
        problems.add("resources.cpus_per_rank", message, "write 1 or more, or leave it out");
    }
    if resources.memory_per_rank == Some(Bytes(0)) {
        let message = "a rank cannot run without memory";
        let help = "write a size such as `64GiB`, or leave it out";
        problems.add("resources.memory_per_rank", message, help);
    }
    if resources.disk_per_rank == Some(Bytes(0)) {
        let help = "write a size such as `200GB`, or leave it out";
        problems.add("resources.disk_per_rank", "that is no disk space", help);
    }
    if resources.network_per_rank == Some(BitRate(0)) {
        let help = "write a bandwidth such as `10Gbps`, or leave it out";
        problems.add("resources.network_per_rank", "that is no bandwidth", help);
    }
    for kind in &resources.gpu_type {
        gpu_type("resources.gpu_type", kind, problems);
    }
    let speeds = &resources.speed.0;
    for kind in speeds.keys() {
        gpu_type(&format!("resources.speed.{kind}"), kind, problems);
    }
    if speeds.len() > Speeds::MOST {
        let message = format!("{} GPU types have a speed", speeds.len());
        let help = format!("name {} at most: on all others the speed is 1", Speeds::MOST);
        problems.add("resources.speed", message, help);
    }
    parts(resources, problems);
    if resources.device == DeviceKind::Cpu {
        let help = "leave it out, or leave `device` out to run on GPUs";
        if !resources.gpu_type.is_empty() {
            problems.add("resources.gpu_type", "a CPU slot has no GPU type", help);
        }
        if !speeds.is_empty() {
            problems.add("resources.speed", "a CPU slot has no GPU type", help);
        }
        if resources.min_gpu_memory.is_some() {
            problems.add("resources.min_gpu_memory", "a CPU slot has no GPU memory", help);
        }
    }
}

/// Ranks on parts of GPUs: one rank of a gang a GPU, so how few nodes they need hangs on how the
/// GPUs are split.
fn parts(resources: &Resources, problems: &mut Problems) {
    if !resources.on_parts() {
        return;
    }
    let help = "leave it out, or ask for whole GPUs";
    if resources.device == DeviceKind::Cpu {
        problems.add("resources.gpu_fraction", "a CPU slot is no part of a GPU", help);
    }
    if resources.compact {
        let message = "ranks on parts of GPUs cannot be packed onto the fewest nodes";
        problems.add("resources.compact", message, help);
    }
}

/// A GPU type is written as workers report it.
fn gpu_type(path: &str, kind: &str, problems: &mut Problems) {
    let lower = kind.trim().to_lowercase();
    if lower.is_empty() {
        problems.add(path, "a GPU type is empty", "write a type such as `h100`");
    } else if lower != *kind {
        let message = format!("no GPU is of type `{kind}`");
        problems.add(path, message, format!("write `{lower}`"));
    }
}

fn run(run: &Run, problems: &mut Problems) {
    match (run.command.first(), &run.recipe) {
        (None, None) => {
            let help = "write `command`, such as [\"python\", \"train.py\"], or `recipe`";
            problems.add("run", "the job says nothing to run", help);
        }
        (Some(_), Some(_)) => {
            let message = "a job runs a command or a recipe, not both";
            problems.add("run.recipe", message, "keep one of `command` and `recipe`");
        }
        (Some(program), None) if program.trim().is_empty() => {
            let help = "begin with the program, such as \"python\"";
            problems.add("run.command", "the command's program is empty", help);
        }
        (None, Some(recipe)) if !is_valid_name(recipe) => {
            let message = format!("`{recipe}` cannot be a recipe's name");
            problems.add("run.recipe", message, "write a name such as `image-classifier`");
        }
        _ => {}
    }
    if run.command.iter().any(|part| part.contains('\0')) {
        let message = "an argument holds a NUL character";
        problems.add("run.command", message, "no program can be given one: remove it");
    }
    if run.recipe.is_none() && !run.params.is_empty() {
        let help = "give a command its parameters as arguments or in `run.env`";
        problems.add("run.params", "only a recipe has parameters", help);
    }
    if run.workdir.as_ref().is_some_and(|dir| dir.trim().is_empty() || dir.contains('\0')) {
        let message = "the work directory is not a path";
        problems.add("run.workdir", message, "write `.` for the directory of the spec");
    }
}

/// What every rank's environment says already, as torchrun sets it.
const RESERVED: [&str; 14] = [
    "RANK",
    "LOCAL_RANK",
    "GROUP_RANK",
    "ROLE_RANK",
    "ROLE_NAME",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "GROUP_WORLD_SIZE",
    "ROLE_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "CUDA_VISIBLE_DEVICES",
    "TORCHELASTIC_",
    "YARD_",
];

fn environment(run: &Run, problems: &mut Problems) {
    for (name, value) in &run.env {
        let path = format!("run.env.{name}");
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let head = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let reserved =
            |word: &&str| name == word || (word.ends_with('_') && name.starts_with(word));
        if !head || !name.chars().all(inner) {
            let message = format!("`{name}` cannot name an environment variable");
            problems.add(&path, message, "use letters, digits and `_`, not a digit first");
        } else if RESERVED.iter().any(reserved) {
            let message = format!("`{name}` is set by Trainyard for every rank");
            problems.add(&path, message, "leave it out, or choose another name");
        } else if value.contains('\0') {
            let message = format!("the value of `{name}` holds a NUL character");
            problems.add(&path, message, "no program can be given one: remove it");
        }
    }
}

fn schedule(schedule: &Schedule, problems: &mut Problems) {
    if schedule.est_duration == Some(Millis(0)) {
        let message = "no job takes no time";
        let help = "write a span such as `6h`, or leave it out";
        problems.add("schedule.est_duration", message, help);
    }
    let Some(text) = &schedule.finish_by else { return };
    if text.parse::<jiff::Timestamp>().is_err() {
        problems.add(
            "schedule.finish_by",
            format!("`{}` is not an instant", text.chars().take(40).collect::<String>()),
            "write date, time and offset, such as `2026-12-24T08:00:00+01:00`",
        );
    }
}

#[cfg(test)]
mod tests;
