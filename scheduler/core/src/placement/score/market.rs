//! What units cost and how sure they are, so that places are compared in one measure: money. All
//! amounts are whole micro-dollars, because a plan must not hang on how floats are rounded.

use std::collections::BTreeMap;

/// Micro-dollars that a unit is worth for an hour to whoever uses it, where nobody says more: what
/// a delay, a slow network and fragments are counted at.
pub(in crate::placement) const VALUE: u64 = 2_000_000;

/// Work that an interruption loses, in thousandths of an hour: half of what lies between two
/// checkpoints, and the restart.
const LOST: u64 = 150;

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
    /// (thousandths), and the work that an interruption or a strained unit is expected to lose.
    pub(in crate::placement) fn hour(&self, strained: bool, slowdown: u64, speed: u64) -> u64 {
        let unit = self.price.0.saturating_add(VALUE);
        let longer = unit.saturating_mul(slowdown) / speed.max(1);
        let lost = unit.saturating_mul(LOST) / 1000 * u64::from(self.interruptions) / 1_000_000;
        let strain = if strained { VALUE * STRAIN / 1000 } else { 0 };
        longer.saturating_add(lost).saturating_add(strain)
    }
}
