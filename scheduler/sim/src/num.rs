//! Whole numbers as floats and back, in one place: a replay's clock and accounts are whole
//! milliseconds, its averages and rates are not.

/// A count as a float. Exact below 2^53: 285,000 years in milliseconds.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "see above")]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}

/// A sum as a float.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "for averages")]
pub(crate) const fn float_sum(sum: u128) -> f64 {
    sum as f64
}

/// The nearest whole number; 0 for what is below it or is no number.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and NaN becomes 0"
)]
pub(crate) const fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// A length as a count.
pub(crate) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
