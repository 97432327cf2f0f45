//! The index against a plain list of entries.

use proptest::prelude::*;
use raft::eraftpb::Entry;

use super::{LogIndex, Place};

#[derive(Debug, Clone)]
enum Step {
    Push { term: u64, bytes: u64 },
    Truncate(u64),
    Compact(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u64..5, 1u64..50).prop_map(|(term, bytes)| Step::Push { term, bytes }),
        1 => (1u64..20).prop_map(Step::Truncate),
        1 => (1u64..20).prop_map(Step::Compact),
    ];
    prop::collection::vec(step, 0..60)
}

/// Index, term and bytes of each entry.
type Model = Vec<(u64, u64, u64)>;

fn check(index: &LogIndex, boundary: (u64, u64), model: &Model) {
    assert_eq!(index.boundary(), boundary);
    assert_eq!(index.last() - boundary.0, model.len() as u64);
    assert_eq!(index.bytes(), model.iter().map(|(_, _, bytes)| bytes).sum::<u64>());
    assert_eq!(index.term(boundary.0), Some(boundary.1));
    assert_eq!(index.term(index.last() + 1), None);
    for (at, term, bytes) in model {
        assert_eq!(index.term(*at), Some(*term));
        assert_eq!(index.end_within(*at, index.last() + 1, *bytes), at + 1);
        if let Some(entries) = index.cached(*at, index.last() + 1) {
            let cached: Vec<_> = entries.iter().map(|e| (e.index, e.term)).collect();
            let rest = model.iter().filter(|(i, _, _)| i >= at);
            assert_eq!(cached, rest.map(|(i, t, _)| (*i, *t)).collect::<Vec<_>>());
        }
    }
    if let Some((at, _, _)) = model.last() {
        assert!(index.end_within(*at, index.last() + 1, 0) == at + 1, "never an empty answer");
    }
}

proptest! {
    #[test]
    fn it_agrees_with_a_plain_list(steps in steps()) {
        let mut boundary = (3, 1);
        let mut index = LogIndex::new(boundary, 100);
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Push { term, bytes } => {
                    let at = index.last() + 1;
                    let place = Place { at: at * 100, bytes };
                    index.push(Entry { index: at, term, ..Entry::default() }, place);
                    assert_eq!(index.place(at), Some(place));
                    model.push((at, term, bytes));
                }
                Step::Truncate(from) if from > boundary.0 => {
                    index.truncate(from);
                    model.retain(|(at, _, _)| *at < from);
                }
                Step::Compact(to) if to > boundary.0 && to <= index.last() => {
                    index.compact(to);
                    boundary = (to, model.iter().find(|(at, _, _)| *at == to).unwrap().1);
                    model.retain(|(at, _, _)| *at > to);
                }
                Step::Truncate(_) | Step::Compact(_) => {}
            }
            check(&index, boundary, &model);
        }
    }
}
