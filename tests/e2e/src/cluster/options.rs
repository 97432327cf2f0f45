//! What a test's cluster is made of. Small and quick unless a test asks for more.

/// The id of a test's cluster, unless it asks for another.
pub const CLUSTER: &str = "0190c0de-0000-7000-8000-000000000001";

/// What a test's cluster is made of.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Members of the Raft group: 1 or 3.
    pub schedulers: u16,
    /// Machines to train on; at most four.
    pub workers: u16,
    /// CPU slots of each.
    pub slots: u32,
    /// How long a node may be silent before it is called lost.
    pub node_grace: &'static str,
    /// The cluster's id.
    pub id: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self { schedulers: 1, workers: 1, slots: 2, node_grace: "3s", id: CLUSTER }
    }
}
