//! `yard dev`: a whole cluster on loopback from one directory. The same binary and the same
//! daemons as in production, as children; nothing here knows what a job is.

mod fleet;
mod layout;
mod pki;
mod plan;
mod ready;
mod sweep;

pub(crate) use fleet::Fleet;
pub(crate) use layout::Layout;
pub(crate) use pki::issue;
pub(crate) use plan::{Plan, Wishes};
pub(crate) use ready::{banner, wait};
pub(crate) use sweep::Sweep;
