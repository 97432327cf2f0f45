//! Ended jobs leave the state for the archive, with the key that made them. The records are handed
//! out to whoever applies the command; the state keeps their number and the digest over them.

use std::collections::BTreeSet;

use trainyard_jobs::JobId;

use super::Applied;
use crate::{
    archive::{ArchiveRecord, Archived},
    codec,
    command::Reply,
    state::State,
};

impl State {
    /// Archives those of `jobs` that may be: others have changed since the leader looked, or are
    /// archived already.
    pub(super) fn archive_jobs(&mut self, jobs: &[JobId]) -> Applied {
        // Owners of units must be found: a lost node's are, until it is back.
        let owners = self.nodes.values().flat_map(|node| node.owners.values());
        let holding: BTreeSet<JobId> = owners.map(|attempt| attempt.job.clone()).collect();
        let mut archived = 0;
        for id in jobs {
            let may_leave = self.jobs.get(id).is_some_and(|job| job.is_settled());
            if may_leave && !holding.contains(id) {
                self.archive_job(id);
                archived += 1;
            }
        }
        Ok(Reply::Archived { jobs: archived })
    }

    fn archive_job(&mut self, id: &JobId) {
        let Some((job, key)) = self.jobs.remove(id) else { return };
        let key = key.and_then(|key| Some((key, self.keys.remove(&key)?)));
        if let Some((key, record)) = &key {
            self.keys_by_age.remove(&(record.used, *key));
        }
        let archived = Archived { job, key };
        let (bytes, names) = (codec::encode(&archived), archived.names());
        let position = self.archive.count;
        self.archive = self.archive.after(&bytes);
        self.outbox.push(ArchiveRecord { position, bytes, names });
    }

    /// The records that the commands applied since the last call have archived. They must be kept:
    /// the state has nothing of them any more.
    #[must_use]
    pub fn take_archived(&mut self) -> Vec<ArchiveRecord> {
        std::mem::take(&mut self.outbox)
    }
}
