//! The checker against histories whose verdict is known, and against all orders of small random
//! ones.

use std::time::Duration;

use super::*;

/// A register that holds a number, 0 at first.
struct Register;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Write(u8),
    Read(u8),
}

impl Model for Register {
    type State = u8;
    type Operation = Op;

    fn begin(&self) -> u8 {
        0
    }

    fn apply(&self, state: &u8, operation: &Op) -> Option<u8> {
        match *operation {
            Op::Write(value) => Some(value),
            Op::Read(value) => (*state == value).then_some(value),
        }
    }
}

/// A history from spans in milliseconds; an end of 0 is an unknown outcome.
fn history(calls: &[(u64, u64, Op)]) -> Vec<Call<Op>> {
    let begin = Instant::now();
    let at = |ms: u64| begin + Duration::from_millis(ms);
    let call = |(from, to, operation): &(u64, u64, Op)| Call {
        called: at(*from),
        answered: (*to > 0).then(|| at(*to)),
        operation: *operation,
    };
    calls.iter().map(call).collect()
}

fn is_linearizable(calls: &[(u64, u64, Op)]) -> bool {
    check(&Register, &history(calls)).is_ok()
}

#[test]
fn histories_that_some_order_explains() {
    use Op::{Read, Write};
    for good in [
        &[][..],
        &[(1, 2, Write(1)), (3, 4, Read(1))],
        // A read beside a write may see either.
        &[(1, 9, Write(1)), (2, 3, Read(0)), (4, 5, Read(1))],
        &[(1, 9, Write(1)), (2, 8, Read(1)), (3, 7, Read(0))],
        // Two writes side by side, in the order that the reads demand.
        &[(1, 9, Write(1)), (1, 9, Write(2)), (10, 11, Read(1)), (12, 13, Read(1))],
        // Unknown outcomes: never, at once, or much later.
        &[(1, 0, Write(1)), (2, 3, Read(0)), (4, 5, Read(0))],
        &[(1, 0, Write(1)), (2, 3, Read(1)), (4, 5, Read(1))],
        &[(1, 0, Write(1)), (2, 3, Write(2)), (4, 5, Read(2)), (6, 7, Read(1))],
    ] {
        assert!(is_linearizable(good), "{good:?}");
    }
}

#[test]
fn histories_that_no_order_explains() {
    use Op::{Read, Write};
    for bad in [
        // Stale, lost, out of nowhere.
        &[(1, 2, Write(1)), (3, 4, Read(0))][..],
        &[(1, 2, Write(1)), (3, 4, Write(2)), (5, 6, Read(1))],
        &[(1, 2, Read(1))],
        // New and then old again, beside the write.
        &[(1, 9, Write(1)), (2, 3, Read(1)), (4, 5, Read(0))],
        // Two readers that saw two writes in two orders.
        &[(1, 2, Write(1)), (1, 2, Write(2)), (3, 4, Read(1)), (5, 6, Read(2))],
        // An unknown outcome that was seen, and then was not.
        &[(1, 0, Write(1)), (2, 3, Read(1)), (4, 5, Read(0))],
        // One that was seen before it was asked.
        &[(1, 2, Read(1)), (3, 0, Write(1))],
    ] {
        assert!(!is_linearizable(bad), "{bad:?}");
    }
}

/// All orders, tried one after another: no memory, no cleverness.
fn brute_force(left: &[(u64, u64, Op)], state: u8) -> bool {
    let unknown = |call: &(u64, u64, Op)| call.1 == 0;
    if left.iter().all(unknown) {
        return true;
    }
    (0..left.len()).any(|next| {
        let (from, _, operation) = left[next];
        let rest: Vec<_> =
            left.iter().enumerate().filter(|(i, _)| *i != next).map(|(_, c)| *c).collect();
        rest.iter().all(|other| unknown(other) || from <= other.1)
            && Register.apply(&state, &operation).is_some_and(|after| brute_force(&rest, after))
    })
}

#[test]
fn it_says_what_brute_force_says() {
    // A linear congruential generator (Knuth's MMIX): the same histories each time.
    let mut seed = 7_u64;
    let mut draw = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let (mut good, mut bad) = (0, 0);
    for _ in 0..4000 {
        let calls: Vec<_> = (0..draw(6) + 1)
            .map(|_| {
                let from = draw(20) + 1;
                let to = if draw(5) == 0 { 0 } else { from + 1 + draw(8) };
                let value = u8::try_from(draw(3)).unwrap();
                // What nobody heard of answers nothing: only writes can be unknown.
                let operation =
                    if to == 0 || draw(2) == 0 { Op::Write(value) } else { Op::Read(value) };
                (from, to, operation)
            })
            .collect();
        let expected = brute_force(&calls, 0);
        assert_eq!(is_linearizable(&calls), expected, "{calls:?}");
        *(if expected { &mut good } else { &mut bad }) += 1;
    }
    assert!(good > 500 && bad > 500, "{good} good and {bad} bad histories say little");
}
