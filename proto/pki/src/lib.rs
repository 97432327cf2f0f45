//! Who is who in a cluster, and how each connection proves it.
//!
//! Every member, worker and administrator holds a certificate of the cluster's own authority with
//! its [`Identity`] in it; people hold API tokens bound to a role. This crate never decides
//! what a role may do: that is the scheduler's.

mod accept;
mod advice;
mod authority;
mod connect;
mod credentials;
mod error;
mod files;
mod grant;
mod identity;
mod parse;
mod port;
mod renew;
mod secured;
mod tls;
mod verify;

pub use accept::{Counters, Incoming, Limits, Refusal, accept};
pub use advice::advice;
pub use authority::{
    AUTHORITY_LIFE, Authority, Issued, NODE_LIFE, PERSON_LIFE, Request, requested_key,
};
pub use connect::Connector;
pub use credentials::Credentials;
pub use error::PkiError;
pub use files::{Holder, PkiDir};
pub use grant::verify_epoch;
pub use identity::{Identity, InvalidIdentity, Subject};
pub use parse::{fingerprint, fingerprints};
pub use port::TlsPort;
pub use renew::keep_fresh;
pub use secured::Secured;
pub use tls::{Clients, Expected, Protocol, pinned_client};

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
mod tests;
