//! In which order jobs go: the settings that a queue comes to, what a policy makes of a job, and
//! the lines in which jobs wait.

mod lines;
mod settings;
mod value;

pub(super) use lines::{Comer, LineId, Lines, Merit, Peers, Step, Walk};
pub(super) use settings::Settings;
pub(super) use value::{Worth, bucket_end, by_service, preempts, stops_for, value};
