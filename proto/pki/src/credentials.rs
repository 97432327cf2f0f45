//! What a process holds to prove who it is and whom it trusts, read from a directory and read
//! again when it was renewed: connections that are open stay, new ones show the new certificate.

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use rustls::{
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor, pem::PemObject as _},
    sign::CertifiedKey,
};
use trainyard_jobs::ClusterId;

use crate::{Holder, Identity, Issued, PkiDir, PkiError, Request, parse, verify_epoch};

/// Who this process is, and whom it trusts. Clones share one.
#[derive(Debug, Clone)]
pub struct Credentials(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PkiDir,
    holder: Holder,
    provider: Arc<CryptoProvider>,
    cluster: ClusterId,
    current: RwLock<Arc<Current>>,
}

/// One reading of the directory.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) own: Option<Own>,
    pub(crate) roots: Vec<CertificateDer<'static>>,
    pub(crate) anchors: Vec<TrustAnchor<'static>>,
}

/// A certificate with its key.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) key: Arc<CertifiedKey>,
    identity: Identity,
    from: SystemTime,
    until: SystemTime,
}

impl Credentials {
    /// A scheduler's or worker's.
    ///
    /// # Errors
    /// When the directory lacks something, or holds what does not fit together.
    pub fn node(dir: &Path) -> Result<Self, PkiError> {
        Self::open(dir, Holder::Node)
    }

    /// A person's. Without a certificate it trusts the cluster and is nobody: for those who have
    /// a token.
    ///
    /// # Errors
    /// When the directory lacks the authority, or holds what does not fit together.
    pub fn person(dir: &Path) -> Result<Self, PkiError> {
        Self::open(dir, Holder::Person)
    }

    fn open(dir: &Path, holder: Holder) -> Result<Self, PkiError> {
        let dir = PkiDir::new(dir);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = read(&dir, holder, &provider)?;
        let cluster = match current.roots.first() {
            Some(root) => parse::cluster(root)?,
            None => return Err(PkiError::Unreadable("no authority is trusted".into())),
        };
        if let Some(own) = &current.own {
            same_cluster(cluster, &own.identity)?;
        }
        let current = RwLock::new(Arc::new(current));
        Ok(Self(Arc::new(Inner { dir, holder, provider, cluster, current })))
    }

    /// Reads the directory again. What cannot be used changes nothing.
    ///
    /// # Errors
    /// When the directory cannot be read, or now is somebody else's.
    pub fn reload(&self) -> Result<(), PkiError> {
        let fresh = read(&self.0.dir, self.0.holder, &self.0.provider)?;
        if let Some(own) = &fresh.own {
            self.must_be_ours(own)?;
        }
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(())
    }

    /// Puts a renewed certificate, with the key that was drawn for it, in the place of the old.
    ///
    /// # Errors
    /// When they do not fit or cannot be written; the old ones stay then.
    pub fn install(&self, request: &Request, certificate: String) -> Result<(), PkiError> {
        let issued = Issued { certificate, key: request.key() };
        self.must_be_ours(&own(&issued, &self.0.provider)?)?;
        self.0.dir.write_issued(self.0.holder, &issued)?;
        self.reload()
    }

    /// The cluster that is trusted.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.0.cluster
    }

    /// Who this process is.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.current().own.as_ref().map(|own| own.identity.clone())
    }

    /// The authorities that are trusted.
    #[must_use]
    pub fn roots(&self) -> Vec<CertificateDer<'static>> {
        self.current().roots.clone()
    }

    /// Where they were read from.
    #[must_use]
    pub fn dir(&self) -> &PkiDir {
        &self.0.dir
    }

    /// Until when the certificate is valid.
    #[must_use]
    pub fn valid_until(&self) -> Option<SystemTime> {
        self.current().own.as_ref().map(|own| own.until)
    }

    /// Whether the certificate's time is over.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.valid_until().is_some_and(|until| until <= SystemTime::now())
    }

    /// How long until two thirds of the certificate's life are over; zero if they are.
    #[must_use]
    pub fn renewal_due(&self) -> Option<Duration> {
        let current = self.current();
        let own = current.own.as_ref()?;
        let life = own.until.duration_since(own.from).unwrap_or_default();
        let due = own.from + life / 3 * 2;
        Some(due.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// Whether this cluster's authority has granted `epoch`.
    ///
    /// # Errors
    /// When it has not.
    pub fn verify_epoch(&self, epoch: u64, grant: &[u8]) -> Result<(), PkiError> {
        verify_epoch(&self.current().roots, self.0.cluster, epoch, grant)
    }

    /// A process stays who it is for its life.
    fn must_be_ours(&self, fresh: &Own) -> Result<(), PkiError> {
        same_cluster(self.0.cluster, &fresh.identity)?;
        match self.identity().filter(|before| *before != fresh.identity) {
            None => Ok(()),
            Some(before) => Err(PkiError::WrongPeer {
                found: Box::new(fresh.identity.clone()),
                wanted: before.to_string(),
            }),
        }
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.0.provider
    }
}

fn same_cluster(own: ClusterId, identity: &Identity) -> Result<(), PkiError> {
    if identity.cluster == own {
        return Ok(());
    }
    Err(PkiError::OtherCluster { own, theirs: identity.cluster })
}

fn read(dir: &PkiDir, holder: Holder, provider: &CryptoProvider) -> Result<Current, PkiError> {
    let roots = parse::certificates(dir.roots()?.as_bytes())?;
    let anchors = roots
        .iter()
        .map(|root| webpki::anchor_from_trusted_cert(root).map(|anchor| anchor.to_owned()))
        .collect::<Result<_, _>>()
        .map_err(|error| PkiError::Unreadable(error.to_string()))?;
    let own = if holder == Holder::Person && !dir.holds(holder) {
        None
    } else {
        Some(own(&dir.read_issued(holder)?, provider)?)
    };
    Ok(Current { own, roots, anchors })
}

fn own(issued: &Issued, provider: &CryptoProvider) -> Result<Own, PkiError> {
    let chain = parse::certificates(issued.certificate.as_bytes())?;
    let first = chain.first().ok_or(PkiError::Unnamed(0))?;
    let (identity, (from, until)) = (parse::identity(first)?, parse::validity(first)?);
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes())
        .map_err(|error| PkiError::Unreadable(format!("the private key: {error}")))?;
    let key = Arc::new(CertifiedKey::from_der(chain, key, provider)?);
    Ok(Own { key, identity, from, until })
}
