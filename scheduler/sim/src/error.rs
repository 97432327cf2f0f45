//! What can go wrong before or during a replay, said so that somebody can act on it.

use std::{io, path::PathBuf};

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A file cannot be read or written.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of a trace is wrong.
    #[error("`{file}`, line {line}: {what}")]
    Line {
        /// The trace.
        file: String,
        /// The line, from 1.
        line: u64,
        /// What is wrong, and what was expected.
        what: String,
    },
    /// A trace as a whole is wrong.
    #[error("`{file}` is not a trace: {what}")]
    Trace {
        /// The trace.
        file: String,
        /// What is wrong, and what was expected.
        what: String,
    },
    /// A cluster file is wrong.
    #[error("`{file}` does not describe a cluster: {what}")]
    Cluster {
        /// The file.
        file: String,
        /// What is wrong, and what was expected.
        what: String,
    },
    /// A file of queues is wrong.
    #[error("`{file}` does not describe queues: {what}")]
    Queues {
        /// The file.
        file: String,
        /// What is wrong, and what was expected.
        what: String,
    },
    /// A setting is out of its range.
    #[error("{name} cannot be {value}: {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is expected.
        expected: &'static str,
    },
    /// The state machine refused what the replay is sure of: a fault of Trainyard's own.
    #[error("the state refused {what}: {refusal}; please report this with the command line")]
    Refused {
        /// The command.
        what: &'static str,
        /// In the state's words.
        refusal: String,
    },
    /// The planner changes its mind without an end: a fault of Trainyard's own.
    #[error(
        "the planner does not come to rest at {at_s} s: {rounds} rounds at one instant; please \
         report this with the command line"
    )]
    Restless {
        /// When, in the trace's seconds.
        at_s: u64,
        /// How often it was asked.
        rounds: u32,
    },
}
