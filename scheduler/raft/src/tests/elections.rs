//! Who leads next, and how soon.

use super::sim::Sim;

/// Ticks from a leader's death to the next leader, if all members lose patience in the same tick.
fn ticks_without_a_leader(seed: u64, members: u64) -> u32 {
    let mut sim = Sim::new(seed, members);
    sim.timeout = Some(10);
    for id in sim.ids() {
        sim.crash(id);
        sim.restart(id);
    }
    let leader = sim.elect();
    sim.propose(leader);
    sim.settle();
    let leader = sim.elect();
    // A message takes less than a tick, as between real members.
    sim.network.faults.delay = 1;
    sim.crash(leader);
    for ticks in 0..200 {
        sim.step();
        let others = sim.ids().into_iter().filter(|id| *id != leader);
        if others.into_iter().any(|id| sim.status(id).leader_ready) {
            return ticks;
        }
    }
    panic!("nobody leads")
}

#[test]
fn a_split_vote_costs_less_than_another_election_timeout() {
    for members in [3, 5] {
        let ticks: Vec<u32> = (0..40).map(|seed| ticks_without_a_leader(seed, members)).collect();
        // The timeout, a third of it and a tick for each voter, and the ways of the messages.
        let most = ticks.iter().max().unwrap();
        assert!(*most <= 32, "of {members} members: {ticks:?}");
    }
}
