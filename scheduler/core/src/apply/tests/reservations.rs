//! Reservations in the state: made once, deleted, forgotten when they are over, kept by starts.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{Millis, NodeSelection, Purpose, ReservationSpec, Timestamp};

use crate::{
    Command, Refusal, Reply, codec,
    command::CreateReservation,
    placement::WorkBudget,
    world::{World, ranks},
};

const HOUR: Millis = Millis(3_600_000);

fn names(world: &World) -> Vec<&str> {
    world.state.reservations().keys().map(|name| name.as_str()).collect()
}

#[test]
fn a_reservation_is_made_once_and_deleted_once() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    let (mutation, name) = (world.mutation(), "upgrade".parse().unwrap());
    let spec = ReservationSpec {
        from: Timestamp(world.now),
        until: Timestamp(world.now + HOUR.0),
        nodes: NodeSelection::All,
        purpose: Purpose::Maintenance,
        reason: "new switches".into(),
    };
    let create = CreateReservation { mutation, name, spec };
    let create = Command::CreateReservation(Box::new(create));
    assert_eq!(world.apply(create.clone()), Ok(Reply::Done));
    assert_eq!(world.apply(create), Ok(Reply::Done), "the same key, the same answer");
    let again = world.reserve("upgrade", &[], (HOUR, HOUR), Purpose::Maintenance);
    assert!(matches!(again, Err(Refusal::ReservationTaken(_))), "{again:?}");
    let known = &world.state.reservations()[&"upgrade".parse().unwrap()];
    assert_eq!((known.created_by.as_str(), known.created.0), ("local", world.now));
    world.unreserve("upgrade").unwrap();
    assert!(world.state.reservations().is_empty());
    let gone = world.unreserve("upgrade").unwrap_err().to_string();
    insta::assert_snapshot!(gone, @"there is no reservation upgrade: `yard reservation list` lists them");
}

#[test]
fn what_does_not_exist_is_not_reserved() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    let named = world.reserve("a", &["n1", "n2"], (HOUR, HOUR), Purpose::Maintenance);
    insta::assert_snapshot!(named.unwrap_err(), @"there is no node n2: `yard node list` lists them");
    let (mutation, name) = (world.mutation(), "a".parse().unwrap());
    let nodes = NodeSelection::Labels(BTreeMap::from([("rack".into(), "z".into())]));
    let (from, until) = (Timestamp(world.now), Timestamp(world.now + 1));
    let purpose = Purpose::Maintenance;
    let spec = ReservationSpec { from, until, nodes, purpose, reason: String::new() };
    let create = CreateReservation { mutation, name, spec };
    let labelled = world.apply(Command::CreateReservation(Box::new(create)));
    insta::assert_snapshot!(labelled.unwrap_err(), @"no node carries rack=z: `yard node list -o json` shows labels");
    let nobody = Purpose::For { projects: BTreeSet::new(), users: BTreeSet::new() };
    assert!(world.reserve("a", &[], (HOUR, HOUR), nobody).is_err());
    assert!(world.reserve("a", &[], (HOUR, Millis(0)), Purpose::Maintenance).is_err());
    assert!(names(&world).is_empty());
}

#[test]
fn there_is_a_most_of_them() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    // Put there at once: each command of a test looks at all of them.
    world.reserve("r", &[], (HOUR, HOUR), Purpose::Maintenance).unwrap();
    let one = world.state.reservations.values().next().unwrap().clone();
    for n in 1..1000 {
        world.state.reservations.insert(format!("r{n}").parse().unwrap(), one.clone());
    }
    world.state.rebuild();
    world.planner = crate::Planner::of(&world.state);
    let more = world.reserve("more", &[], (HOUR, HOUR), Purpose::Maintenance).unwrap_err();
    insta::assert_snapshot!(more, @"there are 1000 reservations: delete some first");
}

#[test]
fn what_is_over_goes_with_the_next_command_and_survives_until_then() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    world.reserve("short", &[], (Millis(0), HOUR), Purpose::Maintenance).unwrap();
    world.reserve("long", &[], (Millis(0), Millis(2 * HOUR.0)), Purpose::Maintenance).unwrap();
    world.state = codec::restore(&codec::snapshot(&world.state)).unwrap();
    assert_eq!(names(&world), ["long", "short"]);
    world.now += HOUR.0;
    assert!(world.unreserve("other").is_err());
    assert_eq!(names(&world), ["long", "short"], "a refused command changes nothing");
    let again = world.reserve("short", &[], (HOUR, HOUR), Purpose::Maintenance);
    again.expect("the name of one that is over is free");
    world.submit(ranks(1));
    assert_eq!(names(&world), ["long", "short"]);
    world.now += HOUR.0;
    world.submit(ranks(1));
    assert_eq!(names(&world), ["short"]);
    world.now += HOUR.0;
    world.submit(ranks(1));
    assert!(names(&world).is_empty());
}

#[test]
fn a_start_that_was_planned_before_is_refused() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    world.submit(ranks(1));
    let mut plan = || world.planner.plan(Timestamp(world.now), WorkBudget::UNLIMITED);
    let start = plan().starts.remove(0);
    world.reserve("upgrade", &["n1"], (Millis(0), HOUR), Purpose::Maintenance).unwrap();
    let refused = world.apply(Command::StartAttempt(Box::new(start.clone()))).unwrap_err();
    insta::assert_snapshot!(refused, @"node n1 is reserved for maintenance (upgrade)");
    world.now += HOUR.0;
    world.apply(Command::StartAttempt(Box::new(start))).expect("it is over");
}
