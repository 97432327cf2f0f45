//! Who is who in a `yard dev` cluster: an authority of its own, made once, and at each start a
//! fresh certificate for every daemon and for whoever owns the directory.

use std::path::PathBuf;

use trainyard_jobs::{ClusterId, Role};
use trainyard_pki::{AUTHORITY_LIFE, Authority, Holder, NODE_LIFE, PERSON_LIFE, PkiDir, Subject};

use super::{Layout, Plan};
use crate::{endpoint, error::CliError, join};

/// The name of the directory's owner in certificates.
const OWNER: &str = "dev";

impl Layout {
    /// A daemon's certificates and keys.
    pub(crate) fn pki(&self, name: &str) -> PathBuf {
        self.dir().join("pki").join(name)
    }

    /// The owner's.
    pub(crate) fn admin(&self) -> PathBuf {
        endpoint::dev_pki(self.dir())
    }
}

/// Writes the certificates of all daemons and of the directory's owner.
pub(crate) fn issue(layout: &Layout, plan: &Plan, workers: usize) -> Result<(), CliError> {
    let authority = authority(layout, plan.cluster())?;
    let root = authority.certificate();
    for (id, name) in (1..).zip(plan.schedulers()) {
        let dir = PkiDir::new(layout.pki(&name));
        dir.write_authority(root, &authority.key())?;
        dir.write_issued(Holder::Node, &authority.issue(Subject::Scheduler(id), NODE_LIFE)?)?;
    }
    for name in Plan::workers(workers) {
        let dir = PkiDir::new(layout.pki(&name));
        let subject = Subject::Worker(join::node(&layout.data(&name), dir.path()));
        dir.write_roots(root)?;
        dir.write_issued(Holder::Node, &authority.issue(subject, NODE_LIFE)?)?;
    }
    let dir = PkiDir::new(layout.admin());
    let owner = Subject::Person { role: Role::Admin, name: OWNER.to_owned() };
    dir.write_roots(root)?;
    dir.write_issued(Holder::Person, &authority.issue(owner, PERSON_LIFE)?)?;
    Ok(())
}

fn authority(layout: &Layout, cluster: ClusterId) -> Result<Authority, CliError> {
    let dir = PkiDir::new(layout.pki("ca"));
    if let Some(authority) = dir.authority()?.filter(|known| known.cluster() == cluster) {
        return Ok(authority);
    }
    let authority = Authority::create(cluster, AUTHORITY_LIFE)?;
    dir.write_authority(authority.certificate(), &authority.key())?;
    Ok(authority)
}
