//! What a leader decides, without IO: time is an argument, the state is read, and what comes out
//! is carried out by the loops and services of this crate, or by a simulation. Nothing in here
//! awaits, but for answers of the object store, and nothing reads a clock.

pub mod admission;
pub mod contacts;
pub mod finishing;
pub mod following;
pub mod planning;
pub mod reports;
pub mod retention;
pub mod room;
pub mod session;
#[cfg(test)]
mod stage;
pub mod watch;
