//! The placement planner: which waiting gang starts where, and why the others wait. Pure and
//! incremental: it is told what changed, and an unlimited plan equals one made from scratch.

mod explain;
mod fit;
mod planner;
mod view;
#[cfg(test)]
mod tests;

pub use explain::{Blocker, BlockerKind, Explanation};
pub use planner::{Plan, Planner, WorkBudget};
pub use view::{Delta, PlanNode, Waiting};
