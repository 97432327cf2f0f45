//! Marks in the daemons' own code for the simulation: where an old bug can be planted again, and
//! which branches a run has reached. Without the feature `canaries` both are constants that the
//! compiler removes, so that the rooms may carry them; nothing else may ever live here.

#[cfg(feature = "canaries")]
mod armed;

#[cfg(feature = "canaries")]
pub use armed::{plant, planted, reached, take_reached};

/// Whether this fault is planted in this thread's run.
#[cfg(not(feature = "canaries"))]
#[inline(always)]
#[must_use]
pub const fn planted(_fault: &'static str) -> bool {
    false
}

/// Notes that a branch was reached.
#[cfg(not(feature = "canaries"))]
#[inline(always)]
pub const fn reached(_branch: &'static str) {}
