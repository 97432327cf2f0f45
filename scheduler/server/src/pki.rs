//! What a member proves itself with, and what it signs for others. Its own certificate it renews
//! by itself: every member holds the authority's key.

use std::{sync::Arc, time::Duration};

use trainyard_pki::{
    Authority, Counters, Credentials, Holder, Identity, PkiDir, PkiError, Subject, keep_fresh,
};

use crate::{config::Config, error::SchedulerError};

/// This member's certificate and the cluster's authority.
#[derive(Debug)]
pub(crate) struct Pki {
    pub(crate) credentials: Credentials,
    pub(crate) authority: Authority,
    /// How long what this member signs for nodes is valid.
    pub(crate) life: Duration,
    /// What came to the main port.
    pub(crate) port: Arc<Counters>,
    /// What came to the port for metrics.
    pub(crate) metrics_port: Arc<Counters>,
}

impl Pki {
    /// Reads the directory, which must be this member's own.
    pub(crate) fn open(config: &Config) -> Result<Self, SchedulerError> {
        let path = config.pki_dir();
        let credentials = Credentials::node(&path)?;
        let (own, theirs) = (config.cluster, credentials.cluster());
        if own != theirs {
            return Err(PkiError::OtherCluster { own, theirs }.into());
        }
        let dir = PkiDir::new(&path);
        let authority = dir.authority()?;
        let authority = authority.ok_or_else(|| PkiError::Missing { path: path.join("ca.key") })?;
        let (wanted, life) =
            (Subject::Scheduler(config.id), Duration::from(config.certificate_life));
        let credentials = match credentials.identity() {
            Some(found) if found.subject == wanted && !credentials.is_expired() => credentials,
            // A member that came back under a new id, or was away for long, holds the key that
            // signs for it.
            Some(Identity { subject: Subject::Scheduler(_), .. }) => {
                dir.write_issued(Holder::Node, &authority.issue(wanted, life)?)?;
                Credentials::node(&path)?
            }
            found => {
                let found = found.map_or_else(|| "nobody".to_owned(), |f| f.subject.to_string());
                return Err(SchedulerError::NotScheduler { path, found });
            }
        };
        Ok(Self {
            credentials,
            authority,
            life,
            port: Arc::default(),
            metrics_port: Arc::default(),
        })
    }

    /// Renews this member's certificate for as long as it is polled.
    pub(crate) async fn keep_fresh(self: Arc<Self>, id: u64) {
        let credentials = self.credentials.clone();
        keep_fresh(credentials, |csr| {
            let pki = Arc::clone(&self);
            async move { pki.authority.sign(&csr, Subject::Scheduler(id), pki.life) }
        })
        .await;
    }
}
