//! Certificates for a cluster under test, as `yard cluster init` and a join would leave them: one
//! directory a daemon, and an administrator's.

use std::{
    hash::{BuildHasher as _, RandomState},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use trainyard_jobs::{NodeId, Role};
use trainyard_pki::{
    AUTHORITY_LIFE, Authority, Holder, Issued, NODE_LIFE, PERSON_LIFE, PkiDir, Subject,
};

/// The authority of a cluster under test, with a folder for what it issues.
#[derive(Debug)]
pub struct Pki {
    folder: PathBuf,
    authority: Authority,
}

impl Pki {
    /// Makes the authority of cluster `id`.
    pub fn new(folder: &Path, id: &str) -> anyhow::Result<Self> {
        let id = id.parse().context("a cluster's id")?;
        let authority = Authority::create(id, AUTHORITY_LIFE)?;
        Ok(Self { folder: folder.to_owned(), authority })
    }

    /// The authority itself, for tests that issue more.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The directory of scheduler `id`, with the authority's key.
    pub fn scheduler(&self, id: u64) -> anyhow::Result<PathBuf> {
        let dir = PkiDir::new(self.folder.join(format!("scheduler-{id}")));
        dir.write_authority(self.authority.certificate(), &self.authority.key())?;
        let issued = self.authority.issue(Subject::Scheduler(id), NODE_LIFE)?;
        dir.write_issued(Holder::Node, &issued)?;
        Ok(dir.path().to_owned())
    }

    /// A directory for a worker of a new node.
    pub fn worker(&self, name: &str) -> anyhow::Result<PathBuf> {
        let node = NodeId::from_random(RandomState::new().hash_one(name));
        let issued = self.authority.issue(Subject::Worker(node), NODE_LIFE)?;
        self.write(name, Holder::Node, &issued)
    }

    /// A directory for a person.
    pub fn person(&self, name: &str, role: Role) -> anyhow::Result<PathBuf> {
        let subject = Subject::Person { role, name: name.to_owned() };
        let issued = self.authority.issue(subject, PERSON_LIFE)?;
        self.write(name, Holder::Person, &issued)
    }

    /// A directory for somebody who has no certificate: whom to trust, and no more.
    pub fn roots(&self, name: &str) -> anyhow::Result<PathBuf> {
        let dir = PkiDir::new(self.folder.join(name));
        dir.write_roots(self.authority.certificate())?;
        Ok(dir.path().to_owned())
    }

    fn write(&self, name: &str, holder: Holder, issued: &Issued) -> anyhow::Result<PathBuf> {
        let dir = PkiDir::new(self.folder.join(name));
        dir.write_roots(self.authority.certificate())?;
        dir.write_issued(holder, issued)?;
        Ok(dir.path().to_owned())
    }
}
