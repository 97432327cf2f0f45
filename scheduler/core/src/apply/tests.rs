//! The lifecycle told as short stories, and a property over random histories.

#![allow(clippy::as_conversions, clippy::cast_possible_truncation, reason = "small test numbers")]

mod histories;
mod reservations;
mod tokens;

use trainyard_jobs::{EndReason, JobId, JobPhase, RankExit};

use crate::{
    Command, Refusal, Reply, codec,
    command::Submit,
    state::PlacementState,
    world::{World, node_id, ranks, session, spec},
};

fn with_model(gpus: u32) -> trainyard_jobs::JobSpec {
    spec(&format!("[resources]\ngpus = {gpus}\ndevice = \"cpu\"\n[register]\nmodel = \"m\"\n"))
}

#[test]
fn a_job_runs_to_a_registered_model() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    world.register(2, 1, 1, &[]);
    let job = world.submit(with_model(2));
    let attempt = world.plan().remove(0);
    world.started(&attempt);
    world.checkpoint(&attempt, 10).unwrap();
    world.exit_all(&attempt, 0);
    assert_eq!(world.phase(&job), JobPhase::Finishing);
    let complete = Command::Complete { job: job.clone(), attempt: attempt.attempt };
    world.apply(complete.clone()).unwrap();
    assert_eq!(world.phase(&job), JobPhase::Succeeded);
    assert!(world.apply(complete).is_err(), "completed once");
    let version = &world.state.models()[&"m".parse().unwrap()][&1];
    assert_eq!(version.lineage.job, job);
    assert_eq!(version.lineage.nodes, ["n1", "n2"]);
    assert!(version.lineage.last_checkpoint.is_some());
}

#[test]
fn one_key_makes_one_job() {
    let mut world = World::new();
    let mutation = world.mutation();
    let submit = |mutation, n| {
        let job = trainyard_jobs::JobId::from_random(n);
        Command::Submit(Box::new(Submit {
            mutation,
            job,
            spec: ranks(1),
            bundle: None,
            commit: None,
        }))
    };
    let first = world.apply(submit(mutation.clone(), 1)).unwrap();
    let Reply::Submitted { job, existed: false } = first else { panic!("{first:?}") };
    let again = world.apply(submit(mutation.clone(), 2)).unwrap();
    assert_eq!(again, Reply::Submitted { job, existed: true });
    let mut other = mutation.clone();
    other.request = trainyard_jobs::Digest::of(b"another request");
    assert_eq!(world.apply(submit(other, 3)), Err(Refusal::KeyConflict));
    // Also after a snapshot.
    world.state = codec::restore(&codec::snapshot(&world.state)).unwrap();
    assert!(matches!(
        world.apply(submit(mutation.clone(), 4)),
        Ok(Reply::Submitted { existed: true, .. })
    ));
    world.now += 25 * 3_600_000;
    world.submit(ranks(1));
    assert_eq!(world.apply(submit(mutation, 5)), Err(Refusal::KeyExpired), "refused, not run");
}

#[test]
fn a_lost_node_sends_its_job_to_another_from_the_newest_checkpoint() {
    let mut world = World::new();
    for n in 1..=3 {
        world.register(n, 1, 1, &[]);
    }
    let job = world.submit(ranks(2));
    let first = world.plan().remove(0);
    world.started(&first);
    world.checkpoint(&first, 10).unwrap();
    world.checkpoint(&first, 20).unwrap();
    // Rank 0 fails for want of rank 1, whose machine is gone.
    world.exit(&first, &node_id(1), 1).unwrap();
    assert_eq!(world.phase(&job), JobPhase::Stopping, "not elsewhere before node 2 is settled");
    assert!(world.plan().is_empty());
    world.lose(2).unwrap();
    assert_eq!(world.phase(&job), JobPhase::Queued);
    let restarts = world.state.job(&job).unwrap().restarts;
    assert_eq!(restarts, 0, "a lost node is not the job's own failure");
    let second = world.plan().remove(0);
    assert_eq!(world.nodes_of(&second), [node_id(1), node_id(3)]);
    let record = world.state.job(&job).unwrap();
    let resumed = record.checkpoint(record.current().unwrap().resume.unwrap()).unwrap();
    assert_eq!(resumed.step, 20);
    // Fencing: whatever the old attempt still says is refused.
    assert!(matches!(world.checkpoint(&first, 30), Err(Refusal::Superseded(_))));
    world.exit_all(&second, 0);
    assert_eq!(world.phase(&job), JobPhase::Succeeded);
    assert!(!world.state.node(&node_id(2)).unwrap().owners.is_empty(), "held until it is back");
    world.register(2, 2, 1, &[]);
    assert!(world.state.node(&node_id(2)).unwrap().owners.is_empty());
}

#[test]
fn a_node_that_was_away_keeps_what_it_runs() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    let job = world.submit(ranks(1));
    let attempt = world.plan().remove(0);
    world.started(&attempt);
    world.register(1, 2, 1, &[&attempt]);
    assert_eq!(world.phase(&job), JobPhase::Running);
    // Another life of the agent cannot be declared lost in the name of the first.
    let stale = Command::MarkLost { node: node_id(1), session: session(1) };
    assert!(matches!(world.apply(stale), Err(Refusal::Stale(_))));
    // It comes back without the ranks: they vanished, and the job starts again.
    world.register(1, 3, 1, &[]);
    assert_eq!(world.phase(&job), JobPhase::Queued);
    let record = &world.state.job(&job).unwrap().attempts[0].placements[0];
    assert_eq!(record.state, PlacementState::Exited);
    assert_eq!(record.exits[&0], RankExit::Vanished);
}

#[test]
fn a_job_that_keeps_failing_ends_after_its_restarts() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    let job = world.submit(spec("[resources]\ndevice = \"cpu\"\n[limits]\nmax_restarts = 2\n"));
    for _ in 0..3 {
        let attempt = world.plan().remove(0);
        world.exit_all(&attempt, 3);
        world.now += 3_600_000;
    }
    let record = world.state.job(&job).unwrap();
    assert_eq!(record.phase, JobPhase::Failed);
    let exit = RankExit::Code { code: 3 };
    assert_eq!(record.end, Some(EndReason::RankFailed { rank: 0, exit }));
}

#[test]
fn ranks_that_vanish_again_and_again_do_not_spin() {
    let mut world = World::new();
    let job = world.submit(ranks(1));
    for life in 1..=3 {
        world.register(1, life, 1, &[]);
        let attempt = world.plan().remove(0);
        world.started(&attempt);
        world.register(1, life + 10, 1, &[]);
        let record = world.state.job(&job).unwrap();
        let wait = record.not_before.since(trainyard_jobs::Timestamp(world.now));
        let expected = [0, 0, 1000, 2000][life as usize];
        assert_eq!((record.restarts, wait.0), (0, expected), "not counted, but slowed down");
        world.now += 3_600_000;
    }
}

#[test]
fn a_cancelled_job_ends_when_its_ranks_are_gone() {
    let mut world = World::new();
    world.register(1, 1, 2, &[]);
    let job = world.submit(ranks(2));
    let attempt = world.plan().remove(0);
    world.started(&attempt);
    world.cancel(&job);
    assert_eq!(world.phase(&job), JobPhase::Stopping);
    assert_eq!(world.state.node(&node_id(1)).unwrap().owners.len(), 2, "still held");
    world.exit_all(&attempt, 143);
    assert_eq!(world.phase(&job), JobPhase::Cancelled);
    assert!(world.state.node(&node_id(1)).unwrap().owners.is_empty());
}

#[test]
fn a_worker_that_returns_before_its_ranks_were_started_still_has_to_start_them() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    let job = world.submit(ranks(1));
    let attempt = world.plan().remove(0);
    world.register(1, 2, 1, &[]);
    let placement = &world.job(&job).attempts[0].placements[0];
    assert_eq!(placement.state, PlacementState::Assigned);
    let owners = &world.state.node(&node_id(1)).unwrap().owners;
    assert!(owners.values().eq([&attempt]), "its units are kept for them");
}

#[test]
fn a_greeting_ends_only_what_the_worker_was_asked_about() {
    let mut world = World::new();
    world.register(1, 1, 2, &[]);
    let (kept, ended) = (world.submit(ranks(1)), world.submit(ranks(1)));
    let attempts = world.plan();
    let of = |job: &JobId| attempts.iter().find(|a| a.job == *job).unwrap().clone();
    for attempt in &attempts {
        world.started(attempt);
    }
    let greets = |running: &[&JobId], gone: &[&JobId]| Command::RegisterNode {
        node: node_id(1),
        session: session(1),
        inventory: crate::world::inventory("n1", 2),
        running: running.iter().map(|job| of(job)).collect(),
        gone: Some(gone.iter().map(|job| of(job)).collect()),
    };
    // Sent before any of them was started there.
    world.apply(greets(&[], &[])).unwrap();
    assert_eq!((world.phase(&kept), world.phase(&ended)), (JobPhase::Running, JobPhase::Running));
    world.apply(greets(&[&kept], &[&ended, &kept])).unwrap();
    assert_eq!((world.phase(&kept), world.phase(&ended)), (JobPhase::Running, JobPhase::Queued));
    assert_eq!(world.state.node(&node_id(1)).unwrap().owners.len(), 1);
}

#[test]
fn a_name_belongs_to_one_node() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    let twin = Command::RegisterNode {
        node: node_id(9),
        session: session(1),
        inventory: crate::world::inventory("n1", 1),
        running: Default::default(),
        gone: None,
    };
    assert!(matches!(world.apply(twin.clone()), Err(Refusal::NameTaken { .. })));
    world.lose(1).unwrap();
    world.apply(twin).unwrap();
    assert!(world.state.node(&node_id(1)).is_none(), "the lost one gives its name up");
}

#[test]
fn the_newest_checkpoint_is_the_last_committed_and_stays() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    let job = world.submit(ranks(1));
    let attempt = world.plan().remove(0);
    world.checkpoint(&attempt, 50).unwrap();
    world.checkpoint(&attempt, 40).unwrap();
    let record = world.state.job(&job).unwrap();
    let newest = record.newest_checkpoint().unwrap().clone();
    assert_eq!(newest.step, 40, "newest by log index, not by step");
    let oldest = record.checkpoints[0].id;
    let retire = |checkpoint| Command::RetireCheckpoint { job: job.clone(), checkpoint };
    assert!(matches!(world.apply(retire(newest.id)), Err(Refusal::Pinned(_))));
    world.apply(retire(oldest)).unwrap();
    world.apply(Command::ForgetCheckpoint { job: job.clone(), checkpoint: oldest }).unwrap();
    assert_eq!(world.state.job(&job).unwrap().checkpoints.len(), 1);
}

#[test]
fn a_command_of_a_higher_level_is_not_skipped() {
    let envelope = crate::Envelope {
        level: crate::command::FEATURE_LEVEL + 1,
        time: trainyard_jobs::Timestamp(0),
        command: Command::MarkLost { node: node_id(1), session: session(1) },
    };
    let error = codec::decode_envelope(&codec::encode(&envelope)).unwrap_err();
    assert!(error.to_string().contains("run a newer yard"), "{error}");
    let mut newer = codec::snapshot(&World::new().state);
    newer[3] = 9;
    assert!(matches!(codec::restore(&newer), Err(codec::CodecError::NewerSnapshot { found: 9 })));
}

#[test]
fn an_archived_job_takes_its_key_along() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    let job = world.submit(ranks(1));
    let attempt = world.plan().remove(0);
    world.apply(Command::Archive { jobs: vec![job.clone()] }).unwrap();
    assert!(world.state.job(&job).is_some(), "a job that runs stays");
    world.exit_all(&attempt, 0);
    let archive = Command::Archive { jobs: vec![job.clone(), job.clone()] };
    assert_eq!(world.apply(archive), Ok(Reply::Archived { jobs: 1 }));
    assert!(world.state.job(&job).is_none());
    assert_eq!((world.state.archive().count, world.state.keys.len()), (1, 0));
    let names = world.records.all[0].names();
    let mutation = |key| crate::command::Mutation {
        key,
        request: trainyard_jobs::Digest::of(b"request"),
        principal: "local".into(),
    };
    let again = |mutation, id| {
        let (spec, bundle, commit) = (ranks(1), None, None);
        Command::Submit(Box::new(Submit { mutation, job: id, spec, bundle, commit }))
    };
    let key = names.key.unwrap();
    let other = trainyard_jobs::JobId::from_random(77);
    let reply = world.apply(again(mutation(key), other.clone())).unwrap();
    assert_eq!(reply, Reply::Submitted { job: job.clone(), existed: true });
    let conflict = crate::command::Mutation {
        request: trainyard_jobs::Digest::of(b"another request"),
        ..mutation(key)
    };
    assert_eq!(world.apply(again(conflict, other)), Err(Refusal::KeyConflict));
    let fresh = world.mutation();
    let taken = world.apply(again(fresh, job));
    assert!(matches!(taken, Err(Refusal::IdTaken(_))), "ids are never reused: {taken:?}");
    world.now += 25 * 3_600_000;
    world.submit(ranks(1));
    let late = again(mutation(key), trainyard_jobs::JobId::from_random(78));
    assert_eq!(world.apply(late), Err(Refusal::KeyExpired));
}

#[test]
fn a_job_whose_units_or_checkpoints_are_not_settled_is_not_archived() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    let job = world.submit(ranks(1));
    let attempt = world.plan().remove(0);
    for step in 1..=4 {
        world.checkpoint(&attempt, step).unwrap();
    }
    world.cancel(&job);
    world.lose(1).unwrap();
    assert_eq!(world.phase(&job), JobPhase::Cancelled);
    let archive = Command::Archive { jobs: vec![job.clone()] };
    assert_eq!(world.apply(archive.clone()), Ok(Reply::Archived { jobs: 0 }), "units are held");
    world.register(1, 2, 1, &[]);
    assert_eq!(world.apply(archive.clone()), Ok(Reply::Archived { jobs: 0 }), "one too many");
    let old: Vec<_> = world.state.jobs_with_surplus().flat_map(|j| j.surplus()).cloned().collect();
    let [checkpoint] = old.iter().map(|c| c.id).collect::<Vec<_>>()[..] else { panic!("{old:?}") };
    world.apply(Command::RetireCheckpoint { job: job.clone(), checkpoint }).unwrap();
    assert_eq!(world.apply(archive.clone()), Ok(Reply::Archived { jobs: 0 }), "being deleted");
    world.apply(Command::ForgetCheckpoint { job, checkpoint }).unwrap();
    assert_eq!(world.apply(archive), Ok(Reply::Archived { jobs: 1 }));
}

#[test]
fn a_key_given_by_name_is_not_forgotten_for_its_age_after_a_restart_either() {
    let mut world = World::new();
    let mut mutation = world.mutation();
    mutation.key = trainyard_jobs::IdempotencyKey(uuid::Uuid::from_u128(42));
    let submit = |mutation, n| {
        let job = trainyard_jobs::JobId::from_random(n);
        let (spec, bundle, commit) = (ranks(1), None, None);
        Command::Submit(Box::new(Submit { mutation, job, spec, bundle, commit }))
    };
    world.apply(submit(mutation.clone(), 1_000)).unwrap();
    world.state = codec::restore(&codec::snapshot(&world.state)).unwrap();
    world.now += 25 * 3_600_000;
    world.submit(ranks(1));
    let again = world.apply(submit(mutation, 1_001));
    assert!(matches!(again, Ok(Reply::Submitted { existed: true, .. })), "{again:?}");
}

#[test]
fn the_hash_by_parts_notices_every_change() {
    let mut world = World::new();
    let mut seen = std::collections::BTreeSet::from([codec::state_hash(&world.state)]);
    let mut is_new = |world: &World| {
        let hash = codec::state_hash(&world.state);
        assert_eq!(codec::state_hash(&world.state.frozen()), hash);
        assert!(seen.insert(hash), "the hash has not changed");
    };
    world.register(1, 1, 1, &[]);
    is_new(&world);
    let job = world.submit(ranks(1));
    is_new(&world);
    let attempt = world.plan().remove(0);
    is_new(&world);
    let frozen = world.state.frozen();
    let before = codec::state_hash(&frozen);
    world.started(&attempt);
    is_new(&world);
    assert_eq!(codec::state_hash(&frozen), before, "a copy stays as it was");
    world.exit_all(&attempt, 0);
    is_new(&world);
    world.apply(Command::Archive { jobs: vec![job] }).unwrap();
    is_new(&world);
}
