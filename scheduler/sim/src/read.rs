//! Readers of traces: one file a dialect. Each yields the same workload; what a line lacks is told
//! with its number. A file that begins like gzip is unpacked on the way.

mod alibaba;
mod common;
mod philly;
mod sacct;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io::{BufReader, Read},
    path::Path,
};

use flate2::read::MultiGzDecoder;
use trainyard_jobs::{JobName, Millis, ProjectName, name::MAX_NAME};

pub(crate) use table::Table;

use crate::{SimError, TraceJob, Workload};

/// The most text that one trace may hold once unpacked.
const MAX_TEXT: u64 = 4 << 30;

/// How a trace is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// A CSV with `submit_time_s, gpus, duration_s` and more.
    Common,
    /// What Slurm's `sacct --parsable2` prints.
    Sacct,
    /// The job log of Microsoft's Philly traces, in JSON.
    Philly,
    /// A table of Alibaba's GPU traces: pods of 2023, or tasks of 2020.
    Alibaba,
}

/// Reads a trace from a file; its dialect is told by its beginning unless it is given.
///
/// # Errors
/// When the file cannot be read, or is no trace.
pub fn read(path: &Path, dialect: Option<Dialect>) -> Result<Workload, SimError> {
    let failed = |source| SimError::File { doing: "read the trace", path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut head = [0; 2];
    let mut reader = BufReader::new(file);
    let got = reader.read(&mut head).map_err(failed)?;
    let head = head.get(..got).unwrap_or_default().to_vec();
    let is_gzip = head == [0x1f, 0x8b];
    let whole = std::io::Cursor::new(head).chain(reader);
    let mut text = String::new();
    if is_gzip {
        MultiGzDecoder::new(whole).take(MAX_TEXT).read_to_string(&mut text).map_err(failed)?;
    } else {
        whole.take(MAX_TEXT).read_to_string(&mut text).map_err(failed)?;
    }
    read_text(&path.display().to_string(), &text, dialect)
}

/// Reads a trace's text.
///
/// # Errors
/// When it is no trace.
pub fn read_text(file: &str, text: &str, dialect: Option<Dialect>) -> Result<Workload, SimError> {
    match dialect.unwrap_or_else(|| Dialect::of(text)) {
        Dialect::Common => common::read(file, text),
        Dialect::Sacct => sacct::read(file, text),
        Dialect::Philly => philly::read(file, text),
        Dialect::Alibaba => alibaba::read(file, text),
    }
}

impl Dialect {
    /// How a text that begins like this is written.
    fn of(text: &str) -> Self {
        let head = text.lines().next().unwrap_or_default().trim_start().to_ascii_lowercase();
        if text.trim_start().starts_with(['[', '{']) {
            Self::Philly
        } else if head.contains('|') && head.contains("jobid") {
            Self::Sacct
        } else if head.contains("num_gpu") || head.contains("plan_gpu") {
            Self::Alibaba
        } else {
            Self::Common
        }
    }
}

/// Seconds since 1970 of a date and time without a zone, as logs write them.
fn instant(text: &str) -> Option<i64> {
    let at: jiff::civil::DateTime = text.trim().parse().ok()?;
    Some(at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

/// Whole seconds from one instant to a later one.
fn between(from: i64, to: i64) -> Option<Millis> {
    Some(Millis(u64::try_from(to.checked_sub(from)?).ok()?.checked_mul(1000)?))
}

/// Puts jobs with absolute times of submission in order, from the first one on.
fn from_first(mut jobs: Vec<(i64, TraceJob)>, left_out: BTreeMap<&'static str, u64>) -> Workload {
    let first = jobs.iter().map(|(at, _)| *at).min().unwrap_or_default();
    for (at, job) in &mut jobs {
        job.submit = between(first, *at).unwrap_or_default();
    }
    let left_out = left_out.into_iter().map(|(why, count)| (why.to_owned(), count));
    Workload::of(jobs.into_iter().map(|(_, job)| job).collect(), left_out.collect())
}

/// Makes a name of what a trace says: lower case, other characters become dashes.
fn tame(text: &str) -> Option<String> {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c) => c,
        _ => '-',
    };
    let tamed: String = text.trim().chars().map(plain).collect();
    let tamed = tamed.trim_start_matches(['-', '_', '.']);
    Some(tamed.chars().take(MAX_NAME).collect()).filter(|name: &String| !name.is_empty())
}

/// A project of a trace's words, or `default`.
fn project(text: &str) -> Option<ProjectName> {
    tame(text).unwrap_or_else(|| "default".into()).parse().ok()
}

/// A job's name of a trace's words, or `job`.
fn job_name(text: &str) -> Option<JobName> {
    tame(text).unwrap_or_else(|| "job".into()).parse().ok()
}

/// Seconds as a number, to the millisecond.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked, and a fraction of a millisecond is rounded"
)]
pub(crate) fn seconds(text: &str) -> Option<Millis> {
    let value: f64 = text.trim().parse().ok()?;
    let ms = (value * 1000.0).round();
    (value.is_finite() && (0.0..1e15).contains(&ms)).then_some(Millis(ms as u64))
}
