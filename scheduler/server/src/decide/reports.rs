//! What workers report, checked before anything of it is proposed: sizes, prefixes, and that a
//! checkpoint's files are where its manifest says.

use std::collections::BTreeMap;

use trainyard_core::{Command, Refusal, State, command::EndedReport};
use trainyard_jobs::{AttemptRef, Bytes, CheckpointPart, FileEntry, NodeId};
use trainyard_proto::{
    convert::{exit_from, parse, required},
    v1,
};
use trainyard_store::{Store, keys};

use crate::error::Failure;

/// Longest text that a report may bring into the log.
const MAX_TEXT: usize = 4096;

/// Most metrics that a report may bring into the log.
const MAX_METRICS: usize = 256;

/// Most artifacts of a run.
const MAX_FILES: usize = 10_000;

/// The command for ranks that were started.
///
/// # Errors
/// When the report is malformed.
pub fn started(report: v1::StartedReport) -> Result<Command, Failure> {
    let node: NodeId = parse("node", &report.node)?;
    let attempt = AttemptRef::try_from(required("attempt", report.attempt)?)?;
    Ok(Command::ReportStarted { node, attempt })
}

/// The command for ranks that have ended.
///
/// # Errors
/// When the report is malformed, too large, or names files that are not the attempt's own.
pub fn ended(report: v1::EndedReport) -> Result<Command, Failure> {
    let attempt = AttemptRef::try_from(required("attempt", report.attempt)?)?;
    let exits: Result<BTreeMap<_, _>, _> = report.ranks.iter().map(exit_from).collect();
    if report.artifacts.len() > MAX_FILES || report.metrics.len() > MAX_METRICS {
        return Err(Failure::Invalid(format!(
            "a run leaves at most {MAX_FILES} artifacts and {MAX_METRICS} metrics"
        )));
    }
    let artifacts: Result<Vec<FileEntry>, _> =
        report.artifacts.into_iter().map(FileEntry::try_from).collect();
    let artifacts = artifacts?;
    let own = keys::attempt_prefix(&attempt);
    if let Some(foreign) = artifacts.iter().find(|file| !file.key.starts_with(&own)) {
        return Err(Failure::Invalid(format!("`{}` is not the attempt's own", foreign.key)));
    }
    let text: String = report.start_error.chars().take(MAX_TEXT).collect();
    // Text, because replicas compare bytes.
    let metrics = report.metrics.into_iter().map(|(name, value)| (name, value.to_string()));
    Ok(Command::ReportEnded(Box::new(EndedReport {
        node: parse("node", &report.node)?,
        attempt,
        exits: exits?,
        first_failure: report.first_failure,
        start_error: Some(text).filter(|text| !text.is_empty()),
        time_limit: report.time_limit,
        over_memory: report.over_memory.map(Into::into),
        artifacts,
        metrics: metrics.collect(),
    })))
}

/// A checkpoint part whose manifest is to be read.
#[derive(Debug, Clone)]
pub struct Claim {
    node: NodeId,
    attempt: AttemptRef,
    step: u64,
    part: u32,
    parts: u32,
    manifest: FileEntry,
}

/// Reads a report of a checkpoint, and looks whether its attempt still owns its job.
///
/// # Errors
/// When it is malformed, or the attempt is superseded.
pub fn claim(report: v1::CheckpointReport, state: &State) -> Result<Claim, Failure> {
    let node: NodeId = parse("node", &report.node)?;
    let attempt = AttemptRef::try_from(required("attempt", report.attempt)?)?;
    if !state.job(&attempt.job).is_some_and(|job| job.is_current(&attempt)) {
        return Err(Refusal::Superseded(attempt).into());
    }
    let manifest = FileEntry::try_from(required("manifest", report.manifest)?)?;
    Ok(Claim { node, attempt, step: report.step, part: report.part, parts: report.parts, manifest })
}

impl Claim {
    /// Reads the manifest back and looks every file of it up: what is catalogued can be resumed
    /// from.
    ///
    /// # Errors
    /// When something is missing, or the manifest is of another checkpoint.
    pub async fn check(self, store: &Store) -> Result<Command, Failure> {
        let Self { node, attempt, step, part, parts, manifest } = self;
        let stored = store.check_manifest(&manifest).await?;
        let right = stored.attempt == attempt
            && stored.part == part
            && stored.description.step == step
            && stored.description.parts == parts;
        if !right {
            let text = format!("the manifest `{}` is not of this checkpoint", manifest.key);
            return Err(Failure::Invalid(text));
        }
        let size = Bytes(stored.files.iter().map(|f| f.size.0).fold(0, u64::saturating_add));
        let part = CheckpointPart { attempt, step, part, parts, manifest, size };
        Ok(Command::ReportCheckpoint { node, part })
    }
}
