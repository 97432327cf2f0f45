//! Readers of traces: one file a dialect. Each yields the same workload; what a line lacks is told
//! with its number. A file that begins like gzip is unpacked on the way.

mod common;
#[cfg(test)]
mod tests;

use std::{
    io::{BufReader, Read},
    path::Path,
};

use flate2::read::MultiGzDecoder;
use trainyard_jobs::{JobName, Millis, ProjectName, name::MAX_NAME};

use crate::{SimError, Workload};

/// The most text that one trace may hold once unpacked.
const MAX_TEXT: u64 = 4 << 30;

/// How a trace is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// A CSV with `submit_time_s, gpus, duration_s` and more.
    Common,
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
    }
}

impl Dialect {
    /// How a text that begins like this is written.
    fn of(_text: &str) -> Self {
        Self::Common
    }
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
fn seconds(text: &str) -> Option<Millis> {
    let value: f64 = text.trim().parse().ok()?;
    let ms = (value * 1000.0).round();
    (value.is_finite() && (0.0..1e15).contains(&ms)).then_some(Millis(ms as u64))
}
