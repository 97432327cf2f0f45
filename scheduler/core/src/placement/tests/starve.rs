//! Nobody starves: beside a stream of small jobs without end, which keeps four fifths of the units
//! busy, a gang that finds too few of them idle at any moment has its turn within the wait that is
//! too long by the rules of `pass/overdue.rs`, under every policy.

use proptest::prelude::*;
use trainyard_jobs::{JobId, JobPhase, Millis, Policy};

use super::{
    super::PATIENCE,
    bounded::{MINUTE, Replay},
};
use crate::world::{World, spec};

const SLOTS: u32 = 4;

/// How long each of the small ones runs, and how long after one the next comes: a load of 0.8.
const SMALL: u64 = 10 * MINUTE;
const GAP: u64 = SMALL * 10 / (4 * 8);

#[derive(Debug, Clone)]
struct Stream {
    policy: Policy,
    patience: u64,
    /// Ranks of the gang, and how long it runs.
    ranks: u32,
    lasts: u64,
    /// Each gap is so many thousandths of [`GAP`], one after the other, and so again.
    gaps: Vec<u64>,
}

impl Stream {
    /// The wait after which a job of so many ranks goes before all others. Nobody has more than
    /// one unit for having waited too long, for an eighth of four is less than that: a gang waits
    /// once for each of its ranks.
    fn bound(&self, ranks: u32, lasts: u64) -> u64 {
        (10 * lasts).max(self.patience) * u64::from(ranks)
    }
}

/// Waits of the jobs of a stream until each of their attempts, in milliseconds, and whether the
/// gang has ended.
struct Seen {
    gang: Vec<u64>,
    small: Vec<u64>,
    ended: bool,
}

fn submit(replay: &mut Replay, ranks: u32, lasts: u64) -> JobId {
    let minutes = lasts / MINUTE;
    let text = format!(
        "[resources]\ngpus = {ranks}\ndevice = \"cpu\"\n[schedule]\nest_duration = \"{minutes}m\"\n"
    );
    let job = replay.world.submit(spec(&text));
    replay.left.insert(job.clone(), lasts);
    replay.total.insert(job.clone(), lasts);
    job
}

/// The stream goes on for so long.
fn flow(stream: &Stream, lasts: u64) -> Seen {
    let mut world = World::new();
    world.checks = false;
    world.queue("root", |queue| {
        queue.policy = Some(stream.policy);
        queue.notice = Some(Millis(0));
        queue.patience = Some(Millis(stream.patience));
    });
    world.register(1, 1, SLOTS, &[]);
    let began = world.now;
    let mut replay = Replay::new(world, false);
    let (mut arrives, mut gaps) = (began, stream.gaps.iter().cycle());
    let mut gang = None;
    while replay.world.now < began + lasts {
        while arrives <= replay.world.now {
            submit(&mut replay, 1, SMALL);
            // Never first: somebody runs when it comes.
            if gang.is_none() {
                replay.settle();
                gang = Some(submit(&mut replay, stream.ranks, stream.lasts));
            }
            arrives += GAP * gaps.next().expect("in a circle") / 1000;
        }
        replay.settle();
        // By the minute as well: what time alone changes is seen then.
        let soon = replay.world.now + MINUTE;
        replay.advance(arrives.min(soon));
    }
    let gang = gang.expect("it came");
    let ended = replay.world.phase(&gang) == JobPhase::Succeeded;
    let mut seen = Seen { gang: waits(&replay, &gang), small: Vec::new(), ended };
    let ids = replay.world.state.jobs().values().map(|job| &job.id);
    for id in ids.filter(|id| **id != gang) {
        seen.small.extend(waits(&replay, id));
    }
    seen
}

/// How long a job waited for each of its attempts, the one included that it still waits for.
fn waits(replay: &Replay, id: &JobId) -> Vec<u64> {
    let job = replay.world.job(id);
    let mut since = Some(job.submitted);
    let mut waits = Vec::new();
    for attempt in &job.attempts {
        waits.push(attempt.started.since(since.expect("one after the other")).0);
        since = attempt.ended;
    }
    if job.phase == JobPhase::Queued {
        let since = since.expect("its last attempt is over");
        waits.push(replay.world.now - since.0);
    }
    waits
}

fn stream() -> impl Strategy<Value = Stream> {
    let gaps = prop_oneof![
        Just(vec![1000]),
        prop::collection::vec(600u64..1400, 8).prop_map(|mut gaps| {
            // On average they are as they should be.
            let rest: u64 = 16_000 - gaps.iter().sum::<u64>();
            gaps.extend(std::iter::repeat_n(rest / 8, 8));
            gaps
        }),
    ];
    let policy = prop::sample::select(Policy::ALL.to_vec());
    let gang = (2..=SLOTS, 5u64..20);
    (policy, 20u64..100, gang, gaps).prop_map(|(policy, patience, (ranks, lasts), gaps)| {
        let (patience, lasts) = (patience * MINUTE, lasts * MINUTE);
        Stream { policy, patience, ranks, lasts, gaps }
    })
}

/// What is said of a stream.
fn nobody_waits_too_long(stream: &Stream) {
    let bound = stream.bound(stream.ranks, stream.lasts);
    // What runs is let run for some time, or to its end, and who is cleared for comes alone.
    let slack = PATIENCE.0 + 2 * SMALL;
    let seen = flow(stream, bound + slack + 2 * stream.lasts);
    let gang = seen.gang.iter().max().expect("it waited");
    assert!(*gang <= bound + slack, "{} min: {stream:?}", gang / MINUTE);
    assert!(seen.ended, "its turn is long enough: {stream:?}");
    let small = seen.small.iter().max().expect("they waited");
    let bound = stream.bound(1, SMALL) + stream.lasts + slack;
    assert!(*small <= bound, "{} min: {stream:?}", small / MINUTE);
}

#[test]
fn a_stream_of_small_jobs_starves_no_gang_under_any_policy() {
    for policy in Policy::ALL {
        let (patience, lasts) = (60 * MINUTE, 12 * MINUTE);
        let gaps = vec![1000];
        nobody_waits_too_long(&Stream { policy, patience, ranks: SLOTS, lasts, gaps });
    }
}

#[test]
fn without_patience_such_a_stream_starves_a_gang_where_the_shortest_goes_first() {
    for policy in [Policy::Srsf, Policy::Auto] {
        let (patience, lasts) = (10_000 * MINUTE, 12 * MINUTE);
        let gaps = vec![1000];
        let stream = Stream { policy, patience, ranks: SLOTS, lasts, gaps };
        let seen = flow(&stream, 800 * MINUTE);
        assert!(!seen.ended && seen.gang.len() == 1, "{policy}: {:?}", seen.gang);
        assert!(seen.gang[0] > 790 * MINUTE, "{policy}: it never starts: {:?}", seen.gang);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn no_job_waits_longer_than_its_patience_allows(stream in stream()) {
        nobody_waits_too_long(&stream);
    }
}
