//! Quantities read as written and print so that they read back.

use proptest::prelude::*;

use super::*;

#[test]
fn sizes_read_in_both_systems() {
    for (text, bytes) in
        [("40GB", 40_000_000_000), ("1.5KiB", 1536), ("0B", 0), ("2 MiB", 2 << 20), ("7B", 7)]
    {
        assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
    }
}

#[test]
fn bandwidths_read_in_bits() {
    for (text, bits) in [("10Gbps", 10_000_000_000), ("2.5 Gbps", 2_500_000_000), ("7bps", 7)] {
        assert_eq!(text.parse(), Ok(BitRate(bits)), "{text}");
    }
    for text in ["10", "10GB", "10 Gb", "-1Gbps", "1e3bps", "99999999999Tbps"] {
        assert!(text.parse::<BitRate>().is_err(), "{text}");
    }
    assert_eq!(BitRate(2_500_000_000).to_string(), "2.5 Gbps");
    assert_eq!(BitRate(400_000_000_000).to_string(), "400.0 Gbps");
}

#[test]
fn spans_read_and_add_up() {
    for (text, ms) in [("10m", 600_000), ("1h30m", 5_400_000), ("250ms", 250), ("0.5s", 500)] {
        assert_eq!(text.parse(), Ok(Millis(ms)), "{text}");
    }
}

#[test]
fn nonsense_is_refused_not_rounded() {
    for text in ["", "10", "m", "1x", "1.2.3s", "-5m", "99999999999999999d", "1."] {
        assert!(text.parse::<Millis>().is_err(), "{text}");
        assert!(text.parse::<Bytes>().is_err(), "{text}");
    }
}

#[test]
fn humans_see_two_parts_at_most() {
    assert_eq!(Millis(187_262_000).to_string(), "2d4h");
    assert_eq!(Millis(3200).to_string(), "3.2s");
    assert_eq!(Millis(60_000).to_string(), "1m");
    assert_eq!(Bytes(1536).to_string(), "1.5 KiB");
    assert_eq!(Usd(2_345_678).to_string(), "2.34");
}

proptest! {
    #[test]
    fn a_span_reads_back(ms in any::<u64>()) {
        let text = serde_json::to_string(&Millis(ms)).unwrap();
        prop_assert_eq!(serde_json::from_str::<Millis>(&text).unwrap(), Millis(ms));
    }

    #[test]
    fn a_bandwidth_reads_back(bits in any::<u64>()) {
        let text = serde_json::to_string(&BitRate(bits)).unwrap();
        prop_assert_eq!(serde_json::from_str::<BitRate>(&text).unwrap(), BitRate(bits));
    }

    #[test]
    fn reading_never_panics(text in ".{0,40}") {
        let _ = text.parse::<Millis>();
        let _ = text.parse::<Bytes>();
        let _ = text.parse::<BitRate>();
    }
}
