//! Between when something is expected: an estimate with its two ends.

use serde::Serialize;

use crate::output::human::{largest, span};

/// Two ends of an estimate, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Expected {
    from_unix_ms: u64,
    to_unix_ms: u64,
}

impl Expected {
    /// What the wire says, if anything is expected.
    pub(crate) fn of(from_unix_ms: u64, to_unix_ms: u64) -> Option<Self> {
        (to_unix_ms > 0).then_some(Self { from_unix_ms, to_unix_ms })
    }

    /// Such as `in 5m to 1h20m`.
    pub(crate) fn text(self, now_ms: u64) -> String {
        let (from, to) = self.spans(now_ms);
        match (from / 1000, to / 1000) {
            (0, 0) => "soon".to_owned(),
            (0, _) => format!("within {}", span(to)),
            _ => format!("in {} to {}", span(from), span(to)),
        }
    }

    /// The same by the largest units alone, for columns, the later end rounded up: `in 5m-2h`.
    pub(crate) fn short(self, now_ms: u64) -> String {
        let (from, to) = self.spans(now_ms);
        match (largest(from), largest(up(to))) {
            (_, to) if to == "0s" => "soon".to_owned(),
            (from, to) if from == to => format!("in {to}"),
            (from, to) if from == "0s" => format!("in <{to}"),
            (from, to) => format!("in {from}-{to}"),
        }
    }

    fn spans(self, now_ms: u64) -> (u64, u64) {
        (self.from_unix_ms.saturating_sub(now_ms), self.to_unix_ms.saturating_sub(now_ms))
    }
}

/// A span rounded up to its largest unit.
const fn up(ms: u64) -> u64 {
    let s = ms / 1000;
    let unit = match s {
        0..60 => 1,
        60..3600 => 60,
        3600..172_800 => 3600,
        _ => 86_400,
    };
    s.div_ceil(unit) * unit * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_has_room_for_it() {
        let text = |from, to| Expected { from_unix_ms: from, to_unix_ms: to }.short(1_000_000);
        assert_eq!(text(0, 1_000_500), "soon");
        assert_eq!(text(1_000_000, 1_300_000), "in <5m");
        assert_eq!(text(1_300_000, 5_800_000), "in 5m-2h");
        assert_eq!(text(1_300_000, 1_310_000), "in 5m-6m");
        let widest = text(1_000_000 + 171_000_000, 1_000_000 + 86_400_000 * 12);
        assert_eq!(widest, "in 47h-12d");
    }
}
