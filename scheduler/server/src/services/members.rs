//! The members as one scheduler sees them: the state's record, raft's configuration, and what
//! each said when it was asked last.

use std::collections::BTreeSet;

use trainyard_proto::v1;

use crate::{probes, replica::Replica};

/// Who there is.
pub(super) fn answer(replica: &Replica) -> v1::MembersAnswer {
    v1::MembersAnswer {
        cluster: replica.config.cluster.to_string(),
        leader: replica.status().borrow().leader.unwrap_or(0),
        members: list(replica),
    }
}

/// Every member that the state or raft knows.
pub(super) fn list(replica: &Replica) -> Vec<v1::Member> {
    let status = replica.status().borrow().clone();
    let (recorded, own) = (replica.look(|state| state.members().clone()), replica.config.id);
    let addresses = replica.peers();
    let ids: BTreeSet<u64> =
        addresses.keys().chain(&status.voters).chain(&status.learners).copied().collect();
    let own_facts = probes::answer(replica);
    let member = |id: u64| {
        let record = recorded.get(&id);
        let (voter, learner) = (status.voters.contains(&id), status.learners.contains(&id));
        let state = match record {
            Some(record) if record.leaving => "leaving",
            _ if voter => "voter",
            _ if learner => "learner",
            _ => "joining",
        };
        let mut member = v1::Member {
            id,
            address: replica.address(id).unwrap_or_default(),
            learner,
            matched: status.peers.get(&id).map_or(0, |peer| peer.matched),
            state: state.to_owned(),
            replaces: record.and_then(|record| record.replaces).unwrap_or(0),
            ..v1::Member::default()
        };
        if id == own {
            member.matched = status.last_index;
            member.version.clone_from(&own_facts.version);
            member.feature_level = own_facts.feature_level;
            member.clock_offset_ms = Some(0);
            (member.disk_free, member.disk_total) = (own_facts.disk_free, own_facts.disk_total);
        } else if let Some(facts) = replica.probes.of(id) {
            member.version = facts.version;
            member.feature_level = u32::from(facts.level);
            member.clock_offset_ms = facts.clock_offset_ms;
            (member.disk_free, member.disk_total) = facts.disk;
        }
        member
    };
    ids.into_iter().map(member).collect()
}
