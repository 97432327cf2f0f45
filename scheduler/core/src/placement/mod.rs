//! The placement planner: which waiting gang starts where, and why the others wait. Pure and
//! incremental: it is told what changed, and an unlimited plan equals one made from scratch.

mod explain;
mod fit;
mod gavel;
mod health;
mod order;
mod pass;
mod planner;
mod running;
mod score;
mod share;
#[cfg(test)]
mod tests;
mod time;
mod topology;
mod victims;
mod view;
mod windows;
mod yard;

pub use explain::{Blocker, BlockerKind, Change, Cost, Counterfactual, Explanation, Limit};
pub use fit::{Hints, Host, Request, Supply, WHOLE, beside, matches};
pub use health::{Doubt, Lemons, Reading, Slowness, Stragglers, Strain, StrangersUse};
pub use planner::{Blockers, PATIENCE, Plan, Planner, WorkBudget};
pub use running::{Disruption, Progress, Running, Stop};
pub use score::{InvalidPrice, Mix, Price, Stakes, Terms};
pub use time::{Alike, Past};
pub use topology::Span;
pub use view::{Delta, PlanNode, Waiting};
pub use windows::{During, Windows};
pub use yard::{Census, Condition, Mark, Placement, Yard};
