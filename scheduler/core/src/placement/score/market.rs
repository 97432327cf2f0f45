//! What units cost and how sure they are, so that places are compared in one measure: money. All
//! amounts are whole micro-dollars, because a plan must not hang on how floats are rounded.

use std::collections::BTreeMap;

use trainyard_jobs::{Millis, Usd};

/// Micro-dollars that a unit is worth for an hour to whoever uses it, where no queue says more: what
/// a delay, a slow network and fragments are counted at.
pub(in crate::placement) const VALUE: u64 = 2_000_000;

/// Milliseconds of work that an interruption loses of a job of which nothing is known.
const LOST: u64 = 540_000;

/// Milliseconds of an hour.
const HOUR: u64 = 3_600_000;

/// What a strained unit is expected to lose, in thousandths of its value.
const STRAIN: u64 = 250;

/// The dearest price that is believed, in dollars.
const DEAREST: f64 = 1e6;

/// A text or number is no price.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{0}` is no price: write dollars for a unit's hour, such as 2.5")]
pub struct InvalidPrice(String);

/// Micro-dollars for a unit's hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Price(u64);

impl Price {
    /// A price in dollars.
    ///
    /// # Errors
    /// When it is not a number, negative, infinite or beyond belief.
    pub fn from_usd(usd: f64) -> Result<Self, InvalidPrice> {
        if !(0.0..=DEAREST).contains(&usd) {
            return Err(InvalidPrice(usd.to_string()));
        }
        // Through its decimal text: no cast, and the same everywhere.
        let text = format!("{:.0}", usd * 1e6);
        text.parse().map(Self).map_err(|_| InvalidPrice(usd.to_string()))
    }

    /// Micro-dollars.
    #[must_use]
    pub const fn micro_usd(self) -> u64 {
        self.0
    }
}

impl std::str::FromStr for Price {
    type Err = InvalidPrice;

    fn from_str(text: &str) -> Result<Self, InvalidPrice> {
        let usd: f64 = text.trim().parse().map_err(|_| InvalidPrice(text.to_owned()))?;
        Self::from_usd(usd).map_err(|_| InvalidPrice(text.to_owned()))
    }
}

/// On which terms units can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Terms {
    /// What an hour of a unit costs.
    pub price: Price,
    /// How often the node is taken away, in a million hours.
    pub interruptions: u32,
}

impl Terms {
    /// What a node's labels say: `usd_per_unit_hour` and `interruptions_per_day`. What is no
    /// number counts as nothing said.
    #[must_use]
    pub fn of(labels: &BTreeMap<String, String>) -> Self {
        let price = labels.get("usd_per_unit_hour").and_then(|text| text.parse().ok());
        let daily = labels.get("interruptions_per_day").and_then(|text| text.parse::<Price>().ok());
        let hourly = daily.map_or(0, |daily| daily.micro_usd() / 24);
        Self {
            price: price.unwrap_or_default(),
            interruptions: u32::try_from(hourly).unwrap_or(u32::MAX),
        }
    }

    /// What an hour's work of one rank costs on such a unit, in micro-dollars: its price and what
    /// else it could be used for, for as long as the work takes at `slowdown` and `speed`
    /// (thousandths), and what is expected to be lost in that time by interruptions and strain.
    pub(in crate::placement) fn hour(
        &self,
        stakes: Stakes,
        strained: bool,
        (slowdown, speed): (u64, u64),
    ) -> u64 {
        let unit = self.price.0.saturating_add(stakes.value);
        let longer = unit.saturating_mul(slowdown) / speed.max(1);
        let lost = u128::from(longer) * u128::from(stakes.lost) / u128::from(HOUR);
        let lost = lost.saturating_mul(self.interruptions.into()) / 1_000_000;
        let strain = if strained { stakes.value / 1000 * STRAIN } else { 0 };
        longer.saturating_add(u64::try_from(lost).unwrap_or(u64::MAX)).saturating_add(strain)
    }
}

/// What a job has to lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stakes {
    /// Micro-dollars that an hour of one of its ranks is worth.
    pub value: u64,
    /// Milliseconds of its work that an interruption is expected to lose.
    pub lost: u64,
}

impl Default for Stakes {
    fn default() -> Self {
        Self { value: VALUE, lost: LOST }
    }
}

impl Stakes {
    /// Those of a job that saves its state so often, and loses so much when it is resumed. Half of
    /// what lies between two checkpoints is lost on average.
    #[must_use]
    pub fn of(value: Usd, every: Millis, restart: Millis) -> Self {
        Self { value: value.0, lost: (every.0 / 2).saturating_add(restart.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_loses_what_the_job_had_not_saved() {
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let labels = [label("usd_per_unit_hour", "2"), label("interruptions_per_day", "4.8")];
        let spot = Terms::of(&labels.into_iter().collect());
        let hour = |every: u64, (slowdown, speed)| {
            let stakes = Stakes::of(Usd(2_000_000), Millis(every * 60_000), Millis(60_000));
            spot.hour(stakes, false, (slowdown, speed))
        };
        // A fifth of an interruption an hour, of 31 and of 6 minutes.
        assert_eq!(hour(60, (1000, 1000)), 4_413_333);
        assert_eq!(hour(10, (1000, 1000)), 4_080_000);
        assert_eq!(hour(10, (1000, 2000)), 2_040_000, "half as long on a type twice as fast");
        let worth = Stakes { value: 8_000_000, ..Stakes::default() };
        assert_eq!(Terms::default().hour(worth, true, (1000, 1000)), 10_000_000);
    }
}
