//! A history that begins anew from a state: after a restore from a backup, or when a quorum is
//! lost for good. What the lost history did after that state is unknown here, so the new one
//! gives out nothing that it may have given out: each epoch has log indexes (and with them
//! checkpoint ids), member ids, generations of attempts and model versions of its own.

use std::collections::BTreeMap;

use crate::state::{Member, State};

/// Log indexes of one epoch: ten thousand commands a second for three years.
const INDEXES: u32 = 40;

/// Member ids of an epoch begin at a multiple of this, and so do model versions.
const ROUND: u64 = 1000;

/// Why a state cannot begin a new history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// The epoch was there before.
    #[error("the state is of epoch {own}, so the new history needs a higher one than {asked}")]
    Epoch {
        /// The state's.
        own: u64,
        /// The one that was asked for.
        asked: u64,
    },
    /// Numbers have come to an end.
    #[error("epoch {0} cannot be: its log indexes are beyond what a number holds")]
    TooFar(u64),
    /// Nobody would hold the state.
    #[error("a cluster of {0} schedulers cannot be: name 1, 3 or 5")]
    Members(usize),
}

impl State {
    /// Makes this the first state of epoch `epoch`, held by schedulers at `addresses`. Gives
    /// their ids in that order. Equal input gives an equal state, so that each of them can do
    /// it alone.
    ///
    /// # Errors
    /// When the epoch is not higher than every one before, or the schedulers are not 1, 3 or 5.
    pub fn begin_epoch(
        &mut self,
        epoch: u64,
        addresses: &[String],
    ) -> Result<Vec<u64>, RecoveryError> {
        if epoch <= self.epoch {
            return Err(RecoveryError::Epoch { own: self.epoch, asked: epoch });
        }
        if !matches!(addresses.len(), 1 | 3 | 5) {
            return Err(RecoveryError::Members(addresses.len()));
        }
        let first = epoch.saturating_sub(1).checked_mul(1 << INDEXES);
        // Rust's shift would drop what does not fit; the product says so.
        let index = first.filter(|i| *i > self.index).ok_or(RecoveryError::TooFar(epoch))?;
        let base = self.next_member.max(epoch.saturating_sub(1).saturating_mul(ROUND));
        let base = base.div_ceil(ROUND).saturating_mul(ROUND);
        let added = self.time;
        let member = |address: &String| Member {
            address: address.clone(),
            added,
            replaces: None,
            leaving: false,
        };
        let ids: Vec<u64> = (base.saturating_add(1)..).take(addresses.len()).collect();
        self.members = ids.iter().copied().zip(addresses.iter().map(member)).collect();
        self.next_member = ids.last().map_or(base, |last| last.saturating_add(1));
        let newest = self.models.values().filter_map(|versions| versions.keys().next_back()).max();
        let newest = u64::from(newest.copied().unwrap_or(0).max(self.version_floor));
        let floor = newest.saturating_add(1).div_ceil(ROUND).saturating_mul(ROUND);
        self.version_floor = u32::try_from(floor).unwrap_or(u32::MAX);
        for node in self.nodes.values_mut() {
            node.releasing.clear();
        }
        self.index = index;
        self.epoch = epoch;
        Ok(ids)
    }

    /// The addresses of the schedulers by id.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<u64, String> {
        self.members.iter().map(|(id, member)| (*id, member.address.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use trainyard_jobs::{Generation, JobPhase};

    use super::*;
    use crate::{
        Command, Refusal, Reply, codec,
        world::{World, node_id, ranks, spec},
    };

    fn addresses(n: usize) -> Vec<String> {
        (1..=n).map(|i| format!("127.0.0.1:{}", 7400 + i)).collect()
    }

    #[test]
    fn an_epoch_gives_out_nothing_that_the_one_before_may_have() {
        let mut lost = World::new();
        lost.register(1, 1, 4, &[]);
        let members = BTreeMap::from([(1, "a:1".to_owned()), (2, "b:1".to_owned())]);
        lost.apply(Command::SetMembers { members }).unwrap();
        let job = lost
            .submit(spec("[resources]\ngpus = 1\ndevice = \"cpu\"\n[register]\nmodel = \"m\"\n"));
        let backup = lost.state.clone();

        // The lost history goes on; the backup knows nothing of it.
        let old = lost.plan().remove(0);
        lost.started(&old);
        lost.checkpoint(&old, 5).unwrap();
        lost.exit_all(&old, 0);
        lost.apply(Command::Complete { job: job.clone(), attempt: old.attempt }).unwrap();
        let add = Command::AddMember { address: "c:1".into(), replaces: None };
        assert_eq!(lost.apply(add.clone()).unwrap(), Reply::Member(3));

        let mut restored = backup.clone();
        let ids = restored.begin_epoch(2, &addresses(3)).unwrap();
        assert_eq!(ids, [1001, 1002, 1003]);
        let mut again = backup;
        again.begin_epoch(2, &addresses(3)).unwrap();
        assert_eq!(codec::state_hash(&restored), codec::state_hash(&again));
        let mut new = World::of(restored);
        let run = new.plan().remove(0);
        assert_eq!((run.attempt, run.job.clone()), (old.attempt, old.job.clone()));
        assert_ne!(run.generation, old.generation, "an attempt is not the lost one");
        assert_eq!(run.generation, Generation((1 << 16) + 1));
        // What the lost attempt's node says of it means nothing to the new one.
        let node = new.nodes_of(&run)[0].clone();
        new.exit(&old, &node, 1).unwrap();
        assert_eq!(new.state.job(&job).unwrap().phase, JobPhase::Running);
        new.started(&run);
        new.checkpoint(&run, 5).unwrap();
        let of = |world: &World| world.state.job(&job).unwrap().checkpoints[0].id;
        assert!(of(&new).0 > 1 << 40 && of(&lost).0 < 1 << 40);
        new.exit_all(&run, 0);
        new.apply(Command::Complete { job: job.clone(), attempt: run.attempt }).unwrap();
        let version = |world: &World| world.state.job(&job).unwrap().registered.clone().unwrap().1;
        assert_eq!((version(&lost), version(&new)), (1, 1001));
        assert_eq!(new.apply(add).unwrap(), Reply::Member(1004));
    }

    #[test]
    fn epochs_only_rise_and_a_cluster_has_1_3_or_5_members() {
        let mut state = World::new().state;
        assert!(matches!(
            state.begin_epoch(1, &addresses(1)),
            Err(RecoveryError::Epoch { own: 1, asked: 1 })
        ));
        assert_eq!(state.begin_epoch(2, &addresses(2)), Err(RecoveryError::Members(2)));
        assert!(matches!(
            state.begin_epoch(u64::MAX, &addresses(1)),
            Err(RecoveryError::TooFar(_))
        ));
        assert_eq!(state.begin_epoch(5, &addresses(1)).unwrap(), [4001]);
        assert_eq!(state.begin_epoch(6, &addresses(1)).unwrap(), [5001]);
    }

    #[test]
    fn a_held_attempt_ends_by_somebodys_word_and_only_if_the_state_does_not_know_it() {
        let mut world = World::new();
        world.register(1, 1, 2, &[]);
        let job = world.submit(ranks(1));
        let known = world.plan().remove(0);
        let node = node_id(1);
        let release = |attempt| Command::ReleaseAttempt { node: node.clone(), attempt };
        assert_eq!(world.apply(release(known.clone())).unwrap_err(), Refusal::Known(known.clone()));
        let held = trainyard_jobs::AttemptRef { generation: Generation(77), ..known };
        world.apply(release(held.clone())).unwrap();
        assert!(world.state.node(&node).unwrap().releasing.contains(&held));
        world.exit(&held, &node, 143).unwrap();
        assert!(world.state.node(&node).unwrap().releasing.is_empty());
        assert_eq!(world.state.job(&job).unwrap().phase, JobPhase::Running);
    }
}
