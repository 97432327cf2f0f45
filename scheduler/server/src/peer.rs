//! Who is at the other end of a connection.

use std::net::SocketAddr;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Where it connects from.
    pub(crate) address: SocketAddr,
    /// Whom its certificate names, if it showed one.
    pub(crate) identity: Option<trainyard_pki::Identity>,
}
