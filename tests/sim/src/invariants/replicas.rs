//! Invariant 8: Replicas agree: about the members at each applied index (about entries and states the
//! reference looks itself), about who leads a term, and none of them breaks while its disk holds.

use std::collections::BTreeMap;

use super::{Invariant, hold};
use crate::{around::Ms, facts::Fact};

#[derive(Default)]
pub struct Replicas {
    leaders: BTreeMap<u64, u64>,
    members: BTreeMap<u64, (Vec<u64>, Vec<u64>)>,
}

impl Invariant for Replicas {
    fn name(&self) -> &'static str {
        "replicas agree"
    }

    fn see(&mut self, _now: Ms, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Elected { member, term } => {
                let first = *self.leaders.entry(term).or_insert(member);
                hold(first == member, || {
                    format!("{first} and {member} were both elected in term {term}")
                })
            }
            Fact::Members { member, applied, voters, learners } => {
                let own = (voters.to_vec(), learners.to_vec());
                let agreed = self.members.entry(applied).or_insert_with(|| own.clone());
                hold(*agreed == own, || {
                    format!("member {member} counts {own:?} as of {applied}, another {agreed:?}")
                })
            }
            Fact::Broken { member, why } => Err(format!("member {member} broke: {why}")),
            _ => Ok(()),
        }
    }
}
