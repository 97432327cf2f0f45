//! Old bugs, planted again one at a time: a simulation that does not find them proves nothing.

/// Each fault that the rooms can carry, with what it breaks.
pub const CANARIES: &[(&str, &str)] = &[
    ("send before fsync", "a promise leaves before what it promises is on disk"),
    ("forget the vote", "the vote of a term is not written down"),
    ("apply before commit", "entries are applied when they are appended"),
    ("reuse a read context", "rounds of linearizable reads share one context"),
    ("stale conf state", "a snapshot carries the members of the last start"),
    ("snapshot metadata lost", "the log's beginning after a leader's snapshot is not recorded"),
    ("unchecked checksum", "a snapshot's checksum is not compared"),
    ("skip the attempt check", "what a superseded attempt says counts"),
    ("drop dedupe", "an idempotency key is not looked up"),
    ("double assignment on requeue", "a lost node's units are free at once"),
    ("free units before the exit", "units of a stopped attempt are free at once"),
    ("partial gang", "an attempt starts without the nodes that changed"),
    ("a fresh allowance each time", "what earlier attempts ran does not count"),
    ("node lost without grace", "a node is called lost after a tenth of the grace"),
    ("a planner deaf to nodes", "the planner is not told of nodes"),
    ("start ranks twice", "an attempt whose ranks have ended is started again"),
    ("drop a set that was not recorded", "a set that the disk refused is forgotten"),
];
