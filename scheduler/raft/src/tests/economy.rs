//! What a load costs: snapshots are the whole state, so they must not come with every so many
//! entries however large it has grown.

use super::{
    machine::Outbox,
    sim::{CLUSTER, peers, scratch},
};
use crate::{Config, Driver, Input, ProposeError, Reply, RestoreError, StateMachine};

/// A state that is large from the start.
struct Large;

impl StateMachine for Large {
    fn apply(&mut self, _index: u64, _term: u64, _command: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    fn snapshot(&self) -> Vec<u8> {
        vec![7; 5 << 20]
    }

    fn restore(&mut self, _snapshot: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

fn commit(driver: &mut Driver, commands: u32, bytes: usize) {
    for _ in 0..commands {
        let reply = Reply::new(|result: Result<_, ProposeError>| drop(result.unwrap()));
        driver.step(Input::Propose(vec![1; bytes], reply));
        driver.flush(&mut Outbox::default()).unwrap();
    }
}

#[test]
fn a_large_state_is_written_again_only_after_much_log() {
    let dir = scratch();
    let mut config = Config::new(1, CLUSTER, dir.path(), peers([1]));
    config.snapshot_every = 20;
    config.keep_entries = 3;
    let mut driver = Driver::open(&config, Box::new(Large)).unwrap();
    commit(&mut driver, 30, 100);
    assert_eq!(driver.counters().snapshots_taken, 1);
    commit(&mut driver, 200, 100);
    assert_eq!(driver.counters().snapshots_taken, 1, "the state was written for a little log");
    commit(&mut driver, 85, 3 << 20);
    assert_eq!(driver.counters().snapshots_taken, 1, "so much log is soon there");
    commit(&mut driver, 1, 3 << 20);
    assert_eq!(driver.counters().snapshots_taken, 2);

    // A start counts what it replays.
    commit(&mut driver, 80, 3 << 20);
    driver.close();
    let mut driver = Driver::open(&config, Box::new(Large)).unwrap();
    assert_eq!(driver.counters().snapshots_taken, 0);
    commit(&mut driver, 24, 3 << 18);
    assert_eq!(driver.counters().snapshots_taken, 1);
}
