//! The newest desired set and what follows from it for the attempts that this node holds. Pure:
//! [`reconcile`] says what to do, and here is what it is asked about and what was told already.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{AttemptRef, Revision};
use trainyard_probe::planted;
use trainyard_proto::{
    convert::{Invalid, required},
    v1::DesiredSet,
};

pub use crate::attempt::{Order, Work};
use crate::reconcile::{Action, Known, reconcile};

/// How often making an attempt's directory is tried before the attempt is given up, so that
/// another node can have it.
const TRIES: u32 = 3;

/// What is reported of an attempt that is to stop and was never heard of here.
pub const NEVER_STARTED: &str = "the ranks were never started on this node";

/// A desired set that was accepted.
#[derive(Debug)]
struct Wanted {
    revision: Revision,
    orders: BTreeMap<AttemptRef, Order>,
    /// What holds units here and must not run.
    stopping: BTreeSet<AttemptRef>,
    /// Whose ranks are to save their state, and by when, in milliseconds since 1970.
    saves: BTreeMap<AttemptRef, u64>,
}

impl Wanted {
    fn read(revision: Revision, set: DesiredSet) -> Result<Self, Invalid> {
        let asked = set.attempts.iter().filter(|desired| desired.save_before_unix_ms > 0);
        let saves = asked.map(|desired| {
            let attempt = required("desired.attempt", desired.attempt.clone())?;
            Ok((AttemptRef::try_from(attempt)?, desired.save_before_unix_ms))
        });
        let saves = saves.collect::<Result<_, Invalid>>()?;
        let orders = set.attempts.into_iter().map(Order::from_wire);
        let orders = orders.map(|order| order.map(|o| (o.attempt.clone(), o)));
        let stopping = set.stopping.into_iter().map(AttemptRef::try_from);
        Ok(Self {
            revision,
            orders: orders.collect::<Result<_, _>>()?,
            stopping: stopping.collect::<Result<_, _>>()?,
            saves,
        })
    }

    fn names(&self, attempt: &AttemptRef) -> bool {
        self.orders.contains_key(attempt) || self.stopping.contains(attempt)
    }
}

/// What the agent decides upon in one life.
#[derive(Debug, Default)]
pub struct Decisions {
    wanted: Option<Wanted>,
    /// A newer set, which the disk did not record: kept, because the leader sends a set again only
    /// when it changes.
    unrecorded: Option<DesiredSet>,
    /// How often each attempt could not be taken on.
    failures: BTreeMap<AttemptRef, u32>,
    /// Of the attempts that this node does not hold, those whose end the leader was told, or is
    /// being told: told once, and never started.
    told: BTreeSet<AttemptRef>,
}

impl Decisions {
    /// Takes the set of `revision`, which is on record, as what should run here. To act on half
    /// a set could stop what it names, so one that cannot be read is not taken.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn want(&mut self, revision: Revision, set: DesiredSet) -> Result<(), Invalid> {
        let wanted = Wanted::read(revision, set)?;
        self.failures.retain(|attempt, _| wanted.orders.contains_key(attempt));
        self.told.retain(|attempt| wanted.names(attempt));
        self.wanted = Some(wanted);
        self.unrecorded = None;
        Ok(())
    }

    /// The disk did not record the revision of this set: it may not be acted upon yet.
    pub fn keep_unrecorded(&mut self, set: DesiredSet) {
        if !planted("drop a set that was not recorded") {
            self.unrecorded = Some(set);
        }
    }

    /// The set that is to be recorded again, if there is one.
    pub fn unrecorded(&mut self) -> Option<DesiredSet> {
        self.unrecorded.take()
    }

    /// What brings a node that holds `known` to what the newest set says.
    #[must_use]
    pub fn actions(&self, known: &BTreeMap<AttemptRef, Known>) -> Vec<Action> {
        let Some(wanted) = &self.wanted else { return Vec::new() };
        let open = wanted.orders.keys().filter(|attempt| !self.told.contains(*attempt));
        let attempts: BTreeSet<AttemptRef> = open.cloned().collect();
        reconcile(wanted.revision, &attempts, &wanted.stopping, known)
    }

    /// Whose ranks are to save their state, and by when, in milliseconds since 1970.
    pub fn saves(&self) -> impl Iterator<Item = (&AttemptRef, u64)> {
        let saves = self.wanted.iter().flat_map(|wanted| &wanted.saves);
        saves.map(|(attempt, before)| (attempt, *before))
    }

    /// What is to stop and was never heard of here, and nobody has been told so. `is_absent` must
    /// be certain that nothing of an attempt is here.
    pub fn strangers(&self, is_absent: impl Fn(&AttemptRef) -> bool) -> Vec<AttemptRef> {
        let Some(wanted) = &self.wanted else { return Vec::new() };
        let is_stranger = |attempt: &&AttemptRef| {
            !wanted.orders.contains_key(*attempt)
                && !self.told.contains(*attempt)
                && is_absent(attempt)
        };
        wanted.stopping.iter().filter(is_stranger).cloned().collect()
    }

    /// The order of an attempt that is wanted.
    #[must_use]
    pub fn order(&self, attempt: &AttemptRef) -> Option<&Order> {
        self.wanted.as_ref()?.orders.get(attempt)
    }

    /// An attempt could not be taken on. Says whether to give it up.
    pub fn not_taken_on(&mut self, attempt: &AttemptRef) -> bool {
        let failures = self.failures.entry(attempt.clone()).or_default();
        *failures = failures.saturating_add(1);
        *failures >= TRIES
    }

    /// The leader was told, or is being told, of the end of an attempt that is not held here.
    pub fn tell(&mut self, attempt: &AttemptRef) {
        self.told.insert(attempt.clone());
    }
}

#[cfg(test)]
mod tests {
    use trainyard_jobs::{AttemptNo, Generation, JobId};
    use trainyard_proto::v1::DesiredAttempt;

    use super::*;

    #[test]
    fn who_is_to_save_is_told_with_each_set() {
        let attempt = AttemptRef {
            job: JobId::from_random(1),
            attempt: AttemptNo(1),
            generation: Generation(1),
        };
        let set = |save_before_unix_ms| DesiredSet {
            attempts: vec![DesiredAttempt {
                attempt: Some((&attempt).into()),
                started: Some(Revision { epoch: 1, index: 1 }.into()),
                save_before_unix_ms,
                ..DesiredAttempt::default()
            }],
            ..DesiredSet::default()
        };
        let mut decisions = Decisions::default();
        for before in [0, 7_000, 0] {
            decisions.want(Revision { epoch: 1, index: 2 }, set(before)).unwrap();
            let told: Vec<_> = decisions.saves().collect();
            let expected: Vec<_> = (before > 0).then_some((&attempt, before)).into_iter().collect();
            assert_eq!(told, expected);
        }
    }
}
