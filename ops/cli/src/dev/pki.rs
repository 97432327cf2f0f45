//! Who is who in a `yard dev` cluster: an authority of its own, made once, and at each start a
//! fresh certificate for every daemon and for whoever owns the directory.

use std::{fs, path::PathBuf};

use serde::Deserialize;
use trainyard_jobs::{ClusterId, NodeId, Role};
use trainyard_pki::{
    AUTHORITY_LIFE, Authority, Credentials, Holder, NODE_LIFE, PERSON_LIFE, PkiDir, Subject,
};

use super::{Layout, Plan};
use crate::{endpoint, error::CliError};

/// The name of the directory's owner in certificates.
const OWNER: &str = "dev";

/// What is read of a worker that an earlier version has run.
#[derive(Deserialize)]
struct Known {
    node: NodeId,
}

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
        let subject = Subject::Worker(node(layout, &name, &dir));
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

/// A worker stays the node that it was: by its certificate, or by its data from before there were
/// any.
fn node(layout: &Layout, name: &str, dir: &PkiDir) -> NodeId {
    let known = fs::read(layout.data(name).join("identity.json")).ok();
    let known = known.and_then(|bytes| serde_json::from_slice::<Known>(&bytes).ok());
    if let Some(Known { node }) = known {
        return node;
    }
    let certified = Credentials::node(dir.path()).ok().and_then(|own| own.identity());
    match certified.map(|identity| identity.subject) {
        Some(Subject::Worker(node)) => node,
        _ => NodeId::from_random(rand::random()),
    }
}
