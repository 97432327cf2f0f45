//! Who may do what. Every request passes the guard before any service sees it: the guard finds
//! the RPC's row in one table, learns who asks (by certificate or by token), refuses or lets
//! through, keeps each caller within limits, and notes what was done or denied.
//!
//! What a role may do stands in `table` alone; which things of a project somebody sees is asked
//! of [`Caller`] by the services.

mod body;
mod caller;
mod guard;
mod identify;
mod limits;
mod table;

pub(crate) use caller::{Caller, Who};
pub(crate) use guard::Guard;
pub(crate) use limits::{Buckets, Limits};
pub use limits::{LimitsConfig, Pace};
