//! The one place where the scheduler reads the wall clock and draws randomness.

use std::time::{SystemTime, UNIX_EPOCH};

use trainyard_jobs::{JobId, Timestamp, TokenId};

/// The wall clock, as proposals carry it.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
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
