//! How fast a job runs on each type of GPU, as whoever wrote the spec has measured it. People write
//! `1.8`; replicated state has no floating point, so thousandths are kept.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Resources;

/// The fastest and, as its inverse, the slowest that is believed.
const FASTEST: f64 = 1000.0;

/// How fast a job runs on units of one type, against those that its spec does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Speed(u64);

impl Speed {
    /// On a type that is not named.
    pub const ONE: Self = Self(1000);

    /// So many thousandths, if that is a speed.
    #[must_use]
    pub fn from_milli(milli: u64) -> Option<Self> {
        (1..=1_000_000).contains(&milli).then_some(Self(milli))
    }

    /// Thousandths; never 0.
    #[must_use]
    pub const fn milli(self) -> u64 {
        self.0
    }

    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to lie within the bounds"
    )]
    fn from_number<E: de::Error>(value: f64) -> Result<Self, E> {
        let milli =
            (1.0 / FASTEST..=FASTEST).contains(&value).then(|| (value * 1e3).round() as u64);
        milli.and_then(Self::from_milli).ok_or_else(|| {
            E::custom(format!(
                "nothing runs {value:?} times as fast: write a number from 0.001 to 1000, such as 1.8"
            ))
        })
    }
}

impl Serialize for Speed {
    #[expect(clippy::as_conversions, reason = "up to a million, which a float holds exactly")]
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            s.serialize_f64(self.0 as f64 / 1e3)
        } else {
            self.0.serialize(s)
        }
    }
}

struct SpeedVisitor;

impl de::Visitor<'_> for SpeedVisitor {
    type Value = Speed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of times as fast, such as 1.8")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Speed, E> {
        let bounded = i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX });
        Speed::from_number(bounded.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Speed, E> {
        Speed::from_number(u32::try_from(value).unwrap_or(u32::MAX).into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Speed, E> {
        Speed::from_number(value)
    }
}

impl<'de> Deserialize<'de> for Speed {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            return d.deserialize_any(SpeedVisitor);
        }
        let milli = u64::deserialize(d)?;
        let known = Self::from_milli(milli);
        known.ok_or_else(|| de::Error::custom(format!("{milli} thousandths are no speed")))
    }
}

impl JsonSchema for Speed {
    fn schema_name() -> Cow<'static, str> {
        "Speed".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "number",
            "minimum": 0.001,
            "maximum": 1000,
            "description": "Times as fast as on a type that is not named"
        })
    }
}

/// A job's speeds by GPU type, in lower case. Empty: it runs alike on all.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Speeds(pub BTreeMap<String, Speed>);

impl Speeds {
    /// The most types that a spec may name.
    pub const MOST: usize = 32;

    /// Whether it runs alike on all types, as far as anybody said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// On units of a type.
    #[must_use]
    pub fn on(&self, model: &str) -> Speed {
        let named = self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(model));
        named.map_or(Speed::ONE, |(_, speed)| *speed)
    }

    /// Of a gang on units of these types: data-parallel training goes at the pace of its slowest
    /// rank.
    #[must_use]
    pub fn of_gang<'a>(&self, models: impl IntoIterator<Item = &'a str>) -> Speed {
        if self.is_empty() {
            return Speed::ONE;
        }
        models.into_iter().map(|model| self.on(model)).min().unwrap_or(Speed::ONE)
    }
}

impl Resources {
    /// On the slowest of the types that are named and may be used: what to count on before the job
    /// has units.
    #[must_use]
    pub fn least_speed(&self) -> Speed {
        if self.gpu_type.is_empty() {
            return self.speed.0.values().min().copied().unwrap_or(Speed::ONE);
        }
        self.speed.of_gang(self.gpu_type.iter().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Speed, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_speed_is_a_number_within_reason() {
        for (text, milli) in [("1", 1000), ("1.8", 1800), ("0.001", 1), ("1000", 1_000_000)] {
            assert_eq!(read(text).unwrap().milli(), milli, "{text}");
        }
        for text in ["0", "-1", "0.0", "-0.5", "1000.1", "1e300", "18446744073709551615"] {
            let error = read(text).unwrap_err();
            assert!(error.contains("write a number from 0.001 to 1000"), "{text}: {error}");
        }
        assert!(read("\"fast\"").unwrap_err().contains("such as 1.8"));
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Speed::from_number::<serde_json::Error>(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn every_thousandth_reads_back() {
        for milli in (1..=1_000_000).step_by(7) {
            let text = serde_json::to_string(&Speed(milli)).unwrap();
            assert_eq!(read(&text), Ok(Speed(milli)), "{text}");
        }
    }

    #[test]
    fn a_gang_is_as_fast_as_its_slowest_rank() {
        let speeds: Speeds = serde_json::from_str(r#"{"h100":3,"v100":0.5}"#).unwrap();
        assert_eq!(speeds.on("H100").milli(), 3000);
        assert_eq!(speeds.on("a100"), Speed::ONE, "nobody said");
        assert_eq!(speeds.of_gang(["h100", "v100", "h100"]).milli(), 500);
        assert_eq!(speeds.of_gang(["h100", "a100"]), Speed::ONE);
        assert_eq!(speeds.of_gang([]), Speed::ONE);
        assert_eq!(Speeds::default().of_gang(["h100"]), Speed::ONE);
        let mut resources = Resources { speed: speeds, ..Resources::default() };
        assert_eq!(resources.least_speed().milli(), 500);
        resources.gpu_type = vec!["h100".into()];
        assert_eq!(resources.least_speed().milli(), 3000);
        resources.gpu_type.push("a100".into());
        assert_eq!(resources.least_speed(), Speed::ONE);
    }
}
