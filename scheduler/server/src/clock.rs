//! The one place where the scheduler reads the clocks that decisions rest on, and draws randomness.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

use trainyard_jobs::{JobId, Timestamp, TokenId};

use crate::decide::contacts::Moment;

/// The wall clock, as proposals carry it.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The monotonic clock, counted from when it was first read.
pub(crate) fn monotonic() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// Both clocks.
pub(crate) fn moment() -> Moment {
    Moment { running: monotonic(), wall: now() }
}

/// Draws a job's id.
pub(crate) fn draw_job_id() -> JobId {
    JobId::from_random(rand::random())
}

/// Draws a token's id.
pub(crate) fn draw_token_id() -> TokenId {
    TokenId::from_random(rand::random())
}

/// Draws what names a request.
pub(crate) fn draw_request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
