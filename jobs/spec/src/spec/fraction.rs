//! The part of a GPU that a rank asks for. People write `0.25`; replicated state has no floating
//! point, so thousandths are kept.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Resources;
use crate::WHOLE_GPU;

/// More than nothing of a GPU, and no more than one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fraction(u16);

impl Fraction {
    /// So many thousandths, if that is a fraction.
    #[must_use]
    pub fn from_milli(milli: u16) -> Option<Self> {
        (1..=WHOLE_GPU).contains(&milli).then_some(Self(milli))
    }

    /// Thousandths, from 1 to 1000.
    #[must_use]
    pub const fn milli(self) -> u16 {
        self.0
    }

    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to lie within the bounds"
    )]
    fn from_number<E: de::Error>(value: f64) -> Result<Self, E> {
        let milli = (0.001..=1.0).contains(&value).then(|| (value * 1e3).round() as u16);
        milli.and_then(Self::from_milli).ok_or_else(|| {
            E::custom(format!(
                "{value:?} is no part of a GPU: write a number from 0.001 to 1, such as 0.25"
            ))
        })
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / WHOLE_GPU, self.0 % WHOLE_GPU);
        f.pad(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Serialize for Fraction {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            s.serialize_f64(f64::from(self.0) / 1e3)
        } else {
            self.0.serialize(s)
        }
    }
}

struct FractionVisitor;

impl de::Visitor<'_> for FractionVisitor {
    type Value = Fraction;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a part of a GPU, such as 0.25")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Fraction, E> {
        let bounded = i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX });
        Fraction::from_number(bounded.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Fraction, E> {
        Fraction::from_number(u32::try_from(value).unwrap_or(u32::MAX).into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Fraction, E> {
        Fraction::from_number(value)
    }
}

impl<'de> Deserialize<'de> for Fraction {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            return d.deserialize_any(FractionVisitor);
        }
        let milli = u16::deserialize(d)?;
        let known = Self::from_milli(milli);
        known.ok_or_else(|| de::Error::custom(format!("{milli} thousandths are no fraction")))
    }
}

impl JsonSchema for Fraction {
    fn schema_name() -> Cow<'static, str> {
        "Fraction".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "number",
            "minimum": 0.001,
            "maximum": 1,
            "description": "A part of a GPU"
        })
    }
}

impl Resources {
    /// The least part of a GPU for each rank, in thousandths; [`WHOLE_GPU`] for whole units alone.
    #[must_use]
    pub fn part_milli(&self) -> u16 {
        self.gpu_fraction.map_or(WHOLE_GPU, Fraction::milli)
    }

    /// Whether its ranks run on parts of GPUs.
    #[must_use]
    pub fn on_parts(&self) -> bool {
        self.part_milli() < WHOLE_GPU
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Fraction, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_fraction_is_more_than_nothing_and_no_more_than_all() {
        for (text, milli) in [("1", 1000), ("1.0", 1000), ("0.25", 250), ("0.001", 1)] {
            assert_eq!(read(text).unwrap().milli(), milli, "{text}");
        }
        for text in ["0", "-1", "0.0", "1.01", "2", "1e300", "18446744073709551615"] {
            let error = read(text).unwrap_err();
            assert!(error.contains("write a number from 0.001 to 1"), "{text}: {error}");
        }
        assert!(read("\"half\"").unwrap_err().contains("such as 0.25"));
        for odd in [f64::NAN, f64::INFINITY] {
            assert!(Fraction::from_number::<serde_json::Error>(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn every_thousandth_reads_back() {
        for milli in 1..=1000 {
            let text = serde_json::to_string(&Fraction(milli)).unwrap();
            assert_eq!(read(&text), Ok(Fraction(milli)), "{text}");
            assert_eq!(read(&Fraction(milli).to_string()), Ok(Fraction(milli)));
        }
        assert_eq!(Fraction(250).to_string(), "0.25");
        assert_eq!(Fraction(1000).to_string(), "1");
    }
}
