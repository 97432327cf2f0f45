//! How long a scheduler may take to welcome us. Short at first: one that is frozen must not keep us
//! from the one that leads. Longer once one was too slow in a whole round: a leader may have many to
//! welcome. Schedulers that answer at once that they do not lead, or refuse the connection, are no
//! reason to wait longer for the next.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
/// The longest.
pub(crate) const LONGEST: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Patience {
    now: Duration,
    slow: bool,
}

impl Patience {
    pub(crate) const fn new() -> Self {
        Self { now: FIRST, slow: false }
    }

    pub(crate) const fn get(&self) -> Duration {
        self.now
    }

    /// One did not answer in time.
    pub(crate) const fn ran_out(&mut self) {
        self.slow = true;
    }

    /// All were asked in vain.
    pub(crate) fn next_round(&mut self) {
        if std::mem::take(&mut self.slow) {
            self.now = (self.now * 2).min(LONGEST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slow_answers_lengthen_it() {
        let mut patience = Patience::new();
        for _ in 0..5 {
            patience.next_round();
        }
        assert_eq!(patience.get(), FIRST, "refusals come at once");
        for seconds in [2, 4, 5, 5] {
            patience.ran_out();
            patience.next_round();
            assert_eq!(patience.get(), Duration::from_secs(seconds));
        }
    }
}
