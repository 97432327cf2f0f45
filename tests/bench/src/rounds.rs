//! Rounds and what is made of them.

/// What one system did in one case: a figure a round, and what is made of them.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Figures {
    /// One a round, in order.
    pub(crate) rounds: Vec<f64>,
    /// Milliseconds, half of the operations were faster; one a round, empty where it means nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) p50_ms: Vec<f64>,
    /// Milliseconds, 99 of 100 operations were faster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) p99_ms: Vec<f64>,
    /// Microseconds of processor time that the system's daemons used an operation; one a round.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) daemons_cpu_us: Vec<f64>,
    /// The same of the load generator.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) clients_cpu_us: Vec<f64>,
    /// Operations that failed, over all rounds.
    pub(crate) errors: u64,
    /// Why a round gave no figure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
}

impl Figures {
    pub(crate) fn median(&self) -> Option<f64> {
        median(&self.rounds)
    }

    pub(crate) fn range(&self) -> Option<(f64, f64)> {
        let low = self.rounds.iter().copied().reduce(f64::min)?;
        Some((low, self.rounds.iter().copied().reduce(f64::max)?))
    }
}

/// The indices of `count` systems in the order of round `round`: every other one is reversed, so
/// that drift of the machine favours none.
pub(crate) fn order(count: usize, round: u32) -> Vec<usize> {
    let forward = 0..count;
    if round.is_multiple_of(2) { forward.collect() } else { forward.rev().collect() }
}

/// The middle value, of an even count the mean of the two middle ones.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let high = sorted.get(sorted.len() / 2)?;
    let low = sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(*low, *high))
}

/// The value that `per_cent` of 100 values do not exceed. Sorts.
pub(crate) fn percentile(values: &mut [f64], per_cent: usize) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * per_cent).div_ceil(100);
    values.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_percentiles() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        let mut values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 50), Some(100.0));
        assert_eq!(percentile(&mut values, 99), Some(198.0));
        assert_eq!(percentile(&mut [7.0], 99), Some(7.0));
        assert_eq!(percentile(&mut [], 50), None);
    }

    #[test]
    fn the_order_turns_around() {
        assert_eq!(order(3, 0), [0, 1, 2]);
        assert_eq!(order(3, 1), [2, 1, 0]);
    }
}
