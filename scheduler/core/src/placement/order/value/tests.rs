//! What a policy makes of wide and narrow gangs.

use super::*;

fn srsf(remaining: u64, units: u32) -> u64 {
    value(Policy::Srsf, 0, remaining, units)
}

#[test]
fn service_counts_a_little_less_the_wider_a_gang_is() {
    assert_eq!(srsf(3_600_000, 1), 3_600_000, "one unit's service is what it is");
    for log in 0..31 {
        let (narrow, wide) = (srsf(1_000_000, 1 << log), srsf(1_000_000, 2 << log));
        let ratio = wide * 15_000 / narrow;
        assert!((27_900..=28_000).contains(&ratio), "2^{log}: {ratio} instead of 28,000");
    }
    assert!(srsf(50, 8) > srsf(100, 3), "three fifths of the service are less");
}

#[test]
fn more_units_or_more_time_never_weigh_less() {
    let mut before = 0;
    for units in 0..5000 {
        let now = srsf(1_000_000, units);
        assert!(units < 2 || now > before, "{units} units weigh {now}, one less {before}");
        before = now;
    }
    for units in [1, 3, 8, 1000, u32::MAX] {
        assert!(srsf(1_000_001, units) >= srsf(1_000_000, units), "{units}");
    }
    assert_eq!(srsf(u64::MAX, u32::MAX), u64::MAX, "too much to count");
}
