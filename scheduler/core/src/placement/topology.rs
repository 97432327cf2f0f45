//! How far apart a gang's ranks are, and what that costs them: an all-reduce is as fast as the
//! slowest link that it crosses.

use std::collections::BTreeMap;

/// How far a gang reaches, the nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Span {
    /// One unit, or several with direct links to each other (`NVLink`).
    Island,
    /// One NUMA node of a machine.
    Numa,
    /// One machine.
    Node,
    /// One rack: a single switch.
    Rack,
    /// One fabric: the switches above the racks.
    Fabric,
    /// One zone.
    Zone,
    /// Anywhere.
    Any,
}

/// The labels that say where a node stands, the narrowest first.
const PLACES: [(&str, Span); 3] =
    [("rack", Span::Rack), ("fabric", Span::Fabric), ("zone", Span::Zone)];

impl Span {
    /// How long a step takes, in thousandths of one within an island. A model, not a measurement:
    /// the share of a data-parallel step that waits for its all-reduce, by the usual bandwidths
    /// of such links (900 GB/s `NVLink`, 64 PCIe, 50 a node's network, halved at each level up), and a
    /// little for each doubling of the nodes that take part.
    #[must_use]
    pub fn slowdown(self, nodes: usize) -> u64 {
        let link = match self {
            Self::Island => 1000,
            Self::Numa => 1010,
            Self::Node => 1020,
            Self::Rack => 1050,
            Self::Fabric => 1100,
            Self::Zone => 1200,
            Self::Any => 1400,
        };
        link + 5 * u64::from(nodes.checked_ilog2().unwrap_or(0))
    }

    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Island => "one NVLink island",
            Self::Numa => "one NUMA node",
            Self::Node => "one node",
            Self::Rack => "one rack",
            Self::Fabric => "one fabric",
            Self::Zone => "one zone",
            Self::Any => "several zones",
        }
    }
}

/// The places that a node belongs to by its labels, each with a name that no other place has: a
/// rack `b4` of one zone is not that of another.
pub(super) fn places(labels: &BTreeMap<String, String>) -> Vec<(Span, String)> {
    let place = |at: usize| {
        let (key, span) = PLACES.get(at)?;
        labels.get(*key)?;
        let path = PLACES.iter().skip(at).rev().filter_map(|(key, _)| labels.get(*key));
        Some((*span, path.map(String::as_str).collect::<Vec<_>>().join("/")))
    };
    (0..PLACES.len()).filter_map(place).collect()
}

/// Which group a unit of this index belongs to by a label such as `0-3;4-7`: the groups of its
/// machine that have direct links (`nvlink`) or share a NUMA node (`numa`). Units that no group
/// names stand alone; without such a label all belong together.
pub(super) fn group(labels: &BTreeMap<String, String>, key: &str, index: u32) -> u32 {
    let Some(text) = labels.get(key) else { return 0 };
    let found = (0..).zip(text.split(';')).find(|(_, group)| names(group, index));
    found.map_or_else(|| u32::MAX.saturating_sub(index), |(group, _)| group)
}

/// Whether a list such as `0-3,6` names the index.
fn names(list: &str, index: u32) -> bool {
    list.split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let bounds = (first.trim().parse::<u32>(), last.trim().parse::<u32>());
        matches!(bounds, (Ok(first), Ok(last)) if (first..=last).contains(&index))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[test]
    fn a_rack_is_known_by_all_that_is_above_it() {
        let node = labels(&[("rack", "b4"), ("zone", "eu-1")]);
        let expected = [(Span::Rack, "eu-1/b4".into()), (Span::Zone, "eu-1".into())];
        assert_eq!(places(&node), expected);
        assert_eq!(places(&labels(&[("arch", "x86")])), []);
    }

    #[test]
    fn units_stand_in_the_groups_that_a_label_names() {
        let node = labels(&[("nvlink", "0-3; 4,6-7")]);
        let groups: Vec<u32> = (0..8).map(|index| group(&node, "nvlink", index)).collect();
        assert_eq!(groups, [0, 0, 0, 0, 1, u32::MAX - 5, 1, 1]);
        assert_eq!(group(&node, "numa", 5), 0, "nothing said: all together");
    }

    #[test]
    fn farther_is_never_faster() {
        let spans =
            [Span::Island, Span::Numa, Span::Node, Span::Rack, Span::Fabric, Span::Zone, Span::Any];
        assert!(spans.is_sorted_by_key(|span| span.slowdown(4)));
        assert!(Span::Rack.slowdown(2) < Span::Rack.slowdown(64));
    }
}
