//! Tests of the driver as a whole: simulated clusters over torn disks, single drivers, and real
//! threads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests may fail loudly"
)]

mod chaos;
mod damage;
mod directory;
mod economy;
mod elections;
mod inbound;
mod machine;
mod members;
mod migration;
mod requests;
mod sim;
mod snapshots;
mod taking;
mod threads;
