//! Which branches of the rooms a run of seeds has reached. What there is to reach is read from the
//! sources themselves, so that a new mark cannot be forgotten.

use std::collections::{BTreeMap, BTreeSet};

use crate::invariants::coverage::COMMANDS;

/// Where the marks stand.
const SOURCES: &[&str] = &[
    include_str!("../../../scheduler/core/src/apply/attempt.rs"),
    include_str!("../../../scheduler/core/src/apply/checkpoint.rs"),
    include_str!("../../../scheduler/core/src/apply/ending.rs"),
    include_str!("../../../scheduler/core/src/apply/node.rs"),
    include_str!("../../../scheduler/core/src/apply/queue.rs"),
    include_str!("../../../scheduler/core/src/apply/settle.rs"),
    include_str!("../../../scheduler/core/src/apply/submit.rs"),
    include_str!("../../../scheduler/raft/src/driver/apply.rs"),
    include_str!("../../../scheduler/raft/src/driver/core.rs"),
    include_str!("../../../scheduler/raft/src/driver/inbound.rs"),
    include_str!("../../../scheduler/raft/src/driver/members.rs"),
    include_str!("../../../scheduler/raft/src/driver/proposals.rs"),
    include_str!("../../../scheduler/raft/src/driver/reads.rs"),
    include_str!("../../../scheduler/raft/src/driver/ready.rs"),
];

/// What a simulation cannot reach, and who does.
const ELSEWHERE: &[(&str, &str)] = &[
    ("raft: a message of a kind never sent", "only a hostile peer sends one: tests::inbound"),
    ("raft: acknowledged entries are lost", "only a disk that lies loses them: tests::inbound"),
    ("raft: a member that failed", "it is never asked again: tests::requests"),
    ("raft: too much is uncommitted", "64 MiB would have to be under way: tests::requests"),
    ("raft: a snapshot that cannot be used", "only a hostile peer sends one: tests::inbound"),
    (
        "core: a worker returns before its ranks were started",
        "only of an agent that cannot be asked: core's own tests",
    ),
    ("raft: a read waits for its index", "a flush applies all first: the unit tests of reads"),
    ("core: ranks with more memory than their share", "no GPU is there: core's own tests"),
    ("core: a lost node gives its name up", "a machine keeps its id: core's own tests"),
    ("core: a checkpoint that is needed", "retention never asks for one: core's own tests"),
];

/// What was reached by many seeds.
#[derive(Debug, Default)]
pub struct Coverage {
    marks: BTreeMap<String, u64>,
}

/// Every mark in the sources.
fn marks() -> BTreeSet<&'static str> {
    let literals = SOURCES.iter().flat_map(|text| text.split('"').skip(1).step_by(2));
    literals.filter(|text| text.starts_with("core: ") || text.starts_with("raft: ")).collect()
}

impl Coverage {
    pub fn add(&mut self, mark: &str, times: u64) {
        *self.marks.entry(mark.to_owned()).or_default() += times;
    }

    /// How often each mark and each command's outcome was reached.
    pub const fn reached(&self) -> &BTreeMap<String, u64> {
        &self.marks
    }

    /// What nobody reached, though it can be.
    pub fn missing(&self) -> Vec<String> {
        let elsewhere = |mark: &&str| !ELSEWHERE.iter().any(|(known, _)| known == mark);
        let marks = marks().into_iter().filter(elsewhere).map(str::to_owned);
        let commands = COMMANDS.iter().map(|command| format!("{command} done"));
        marks.chain(commands).filter(|mark| !self.marks.contains_key(mark)).collect()
    }
}
