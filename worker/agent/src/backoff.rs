//! Waiting between tries: exponential with full jitter, so that a fleet does not return in step
//! (AWS Architecture Blog, «Exponential Backoff And Jitter»).

use std::time::Duration;

use rand::Rng as _;

/// The time to wait before each next try.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// For calls to a scheduler.
    pub(crate) const fn scheduler() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(2))
    }

    /// For calls to the store.
    pub(crate) const fn store() -> Self {
        Self::new(Duration::from_millis(200), Duration::from_secs(15))
    }

    /// Between half of a growing span and all of it.
    pub(crate) fn step(&mut self) -> Duration {
        let span = self.next;
        self.next = (span * 2).min(self.most);
        span.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Sleeps for one step.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.step()).await;
    }

    /// Starts anew, with steps of no more than `most`.
    pub(crate) const fn reset(&mut self, most: Duration) {
        (self.next, self.most) = (self.first, most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_its_limit_and_starts_anew() {
        let mut backoff = Backoff::scheduler();
        for _ in 0..20 {
            assert!(backoff.step() <= Duration::from_secs(2));
        }
        assert!(backoff.step() >= Duration::from_secs(1));
        backoff.reset(Duration::from_millis(150));
        assert!(backoff.step() <= Duration::from_millis(100));
        assert!(backoff.step() <= Duration::from_millis(150));
    }
}
