//! Who is who in a cluster, and how each connection proves it.
//!
//! Every member, worker and administrator holds a certificate of the cluster's own authority with
//! its [`Identity`] in it; people hold API tokens bound to a role. This crate never decides
//! what a role may do: that is the scheduler's.

mod identity;

pub use identity::{Identity, InvalidIdentity, Subject};
