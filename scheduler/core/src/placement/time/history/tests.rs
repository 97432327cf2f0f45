use super::{
    lengths::{BUCKETS, end},
    *,
};

impl Past {
    /// A run of one rank of which nothing is said.
    pub(in crate::placement) fn example(principal: &str, ran: Millis) -> Self {
        Self {
            project: "p".parse().unwrap(),
            principal: principal.to_owned(),
            gpus: 1,
            alike: Alike::default(),
            ran,
            ran_on: BTreeMap::new(),
            speeds: Speeds::default(),
            estimate: None,
        }
    }
}

fn who(project: &ProjectName) -> Who<'_> {
    Who { project, principal: "ada", gpus: 1, alike: Alike::default() }
}

fn history(runs: &[(u64, usize)]) -> History {
    let mut history = History::default();
    let mut specs = (1..).map(Alike::nth);
    for (seconds, times) in runs {
        for _ in 0..*times {
            let alike = specs.next().unwrap();
            history.learn(&Past { alike, ..Past::example("ada", Millis(seconds * 1000)) });
        }
    }
    history
}

fn effective(history: &History, ran: u64) -> Option<u64> {
    let mut history = history.clone();
    history.sum_up();
    let expected = history.effective(&who(&"p".parse().unwrap()), ran * 1000);
    expected.map(|expected| expected.left / 1000)
}

#[test]
fn buckets_grow_by_half_doublings() {
    for at in 0..BUCKETS - 1 {
        assert_eq!((bucket(end(at) - 1), bucket(end(at))), (at, at + 1));
        assert!(end(at) < end(at + 1));
    }
    assert_eq!(bucket(u64::MAX), BUCKETS - 1);
}

#[test]
fn little_is_believed_of_few_runs() {
    assert_eq!(effective(&history(&[(100, 7)]), 0), None);
    assert!(effective(&history(&[(100, 8)]), 0).is_some());
}

#[test]
fn of_short_and_long_runs_a_new_job_is_tried_first_and_an_old_one_last() {
    let mixed = history(&[(60, 90), (100_000, 10)]);
    let fresh = effective(&mixed, 0).unwrap();
    assert!(fresh < 120, "most end within a minute: {fresh}");
    let old = effective(&mixed, 1000).unwrap();
    assert!(old > 50_000, "who did not is one of the long ones: {old}");
    let nearly = effective(&mixed, 90_000).unwrap();
    assert!(nearly < old, "and has less before it later on: {nearly}");
}

#[test]
fn those_that_still_run_count_with_what_they_have_run() {
    let ended = [(60, 8)];
    let alone = effective(&history(&ended), 0).unwrap();
    let mut among_many = history(&ended);
    let project = "p".parse().unwrap();
    let kin = among_many.kin(&who(&project));
    for _ in 0..792 {
        among_many.enter(&kin, bucket(90_000));
    }
    let fresh = effective(&among_many, 0).unwrap();
    assert!(fresh > 50 * alone, "one in a hundred ends in a minute: {alone} {fresh}");
    for _ in 0..792 {
        among_many.leave(&kin, bucket(90_000));
    }
    assert_eq!(effective(&among_many, 0), Some(alone), "as if they had never been");
}

#[test]
fn a_plan_to_find_out_goes_as_far_as_jobs_are_likely_to_end() {
    let mut mixed = history(&[(60, 90), (100_000, 10)]);
    mixed.sum_up();
    let fresh = mixed.effective(&who(&"p".parse().unwrap()), 0).unwrap();
    assert_eq!(fresh.stretch, 64_000, "the end of the bucket of a minute");
}

#[test]
fn the_order_in_which_runs_ended_does_not_matter() {
    let (a, b) = (history(&[(10, 9), (500, 9)]), history(&[(500, 9), (10, 9)]));
    for ran in [0, 5, 20, 400] {
        assert_eq!(effective(&a, ran), effective(&b, ran));
    }
}

fn run(name: &str, seconds: u64) -> Past {
    let spec = crate::world::spec(&format!("[resources]\ngpus = {}\n", name.len()));
    Past { alike: Alike::of(&spec, "ada"), ..Past::example("ada", Millis(seconds * 1000)) }
}

#[test]
fn runs_of_the_same_spec_are_believed_before_others() {
    let mut history = history(&[(100_000, 400)]);
    let same = run("a", 100).alike;
    let project = "p".parse().unwrap();
    let left = |history: &mut History, ran: u64| {
        history.sum_up();
        let who = Who { alike: same, ..who(&project) };
        history.effective(&who, ran * 1000).unwrap().left / 1000
    };
    history.learn(&run("a", 100));
    history.learn(&run("a", 100));
    assert!(left(&mut history, 0) > 10_000, "two are too few");
    history.learn(&run("bb", 100));
    assert!(left(&mut history, 0) > 10_000, "and another spec's are not its own");
    history.learn(&run("a", 100));
    assert!(left(&mut history, 0) < 200);
    assert!(left(&mut history, 1000) > 10_000, "it has turned out to be like the others");
}

#[test]
fn specs_of_which_least_was_heard_are_forgotten() {
    let mut history = History::default();
    let alike = |n: u64| Alike::nth(n);
    let most = u64::try_from(SPECS).unwrap();
    for n in 0..most + 100 {
        for _ in 0..3 {
            history.learn(&Past { alike: alike(n), ..Past::example("ada", Millis(60_000)) });
        }
        if n % 50 == 0 {
            history.sum_up();
        }
    }
    let news = history.sum_up();
    assert!(news.iter().any(|news| news.alike == Some(alike(99)) && news.first));
    assert_eq!(history.classes.specs(), SPECS);
    let project = "p".parse().unwrap();
    let known = |n| history.teller(&Who { alike: alike(n), ..who(&project) });
    let of_user = known(u64::MAX);
    assert!(known(0) == of_user && known(99) == of_user && known(100) != of_user);
    assert!(history.classes.count() <= SPECS + 100, "numbers are used again");
}

#[test]
fn a_spec_whose_job_runs_is_not_forgotten_and_one_without_any_run_is() {
    let mut history = History::default();
    let project: ProjectName = "p".parse().unwrap();
    let who = |n: u64| Who { alike: Alike::nth(n), ..who(&project) };
    let runs = history.kin(&who(0));
    history.begin(&runs, Timestamp(0), Speed::ONE);
    for n in 0..3 * u64::try_from(SPECS).unwrap() {
        history.learn(&Past { alike: Alike::nth(n % 5000), ..Past::example("ada", Millis(1)) });
    }
    history.sum_up();
    assert_eq!(history.kin(&who(0)), runs);
    history.end(&runs, Timestamp(0), Speed::ONE);
    let fails = history.kin(&who(9999));
    history.enter(&fails, 3);
    history.sum_up();
    assert_eq!(history.kin(&who(9999)), fails);
    history.leave(&fails, 3);
    let before = history.classes.specs();
    history.sum_up();
    assert_eq!(history.classes.specs(), before - 1);
}

#[test]
fn lengths_are_those_at_speed_one() {
    let speed = |milli| Speed::from_milli(milli).unwrap();
    let speeds = Speeds([("h100".into(), speed(4000)), ("a100".into(), speed(2000))].into());
    let past = |seconds: u64, ran_on: &[(&str, u64)]| Past {
        ran_on: ran_on.iter().map(|(t, s)| ((*t).to_owned(), Millis(s * 1000))).collect(),
        speeds: speeds.clone(),
        ..Past::example("ada", Millis(seconds * 1000))
    };
    assert_eq!(past(100, &[]).work(), 100_000);
    assert_eq!(past(100, &[("h100", 25)]).work(), 175_000);
    assert_eq!(past(100, &[("h100", 25), ("a100", 75)]).work(), 250_000);
    let (mut fast, mut slow) = (History::default(), History::default());
    for _ in 0..9 {
        fast.learn(&past(100, &[("h100", 100)]));
        slow.learn(&past(400, &[]));
    }
    assert_eq!(effective(&fast, 0), effective(&slow, 0));
    // One that runs there comes as far in a quarter of the time.
    let project = "p".parse().unwrap();
    let both = [(&mut fast, 4000, 50), (&mut slow, 1000, 200)].map(|(history, milli, seconds)| {
        history.sum_up();
        let kin = history.kin(&who(&project));
        history.begin(&kin, Timestamp(7), speed(milli));
        history.advance(Timestamp(7 + seconds * 1000));
        effective(history, 100)
    });
    assert_eq!(both[0], both[1]);
}

#[test]
fn what_few_exceed_is_known_of_many_runs() {
    let late = |runs: &[(u64, usize)], ran: u64| {
        let mut history = history(runs);
        history.sum_up();
        history.effective(&who(&"p".parse().unwrap()), ran * 1000).unwrap().late
    };
    assert_eq!(late(&[(100, 12)], 0), None, "too few");
    let most = late(&[(100, 95), (100_000, 5)], 0).unwrap();
    assert!((100_000..200_000).contains(&most), "{most}");
    let some = late(&[(100, 60), (100_000, 40)], 0).unwrap();
    assert!(some >= 100_000_000, "{some}");
    let old = late(&[(100, 95), (100_000, 5)], 5000).unwrap();
    assert!(old > 50_000_000, "who has run for longer is one of the few: {old}");
}
