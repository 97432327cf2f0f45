//! Quantities with their units: bytes, bandwidth, milliseconds, instants, money. Integers only, because
//! replicas must agree to the last bit.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

mod parse;

pub use parse::InvalidQuantity;

/// A size in bytes. Reads `40GB` (powers of 1000) and `40GiB` (powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

/// A bandwidth in bits a second. Reads `10Gbps` (powers of 1000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BitRate(pub u64);

/// A span of time in milliseconds. Reads `90s`, `10m`, `1h30m`, `2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl From<Millis> for Duration {
    fn from(span: Millis) -> Self {
        Self::from_millis(span.0)
    }
}

/// An instant by the leader's clock: milliseconds since the Unix epoch.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time from `earlier` to `self`, nothing if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

/// Money in millionths of a US dollar. Reads `400`, `2.5`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Usd(pub u64);

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 1_000_000, self.0 % 1_000_000 / 10_000)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] =
            [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match UNITS.into_iter().find(|(_, size)| self.0 >= *size) {
            None => f.pad(&format!("{} B", self.0)),
            Some((unit, size)) => {
                f.pad(&format!("{}.{} {unit}", self.0 / size, self.0 % size * 10 / size))
            }
        }
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] = [
            ("Tbps", 1_000_000_000_000),
            ("Gbps", 1_000_000_000),
            ("Mbps", 1_000_000),
            ("kbps", 1000),
        ];
        match UNITS.into_iter().find(|(_, size)| self.0 >= *size) {
            None => f.pad(&format!("{} bps", self.0)),
            Some((unit, size)) => {
                f.pad(&format!("{}.{} {unit}", self.0 / size, self.0 % size * 10 / size))
            }
        }
    }
}

impl fmt::Display for Millis {
    /// The two largest parts, as in `2d4h`, `10m`, `3.2s`, `250ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0;
        if ms < 1000 {
            return f.pad(&format!("{ms}ms"));
        }
        if ms < 10_000 && !ms.is_multiple_of(1000) {
            return f.pad(&format!("{}.{}s", ms / 1000, ms % 1000 / 100));
        }
        let s = ms / 1000;
        let parts = [(s / 86_400, "d"), (s / 3600 % 24, "h"), (s / 60 % 60, "m"), (s % 60, "s")];
        let first = parts.iter().position(|(n, _)| *n > 0).unwrap_or(3);
        let text: String = parts
            .iter()
            .skip(first)
            .take(2)
            .filter(|(n, _)| *n > 0)
            .map(|(n, unit)| format!("{n}{unit}"))
            .collect();
        f.pad(&text)
    }
}

/// Reads text as a quantity, and says what was expected when it is no text at all.
struct TextVisitor<T> {
    what: &'static str,
    read: fn(&str) -> Result<T, InvalidQuantity>,
}

impl<T> serde::de::Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).map_err(E::custom)
    }
}

macro_rules! text_quantity {
    ($name:ident, $read:path, $pattern:literal, $what:literal) => {
        impl FromStr for $name {
            type Err = InvalidQuantity;

            fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
                $read(text).map(Self)
            }
        }

        /// Human-readable formats carry text (`10m`), the replicated log carries the number.
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() {
                    s.serialize_str(&self.exact())
                } else {
                    s.serialize_u64(self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if d.is_human_readable() {
                    d.deserialize_str(TextVisitor { what: $what, read: str::parse::<Self> })
                } else {
                    u64::deserialize(d).map(Self)
                }
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "pattern": $pattern,
                    "description": $what,
                })
            }
        }
    };
}

text_quantity!(
    Bytes,
    parse::bytes,
    "^[0-9]+(\\.[0-9]+)? *(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)$",
    "a size such as 40GB"
);
text_quantity!(
    BitRate,
    parse::bit_rate,
    "^[0-9]+(\\.[0-9]+)? *(bps|kbps|Mbps|Gbps|Tbps)$",
    "a bandwidth such as 10Gbps"
);
text_quantity!(
    Millis,
    parse::millis,
    "^([0-9]+(\\.[0-9]+)?(ms|s|m|h|d|w))+$",
    "a span of time such as 10m"
);

impl Bytes {
    fn exact(self) -> String {
        format!("{}B", self.0)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl BitRate {
    fn exact(self) -> String {
        format!("{}bps", self.0)
    }

    /// Whether it is none.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl Millis {
    /// Text that reads back to exactly the same span.
    fn exact(self) -> String {
        const UNITS: [(&str, u64); 4] =
            [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
        let unit = UNITS.into_iter().find(|(_, ms)| self.0 >= *ms && self.0.is_multiple_of(*ms));
        unit.map_or_else(|| format!("{}ms", self.0), |(u, ms)| format!("{}{u}", self.0 / ms))
    }
}

#[cfg(test)]
mod tests;
