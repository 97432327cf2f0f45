//! The time that an idempotency key carries, by which it is forgotten.

use trainyard_jobs::{IdempotencyKey, Timestamp};

/// The time in a `UUIDv7`.
pub(crate) fn drawn_at(key: IdempotencyKey) -> Option<Timestamp> {
    let (seconds, nanos) =
        key.0.get_timestamp().filter(|_| key.0.get_version_num() == 7)?.to_unix();
    Some(Timestamp(seconds.saturating_mul(1000).saturating_add(u64::from(nanos / 1_000_000))))
}
