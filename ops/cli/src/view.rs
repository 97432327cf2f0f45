//! What the documents and tables hold: the wire's messages in the words and units that users
//! see. Field names are a contract: units stand in them, and none is renamed or taken away
//! within a version of the documents.

pub(crate) mod cluster;
mod expected;
pub(crate) mod explain;
pub(crate) mod gpu;
pub(crate) mod job;
pub(crate) mod member;
pub(crate) mod model;
pub(crate) mod node;
pub(crate) mod queue;
pub(crate) mod reservation;
pub(crate) mod sim;
pub(crate) mod token;

/// Zero on the wire means «not yet» or «none».
const fn present(value: u64) -> Option<u64> {
    if value == 0 { None } else { Some(value) }
}

/// Empty on the wire means «none».
fn text(value: String) -> Option<String> {
    Some(value).filter(|value| !value.is_empty())
}

#[cfg(test)]
pub(crate) mod tests;
