//! Reading quantities as people write them, without floating point.

/// A text is not a quantity of the kind that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuantity {
    /// Not a size.
    #[error("`{0}` is not a size: write a number and a unit, such as `40GB` or `512MiB`")]
    Bytes(String),
    /// Not a bandwidth.
    #[error("`{0}` is not a bandwidth: write a number and a unit, such as `10Gbps` or `800Mbps`")]
    BitRate(String),
    /// Not a span of time.
    #[error("`{0}` is not a span of time: write `90s`, `10m`, `1h30m` or `2d`")]
    Millis(String),
}

const BYTE_UNITS: [(&str, u64); 10] = [
    ("B", 1),
    ("kB", 1000),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

const RATE_UNITS: [(&str, u64); 5] = [
    ("bps", 1),
    ("kbps", 1000),
    ("Mbps", 1_000_000),
    ("Gbps", 1_000_000_000),
    ("Tbps", 1_000_000_000_000),
];

const TIME_UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

pub(super) fn bytes(text: &str) -> Result<u64, InvalidQuantity> {
    amount(text, &BYTE_UNITS).ok_or_else(|| InvalidQuantity::Bytes(shortened(text)))
}

pub(super) fn bit_rate(text: &str) -> Result<u64, InvalidQuantity> {
    amount(text, &RATE_UNITS).ok_or_else(|| InvalidQuantity::BitRate(shortened(text)))
}

/// A number and one unit.
fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, rest) = split_number(text.trim())?;
    scale(number, factor(units, rest.trim())?)
}

pub(super) fn millis(text: &str) -> Result<u64, InvalidQuantity> {
    let read = || {
        let mut rest = text.trim();
        let mut total = 0u64;
        while !rest.is_empty() {
            let (number, tail) = split_number(rest)?;
            let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at_checked(end)?;
            total = total.checked_add(scale(number, factor(&TIME_UNITS, unit)?)?)?;
            rest = tail;
        }
        (!text.trim().is_empty()).then_some(total)
    };
    read().ok_or_else(|| InvalidQuantity::Millis(shortened(text)))
}

fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
}

fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at_checked(end).filter(|(number, _)| !number.is_empty())
}

/// `number` (digits, at most one point) times `factor`, rounded down.
fn scale(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 = whole.parse().ok()?;
    let digits = u32::try_from(fraction.len()).ok().filter(|n| (1..=9).contains(n))?;
    let parts = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor);
    let parts = u64::try_from(parts / u128::from(10u64.pow(digits))).ok()?;
    whole.checked_mul(factor)?.checked_add(parts)
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}
