//! Whether there is disk for more work. What runs must be able to report to the end, so new work
//! is refused while a majority of the schedulers still has room for that.

use trainyard_jobs::Bytes;

/// The part of a small disk that is kept free at most.
const PART: u64 = 50;

/// Free and total bytes of a scheduler's disk; zeros where nobody knows.
pub type Disk = (u64, u64);

/// Whether work can be taken on: a majority of the voters has `reserve` free, or a fiftieth of a
/// small disk.
#[must_use]
pub fn is_left(voters: &[Disk], reserve: Bytes) -> bool {
    let has_room = |(free, total): &&Disk| *total == 0 || *free >= reserve.0.min(total / PART);
    let with_room = voters.iter().filter(has_room).count();
    with_room > voters.len() / 2 || voters.is_empty()
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Disk};

    const FULL: Disk = (100 << 20, 1 << 40);
    const ROOMY: Disk = (1 << 30, 1 << 40);
    const UNKNOWN: Disk = (0, 0);

    fn is_left(voters: &[Disk]) -> bool {
        super::is_left(voters, Bytes(256 << 20))
    }

    #[test]
    fn a_majority_of_disks_must_have_room() {
        assert!(is_left(&[ROOMY]));
        assert!(!is_left(&[FULL]));
        assert!(is_left(&[FULL, ROOMY, ROOMY]));
        assert!(!is_left(&[FULL, FULL, ROOMY]));
        assert!(!is_left(&[FULL, ROOMY]), "one of two is no majority");
        assert!(is_left(&[]));
    }

    #[test]
    fn who_says_nothing_is_not_taken_for_full() {
        assert!(is_left(&[UNKNOWN, UNKNOWN, FULL]));
    }

    #[test]
    fn small_disks_keep_a_part_free() {
        assert!(is_left(&[(2 << 20, 24 << 20)]));
        assert!(!is_left(&[(1 << 18, 24 << 20)]));
        assert!(super::is_left(&[(0, 24 << 20)], Bytes(0)), "nothing is to be kept free");
    }
}
