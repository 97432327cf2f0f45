//! What can be wrong with certificates, keys and the directories that hold them. Each text says
//! what to try.

use std::{io, path::PathBuf};

use trainyard_jobs::ClusterId;

use crate::{Identity, InvalidIdentity};

/// Why a certificate, a key or a directory of them cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("cannot use `{}`: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A directory lacks what makes it one of ours.
    #[error(
        "there is no `{}`; a daemon gets it with `--join TOKEN`, from `yard cluster init`, or by `yard dev`",
        path.display()
    )]
    Missing {
        /// The file that is not there.
        path: PathBuf,
    },
    /// Others may read a private key.
    #[error("others than its owner may read `{}`: chmod 600 it", path.display())]
    Exposed {
        /// The key's file.
        path: PathBuf,
    },
    /// A file holds something else than it should.
    #[error("`{}` cannot be used: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate or request cannot be read.
    #[error("a certificate cannot be read: {0}")]
    Unreadable(String),
    /// A certificate carries no identity, or several.
    #[error("the certificate names {0} members of a cluster, not one")]
    Unnamed(usize),
    /// A certificate names nobody.
    #[error(transparent)]
    Identity(#[from] InvalidIdentity),
    /// The authority cannot make or sign something.
    #[error("the certificate authority cannot do that: {0}")]
    Authority(#[from] rcgen::Error),
    /// A request for a certificate is not one that is signed.
    #[error("the certificate request is refused: {0}")]
    Request(String),
    /// Keys cannot be used for TLS.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// A certificate of another cluster.
    #[error("the certificate is of cluster {theirs}, this is {own}: check the pki directory")]
    OtherCluster {
        /// Whose cluster it should be.
        own: ClusterId,
        /// Whose it is.
        theirs: ClusterId,
    },
    /// Somebody else answers than was asked for.
    #[error("the certificate is of {found}, not of {wanted}: check the endpoint")]
    WrongPeer {
        /// Who answers.
        found: Box<Identity>,
        /// Who should.
        wanted: String,
    },
    /// Neither is known to the fingerprint in a join token.
    #[error(
        "the scheduler's authority is not the one that the token names: check the endpoint and the token"
    )]
    WrongFingerprint,
    /// A recovery epoch without the authority's word.
    #[error("the grant of recovery epoch {0} is not signed by this cluster's authority")]
    Grant(u64),
}

impl PkiError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
