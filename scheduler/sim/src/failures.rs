//! How often jobs fail by their own doing: bugs, bad batches, memory. What machines do to them is
//! the cluster's.

use std::str::FromStr;

use trainyard_jobs::Millis;

/// How often runs fail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Failures {
    /// This share of all runs, each at some point of its work, one as likely as another.
    Share(f64),
    /// Each run after such a time at work, on the mean; one that is done before does not.
    Every(Millis),
}

/// A text says nothing of failures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no rate of failures: write a share of runs such as `0.05`, or a mean time such as `12h`"
)]
pub struct InvalidFailures(String);

impl FromStr for Failures {
    type Err = InvalidFailures;

    fn from_str(text: &str) -> Result<Self, InvalidFailures> {
        let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
        let mean = text.parse::<Millis>().ok().filter(|mean| mean.0 > 0).map(Self::Every);
        let odd = || InvalidFailures(text.chars().take(40).collect());
        share.map(Self::Share).or(mean).ok_or_else(odd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_or_a_time_says_how_often() {
        assert_eq!("0.05".parse(), Ok(Failures::Share(0.05)));
        assert_eq!("1".parse(), Ok(Failures::Share(1.0)));
        assert_eq!("12h".parse(), Ok(Failures::Every(Millis(43_200_000))));
        for odd in ["1.5", "-0.1", "nan", "0s", "often", ""] {
            let error = odd.parse::<Failures>().expect_err(odd).to_string();
            assert!(error.contains("a share of runs"), "{error}");
        }
    }
}
