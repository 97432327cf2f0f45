//! The lines beside a plain list of all jobs that is sorted anew for each question.

use proptest::prelude::*;
use trainyard_jobs::spec::Resources;

use super::*;

/// A job as the list knows it.
#[derive(Debug, Clone)]
struct Listed {
    rank: Rank,
    patience: Timestamp,
}

/// What happens to the lines.
#[derive(Debug, Clone)]
enum Step {
    /// A job comes, alone or with the peers of a class: number, ranks, priority, since, value.
    Comes(u64, u32, i32, u64, Option<usize>, u64),
    Goes(u64),
    /// Another value for all that a class tells of.
    News(Option<usize>, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let class = || prop::option::of(0_usize..3);
    let priority =
        prop_oneof![6 => 0_i32..2, 1 => Just(-1), 1 => Just(i32::MIN), 1 => Just(i32::MAX)];
    let comes = (0_u64..12, 1_u32..3, priority, 0_u64..50, class(), 0_u64..6);
    prop_oneof![
        4 => comes.prop_map(|(id, ranks, priority, since, class, value)| {
            Step::Comes(id, ranks, priority, since, class, value)
        }),
        1 => (0_u64..12).prop_map(Step::Goes),
        2 => (class(), 0_u64..6).prop_map(|(class, value)| Step::News(class, value)),
    ]
}

/// What a value comes to: the more there is to do, the longer the wait that is too long.
fn merit(value: u64, since: u64) -> Merit {
    Merit { value, stretch: value, patience: Timestamp(since + 10 * value) }
}

fn check(lines: &Lines, listed: &BTreeMap<JobId, Listed>, group: &ProjectName) {
    let mut sorted: Vec<&Rank> = listed.values().map(|job| &job.rank).collect();
    sorted.sort();
    let mut walked = Vec::new();
    if let Some(mut walk) = lines.walk(group) {
        while let Some(step) = walk.next() {
            walked.push(step.job);
            walk.go_past(step);
        }
    }
    assert_eq!(walked, sorted.iter().map(|rank| &rank.3).collect::<Vec<_>>());
    for (at, rank) in sorted.iter().enumerate() {
        assert_eq!(lines.position(&rank.3), Some(at + 1));
    }
    for now in [0, 25, 60].map(Timestamp) {
        let mut late: Vec<_> = listed.iter().map(|(id, job)| (job.patience, id)).collect();
        late.sort();
        let next = late.iter().map(|(at, _)| *at).find(|at| *at > now);
        late.retain(|(at, _)| *at <= now);
        let ids: Vec<_> = late.into_iter().map(|(_, id)| id).collect();
        assert_eq!(lines.overdue(now).collect::<Vec<_>>(), ids);
        assert_eq!(lines.next_overdue(now), next);
    }
}

proptest! {
    #[test]
    fn jobs_that_move_together_stand_as_if_each_had_moved(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let group: ProjectName = "p".parse().unwrap();
        let (mut lines, mut listed) = (Lines::default(), BTreeMap::<JobId, Listed>::new());
        let mut told: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Comes(number, ranks, priority, since, class, value) => {
                    let id = JobId::from_random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                    told.values_mut().for_each(|jobs| jobs.retain(|(job, _)| *job != id));
                    let request = Request::from(&Resources { gpus: ranks, ..Resources::default() });
                    let rank = (Reverse(priority), value, number, id.clone());
                    let merit = merit(value, since);
                    let peers = (number % 3 > 0).then(|| Peers {
                        project: group.clone(),
                        class,
                        speed: trainyard_jobs::spec::Speed::ONE,
                    });
                    if peers.is_some() {
                        let with = told.entry((class, ranks)).or_default();
                        with.push((id.clone(), since));
                        revalue(&mut listed, with, value);
                    }
                    listed.insert(id.clone(), Listed { rank, patience: merit.patience });
                    let since = Timestamp(since);
                    let comer = Comer { id, priority, sequence: number, since, merit, peers };
                    lines.insert(&group, &request, comer);
                }
                Step::Goes(number) => {
                    let id = JobId::from_random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                    told.values_mut().for_each(|jobs| jobs.retain(|(job, _)| *job != id));
                    lines.remove(&id);
                    listed.remove(&id);
                }
                Step::News(class, value) => {
                    for (cohort, _) in lines.told_by(class) {
                        lines.revalue(cohort, Timestamp(7), merit(value, 7));
                    }
                    for (_, jobs) in told.iter().filter(|((of, _), _)| *of == class) {
                        revalue(&mut listed, jobs, value);
                    }
                }
            }
            check(&lines, &listed, &group);
        }
    }
}

fn revalue(listed: &mut BTreeMap<JobId, Listed>, jobs: &[(JobId, u64)], value: u64) {
    for (id, since) in jobs {
        if let Some(job) = listed.get_mut(id) {
            job.rank.1 = value;
            job.patience = merit(value, *since).patience;
        }
    }
}
