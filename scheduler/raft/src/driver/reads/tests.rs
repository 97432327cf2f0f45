//! Rounds of readers, without a cluster around them.

use std::sync::{Arc, Mutex};

use super::Reads;
use crate::{driver::Reply, error::ReadError};

type Answers = Arc<Mutex<Vec<Result<u64, ReadError>>>>;

fn reader(answers: &Answers) -> Reply<u64, ReadError> {
    let answers = Arc::clone(answers);
    Reply::new(move |result| answers.lock().unwrap().push(result))
}

#[test]
fn a_reader_does_not_join_a_round_that_began_before_it() {
    let (mut reads, answers) = (Reads::new(10, 4), Answers::default());
    reads.push(reader(&answers));
    let first = reads.next_round().unwrap();
    reads.push(reader(&answers));
    assert_eq!(reads.next_round(), None);
    reads.confirm(&first, 5);
    reads.settle(4);
    assert!(answers.lock().unwrap().is_empty(), "answered before its index was applied");
    reads.settle(6);
    assert_eq!(*answers.lock().unwrap(), [Ok(6)]);
    let second = reads.next_round().unwrap();
    assert_ne!(first, second);
    reads.confirm(&second, 6);
    reads.settle(6);
    assert_eq!(answers.lock().unwrap().len(), 2);
}

#[test]
fn a_silent_round_is_asked_again_under_a_fresh_context_with_all_who_came_meanwhile() {
    let (mut reads, answers) = (Reads::new(10, 4), Answers::default());
    reads.push(reader(&answers));
    let silent = reads.next_round().unwrap();
    reads.push(reader(&answers));
    for _ in 0..3 {
        reads.tick();
        assert_eq!(reads.next_round(), None);
    }
    reads.tick();
    let again = reads.next_round().unwrap();
    assert_ne!(silent, again);
    // The old round's answer, come late, says nothing of the readers that joined since.
    reads.confirm(&silent, 1);
    reads.settle(9);
    assert!(answers.lock().unwrap().is_empty());
    reads.confirm(&again, 7);
    reads.settle(9);
    assert_eq!(*answers.lock().unwrap(), [Ok(9), Ok(9)]);
}

#[test]
fn readers_give_up_at_their_deadline() {
    let (mut reads, answers) = (Reads::new(2, 100), Answers::default());
    reads.push(reader(&answers));
    reads.next_round().unwrap();
    for _ in 0..3 {
        reads.tick();
    }
    assert_eq!(*answers.lock().unwrap(), [Err(ReadError::TimedOut)]);
    assert_eq!(reads.next_round(), None);
}
