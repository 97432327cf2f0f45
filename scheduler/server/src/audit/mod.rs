//! The record of who did what, and who was denied what. Each scheduler keeps its own: JSON lines,
//! each with the hash of the one before, in segments that are exported to the object store and
//! outlive the log. Nothing of a request's contents is in it, so no secret is.
//!
//! What is written here never decides anything. When the disk is full the newest records are
//! counted instead of written, and the next one that is written says how many there were.

mod chain;
mod export;
mod journal;
mod trail;

pub(crate) use chain::{Entry, Event};
pub(crate) use export::run as export;
pub(crate) use trail::Audit;

mod read;
pub(crate) use read::{lines, verify};
