//! What a node costs over time: a price from each instant on until the next. Read from the cluster
//! file, or from a table of spot prices beside it.

use std::path::Path;

use serde::{Deserialize, Deserializer, de};
use trainyard_jobs::Millis;

use crate::{SimError, num::float, read::Table};

/// The dearest node that is believed, in US dollars an hour.
const DEAREST: f64 = 1e6;

/// An instant of the trace. Reads seconds, or a span such as `1d` from the trace's start on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct At(pub Millis);

struct AtVisitor;

impl de::Visitor<'_> for AtVisitor {
    type Value = At;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("seconds from the start of the trace, or a span of time such as \"1d\"")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<At, E> {
        let seconds = u64::try_from(value).ok().and_then(|seconds| seconds.checked_mul(1000));
        let expected = || E::custom(format!("{value} is no instant: write seconds, not below 0"));
        seconds.map(|ms| At(Millis(ms))).ok_or_else(expected)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<At, E> {
        let expected = || E::custom(format!("{value} is no instant: write seconds, not below 0"));
        crate::read::seconds(&value.to_string()).map(At).ok_or_else(expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<At, E> {
        text.parse().map(At).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(AtVisitor)
    }
}

/// US dollars an hour, each from an instant of the trace on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tariff(Vec<(u64, f64)>);

impl Tariff {
    /// `price` until the first of `steps`, then each until the next. Of several at one instant the
    /// last counts.
    #[must_use]
    pub fn new(price: f64, steps: &[(At, f64)]) -> Self {
        let mut all = vec![(0, price)];
        all.extend(steps.iter().map(|(at, price)| (at.0.0, *price)));
        all.sort_by_key(|(at, _)| *at);
        let mut kept: Vec<(u64, f64)> = Vec::with_capacity(all.len());
        for (at, price) in all {
            match kept.last_mut() {
                Some(last) if last.0 == at => last.1 = price,
                Some(last) if last.1.to_bits() == price.to_bits() => {}
                _ => kept.push((at, price)),
            }
        }
        Self(kept)
    }

    /// Of all of these, each so many times.
    #[must_use]
    pub(crate) fn sum(parts: &[(u32, &Self)]) -> Self {
        let mut instants: Vec<u64> =
            parts.iter().flat_map(|(_, tariff)| tariff.0.iter().map(|(at, _)| *at)).collect();
        instants.sort_unstable();
        instants.dedup();
        let price = |at: u64| parts.iter().map(|(n, tariff)| f64::from(*n) * tariff.at(at)).sum();
        Self(instants.into_iter().map(|at| (at, price(at))).collect())
    }

    /// What an hour costs at an instant.
    #[must_use]
    pub fn at(&self, now: u64) -> f64 {
        let next = self.0.partition_point(|(at, _)| *at <= now);
        next.checked_sub(1).and_then(|last| self.0.get(last)).map_or(0.0, |(_, price)| *price)
    }

    /// The instants after the first at which it changes.
    pub(crate) fn changes(&self) -> impl Iterator<Item = u64> {
        self.0.iter().skip(1).map(|(at, _)| *at)
    }

    /// Whether anything costs anything.
    pub(crate) fn is_free(&self) -> bool {
        self.0.iter().all(|(_, price)| *price == 0.0)
    }

    /// US dollars from one instant to a later one.
    #[must_use]
    pub fn between(&self, from: u64, to: u64) -> f64 {
        let mut sum = 0.0;
        let mut now = from;
        let next = self.0.partition_point(|(at, _)| *at <= from);
        let later = self.0.get(next..).unwrap_or_default().iter().map(|(at, _)| *at);
        for change in later.take_while(|at| *at < to).chain([to]) {
            sum += self.at(now) * float(change.saturating_sub(now));
            now = change;
        }
        sum / 3_600_000.0
    }
}

/// What is wrong with a price, if anything.
pub(super) fn problem(usd: f64) -> Option<String> {
    let fine = (0.0..=DEAREST).contains(&usd);
    (!fine).then(|| format!("price {usd}; give dollars an hour, {DEAREST} at most"))
}

/// Reads a table of prices: `time_s` and `usd_per_hour` of a node, from each time on.
pub(super) fn read(path: &Path) -> Result<Vec<(At, f64)>, SimError> {
    let text = std::fs::read_to_string(path).map_err(|source| SimError::File {
        doing: "read the prices",
        path: path.to_owned(),
        source,
    })?;
    let file = path.display().to_string();
    let table = Table::read(&file, &text, b',', &["time_s", "usd_per_hour"])?;
    let mut steps = Vec::new();
    for line in table.lines() {
        let text = line.get("usd_per_hour");
        let usd: f64 = text.parse().unwrap_or(f64::NAN);
        if let Some(problem) = problem(usd) {
            return Err(line.wrong(format!("usd_per_hour is `{text}`: {problem}")));
        }
        steps.push((At(line.seconds("time_s")?), usd));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn at(hour: u64) -> At {
        At(Millis(hour * HOUR))
    }

    #[test]
    fn a_price_holds_until_the_next() {
        let tariff = Tariff::new(3.0, &[(at(2), 1.0), (at(1), 3.0), (at(4), 5.0), (at(4), 6.0)]);
        assert_eq!(tariff.changes().collect::<Vec<_>>(), [2 * HOUR, 4 * HOUR]);
        let prices = [0, 2 * HOUR - 1, 2 * HOUR, 4 * HOUR, 9 * HOUR].map(|now| tariff.at(now));
        assert_eq!(prices, [3.0, 3.0, 1.0, 6.0, 6.0]);
        let spent = |from, to| tariff.between(from * HOUR, to * HOUR);
        assert!((spent(0, 5) - (2.0 * 3.0 + 2.0 + 6.0)).abs() < 1e-9);
        assert!((spent(3, 3) - 0.0).abs() < 1e-9 && (spent(2, 4) - 2.0).abs() < 1e-9);
        assert!((spent(7, 9) - 12.0).abs() < 1e-9);
    }

    #[test]
    fn tariffs_add_up() {
        let spot = Tariff::new(2.0, &[(at(1), 1.0)]);
        let fixed = Tariff::new(10.0, &[]);
        let all = Tariff::sum(&[(3, &spot), (1, &fixed)]);
        assert!((all.at(0) - 16.0).abs() < 1e-9 && (all.at(HOUR) - 13.0).abs() < 1e-9);
        assert!((all.between(0, 2 * HOUR) - 29.0).abs() < 1e-9);
        assert!(Tariff::new(0.0, &[]).is_free() && !spot.is_free());
    }
}
