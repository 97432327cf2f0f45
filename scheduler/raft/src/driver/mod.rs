//! The driver proper: one member as a synchronous state machine, fed with inputs and flushed.
//!
//! No thread, clock or socket in here. What must happen in which order between disk, peers and
//! state machine is in `ready.rs`, and only there.

mod apply;
mod core;
mod inbound;
mod members;
mod proposals;
mod reads;
mod ready;
mod reply;
mod report;
mod taking;

pub use core::{Driver, Input, SnapshotFile};
pub use members::MemberChange;
pub use proposals::Applied;
pub use reply::{Answer, Reply};
pub(crate) use report::Part;
