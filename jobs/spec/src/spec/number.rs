//! Numbers in a spec. People write `0.05`; replicated state has no floating point, so a number
//! with a fraction is kept as its shortest decimal text, and money as whole micro-dollars.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor as _},
};

use crate::Usd;

/// A recipe's parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Param {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction, as decimal text.
    Decimal(String),
    /// Text.
    Text(String),
}

impl Serialize for Param {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => s.serialize_bool(*value),
            Self::Int(value) => s.serialize_i64(*value),
            Self::Text(text) => s.serialize_str(text),
            Self::Decimal(text) => {
                let number: f64 = text.parse().map_err(serde::ser::Error::custom)?;
                s.serialize_f64(number)
            }
        }
    }
}

struct ParamVisitor;

impl de::Visitor<'_> for ParamVisitor {
    type Value = Param;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false, a number or text")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Param, E> {
        Ok(Param::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Param, E> {
        Ok(Param::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Param, E> {
        i64::try_from(value).map(Param::Int).map_err(|_| E::custom("number out of range"))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Param, E> {
        if value.is_finite() {
            Ok(Param::Decimal(format!("{value:?}")))
        } else {
            Err(E::custom("a parameter must be finite"))
        }
    }

    fn visit_str<E>(self, value: &str) -> Result<Param, E> {
        Ok(Param::Text(value.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Param {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(ParamVisitor)
    }
}

impl JsonSchema for Param {
    fn schema_name() -> Cow<'static, str> {
        "Param".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["boolean", "number", "string"] })
    }
}

/// A limit in US dollars, written as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CostLimit(pub Usd);

impl Serialize for CostLimit {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.serialize_f64(dollars(self.0)) } else { self.0.serialize(s) }
    }
}

#[expect(
    clippy::as_conversions,
    reason = "below a billion dollars the text reads back to the same millionth"
)]
fn dollars(usd: Usd) -> f64 {
    usd.0 as f64 / 1e6
}

struct CostVisitor;

impl de::Visitor<'_> for CostVisitor {
    type Value = CostLimit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount in US dollars, such as 400 or 2.5")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<CostLimit, E> {
        let value = u64::try_from(value).map_err(|_| E::custom("a cost cannot be negative"))?;
        self.visit_u64(value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<CostLimit, E> {
        match value.checked_mul(1_000_000) {
            Some(micros) if value < 1_000_000_000 => Ok(CostLimit(Usd(micros))),
            _ => Err(E::custom("a cost must lie between 0 and 1 billion dollars")),
        }
    }

    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to lie within 0 and a billion dollars"
    )]
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<CostLimit, E> {
        if (0.0..1e9).contains(&value) {
            Ok(CostLimit(Usd((value * 1e6).round() as u64)))
        } else {
            Err(E::custom("a cost must lie between 0 and 1 billion dollars"))
        }
    }
}

impl<'de> Deserialize<'de> for CostLimit {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            d.deserialize_any(CostVisitor)
        } else {
            Usd::deserialize(d).map(Self)
        }
    }
}

impl JsonSchema for CostLimit {
    fn schema_name() -> Cow<'static, str> {
        "CostLimit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "description": "US dollars" })
    }
}

/// What an hour of something costs or is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsdPerHour(pub Usd);

/// A text names no amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no amount of dollars for an hour: write a number such as 2.5")]
pub struct InvalidUsdPerHour(String);

impl Serialize for UsdPerHour {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        CostLimit(self.0).serialize(s)
    }
}

impl<'de> Deserialize<'de> for UsdPerHour {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        CostLimit::deserialize(d).map(|limit| Self(limit.0))
    }
}

impl FromStr for UsdPerHour {
    type Err = InvalidUsdPerHour;

    fn from_str(text: &str) -> Result<Self, InvalidUsdPerHour> {
        let invalid = || InvalidUsdPerHour(text.chars().take(40).collect());
        let usd: f64 = text.parse().map_err(|_| invalid())?;
        let limit = CostVisitor.visit_f64::<de::value::Error>(usd).map_err(|_| invalid())?;
        Ok(Self(limit.0))
    }
}
