//! Proposals on their way to the raft thread. The first wakes it; those that come while it waits
//! for earlier ones to be decided only join, so that many share one wake-up, one write with its
//! fsyncs, and one message to each peer.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::driver::Input;

/// How long a proposal waits at most for those before it to be decided.
const GATHER: Duration = Duration::from_millis(2);

/// Why an input could not be handed in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Stopped,
}

/// The callers' end.
#[derive(Debug)]
pub(crate) struct Intake {
    /// Nothing once the thread is gone.
    waiting: Mutex<Option<Vec<Input>>>,
    most: usize,
}

impl Intake {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::new(Some(Vec::new())), most })
    }

    /// Hands a proposal in; `wake` wakes the thread, which the first of a batch needs.
    pub(crate) fn add(
        &self,
        proposal: Input,
        wake: impl FnOnce() -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let mut waiting = self.lock();
        let list = waiting.as_mut().ok_or(Refused::Stopped)?;
        if list.len() >= self.most {
            return Err(Refused::Full);
        }
        if list.is_empty() {
            wake()?;
        }
        list.push(proposal);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Input>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's end. When it is gone nothing is taken in any more.
#[derive(Debug)]
pub(crate) struct Gathered {
    intake: Arc<Intake>,
    /// When those that wait go at the latest; nothing while none wait.
    until: Option<Instant>,
}

impl Gathered {
    pub(crate) const fn new(intake: Arc<Intake>) -> Self {
        Self { intake, until: None }
    }

    /// The first of a batch has come.
    pub(crate) fn begin(&mut self) {
        self.until.get_or_insert_with(|| Instant::now() + GATHER);
    }

    /// When the thread must look again.
    pub(crate) fn due(&self, all_decided: bool) -> Option<Instant> {
        self.until.map(|until| if all_decided { Instant::now() } else { until })
    }

    /// Those that go now.
    pub(crate) fn take(&mut self, all_decided: bool) -> Vec<Input> {
        if self.due(all_decided).is_none_or(|due| due > Instant::now()) {
            return Vec::new();
        }
        self.until = None;
        self.intake.lock().as_mut().map(mem::take).unwrap_or_default()
    }

    /// Takes in nothing more; gives those that were not proposed.
    pub(crate) fn close(&mut self) -> Vec<Input> {
        self.intake.lock().take().unwrap_or_default()
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may fail loudly")]
mod tests {
    use super::*;
    use crate::driver::Reply;

    fn proposal(n: u8) -> Input {
        Input::Propose(vec![n], Reply::new(drop))
    }

    fn add(intake: &Intake, n: u8) -> (Result<(), Refused>, bool) {
        let mut woken = false;
        let outcome = intake.add(proposal(n), || {
            woken = true;
            Ok(())
        });
        (outcome, woken)
    }

    #[test]
    fn the_first_of_a_batch_wakes_the_thread_and_takes_the_others_along() {
        let intake = Intake::new(3);
        let mut gathered = Gathered::new(Arc::clone(&intake));
        assert_eq!(add(&intake, 1), (Ok(()), true));
        gathered.begin();
        assert_eq!(add(&intake, 2), (Ok(()), false));
        assert_eq!(add(&intake, 3), (Ok(()), false));
        assert_eq!(add(&intake, 4), (Err(Refused::Full), false));
        assert_eq!(gathered.take(true).len(), 3);
        assert_eq!(gathered.due(true), None);
        assert_eq!(add(&intake, 5), (Ok(()), true));
    }

    #[test]
    fn they_wait_for_those_before_them_but_not_for_long() {
        let intake = Intake::new(3);
        let mut gathered = Gathered::new(Arc::clone(&intake));
        add(&intake, 1).0.unwrap();
        gathered.begin();
        let until = gathered.due(false).unwrap();
        gathered.begin();
        assert_eq!(gathered.due(false), Some(until), "a later one does not put it off");
        gathered.until = Some(Instant::now() + Duration::from_secs(3600));
        assert!(gathered.take(false).is_empty());
        gathered.until = Some(Instant::now());
        assert_eq!(gathered.take(false).len(), 1);
    }

    #[test]
    fn a_thread_that_is_gone_or_cannot_be_woken_takes_nothing_in() {
        let intake = Intake::new(3);
        assert_eq!(intake.add(proposal(1), || Err(Refused::Full)), Err(Refused::Full));
        assert_eq!(add(&intake, 2), (Ok(()), true), "the first was not kept");
        drop(Gathered::new(Arc::clone(&intake)));
        assert_eq!(add(&intake, 3), (Err(Refused::Stopped), false));
    }
}
