//! Random faults by seed: loss, delay, doubling, partitions, power cuts between and in the middle
//! of writes.

use super::sim::Sim;

/// Faults for a while, then peace; the simulation checks agreement, durability and reads.
fn chaos(seed: u64) -> Sim {
    let mut sim = Sim::new(seed, 3);
    sim.network.faults.loss = sim.rng.below(20);
    sim.network.faults.doubled = sim.rng.below(20);
    sim.network.faults.delay = 1 + sim.rng.below(6);
    for _ in 0..400 {
        let id = 1 + sim.rng.below(3);
        match sim.rng.below(100) {
            0 => sim.crash(id),
            1 if sim.nodes[&id].driver.is_some() => {
                let operations = sim.rng.below(12);
                sim.nodes[&id].disk.burn(operations);
            }
            2 => sim.partition(&[id]),
            3 | 4 => sim.heal(),
            5..=7 => sim.restart(id),
            8 => sim.input(id, crate::Input::Transfer(None)),
            9..=20 => sim.read(id),
            21..=60 => {
                for _ in 0..=sim.rng.below(4) {
                    sim.propose(id);
                }
            }
            _ => {}
        }
        sim.step();
    }
    sim.settle();
    sim
}

#[test]
fn members_agree_and_lose_nothing_acknowledged() {
    let (mut acked, mut unknown, mut reads) = (0, 0, 0);
    for seed in 0..40 {
        println!("seed {seed}");
        let sim = chaos(seed);
        let outcomes = sim.outcomes.lock().unwrap();
        acked += outcomes.acked.len();
        unknown += outcomes.unknown.len();
        reads += outcomes.reads;
    }
    // The faults must not be so harsh that nothing is tested.
    assert!(
        acked > 2_000 && unknown > 20 && reads > 200,
        "{acked} acknowledged, {unknown} unknown, {reads} reads"
    );
}

#[test]
fn a_seed_replays_exactly() {
    let (one, two) = (chaos(7), chaos(7));
    assert_eq!(*one.truth.lock().unwrap(), *two.truth.lock().unwrap());
    assert_eq!(one.outcomes.lock().unwrap().acked, two.outcomes.lock().unwrap().acked);
}

#[test]
fn acknowledged_commands_survive_the_loss_of_any_minority() {
    for seed in 0..6 {
        let mut sim = Sim::new(seed, 3);
        let leader = sim.elect();
        let commands: Vec<u64> = (0..10).map(|_| sim.propose(leader)).collect();
        let all =
            |sim: &Sim| commands.iter().all(|c| sim.outcomes.lock().unwrap().acked.contains_key(c));
        sim.run_until(200, "ten commits", all);
        // The leader knows most: without it the others must still have all that it acknowledged.
        sim.crash(leader);
        sim.run_until(500, "a new leader", |sim| sim.leader().is_some_and(|id| id != leader));
        let next = sim.leader().unwrap();
        let held: Vec<u64> = sim.nodes[&next].history.lock().unwrap().values().copied().collect();
        assert_eq!(held, commands);
        sim.settle();
    }
}

#[test]
fn all_members_cut_at_once_come_back_with_everything() {
    let mut sim = Sim::new(3, 3);
    let leader = sim.elect();
    for _ in 0..60 {
        sim.propose(leader);
        sim.step();
    }
    sim.run_until(200, "sixty commits", |sim| sim.outcomes.lock().unwrap().acked.len() == 60);
    for id in sim.ids() {
        sim.crash(id);
    }
    sim.settle();
    assert_eq!(sim.nodes[&1].history.lock().unwrap().len(), 60);
}
