//! The load generator: closed loops, each client sends its next write when the last is answered.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::bail;
use tokio::task::JoinSet;

use crate::rounds::percentile;

/// A client gives up after so many failed writes, and so does the round.
const MAX_ERRORS: u64 = 100;
/// Bounds a round whatever the system's speed.
const MAX_WRITES: usize = 200_000;

/// One client of a system.
pub(super) trait Writer: Send + 'static {
    /// Sends one write and waits until it is durable.
    fn write(&mut self) -> impl Future<Output = Result<(), tonic::Status>> + Send;
}

/// What a round of load gave.
#[derive(Debug)]
pub(super) struct Round {
    /// Acknowledged writes a second.
    pub(super) rate: f64,
    /// Acknowledged writes.
    pub(super) count: u32,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) errors: u64,
    /// What one of those that failed was told.
    pub(super) refusal: Option<tonic::Status>,
}

/// Loads a system with all writers for `span`. The clock runs until the last answer.
pub(super) async fn run<W: Writer>(writers: Vec<W>, span: Duration) -> anyhow::Result<Round> {
    let share = MAX_WRITES / writers.len().max(1);
    let started = Instant::now();
    let mut loops: JoinSet<_> =
        writers.into_iter().map(|writer| client(writer, started + span, share)).collect();
    let (mut latencies, mut errors, mut last) = (Vec::new(), 0, None);
    while let Some(done) = loops.join_next().await {
        let (times, failed, status) = done?;
        latencies.extend(times);
        errors += failed;
        last = status.or(last);
    }
    let seconds = started.elapsed().as_secs_f64();
    let count = u32::try_from(latencies.len())?;
    let (Some(p50_ms), Some(p99_ms)) =
        (percentile(&mut latencies, 50), percentile(&mut latencies, 99))
    else {
        bail!("no write was acknowledged: {last:?}")
    };
    Ok(Round { rate: f64::from(count) / seconds, count, p50_ms, p99_ms, errors, refusal: last })
}

async fn client<W: Writer>(
    mut writer: W,
    deadline: Instant,
    limit: usize,
) -> (Vec<f64>, u64, Option<tonic::Status>) {
    let (mut times, mut errors, mut last) = (Vec::new(), 0, None);
    while Instant::now() < deadline && times.len() < limit && errors < MAX_ERRORS {
        let sent = Instant::now();
        match writer.write().await {
            Ok(()) => times.push(sent.elapsed().as_secs_f64() * 1e3),
            Err(status) => {
                errors += 1;
                last = Some(status);
            }
        }
    }
    (times, errors, last)
}
