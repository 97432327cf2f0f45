//! The shim: a small process that parents one attempt's ranks on one node and outlives the
//! agent. It keeps their exit codes and every line that they write, ends the gang when one of
//! its ranks fails, and enforces the time allowance. It is synchronous, speaks to nobody, and
//! knows only its directory; whether it lives is told by the lock that it holds there.

mod capture;
mod cgroup;
mod lines;
mod log;
mod paths;
mod plan;
mod process;
mod run;
pub mod supervisor;
mod tree;

pub use paths::ShimDir;
pub use plan::{ExitRecord, FORMAT, Plan, ProcessId, RankEnd, RankPlan, StartedRecord};
pub use run::shim_main;
pub use tree::{descendants, kill_marked};

pub(crate) use tree::identify;

pub(crate) use cgroup::kill_all as kill_cgroup;
