//! How an attempt's ranks ended on this node, as the leader is told. Pure.

use trainyard_jobs::RankExit;

use crate::{
    attempt::Order,
    shim::{ExitRecord, FORMAT, RankEnd},
};

/// What counts of a shim that is gone: its record, unless there is none, or whoever stopped the
/// ranks was not the agent, for then the exits tell nothing about the job. `asked` says that the
/// agent wished the stop.
#[must_use]
pub fn judged(record: Option<ExitRecord>, asked: bool, order: &Order) -> ExitRecord {
    record.filter(|record| !record.stopped || asked).unwrap_or_else(|| vanished(order))
}

/// Whether every rank ended well: only then there are artifacts.
#[must_use]
pub fn succeeded(record: &ExitRecord) -> bool {
    record.start_error.is_none()
        && !record.time_limit
        && !record.ranks.is_empty()
        && record.ranks.iter().all(|end| end.exit.is_success())
}

/// Nobody saw the ranks end.
fn vanished(order: &Order) -> ExitRecord {
    let ranks = order.work.as_ref().map_or(&[][..], |work| &work.ranks);
    let end = |(rank, _): &(u32, _)| RankEnd { rank: *rank, exit: RankExit::Vanished };
    ExitRecord {
        format: FORMAT,
        ranks: ranks.iter().map(end).collect(),
        first_failure: None,
        time_limit: false,
        stopped: false,
        start_error: None,
    }
}
