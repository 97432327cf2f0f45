//! The program against what can be worked out by hand, and its bounds.

use proptest::prelude::*;
use trainyard_jobs::{
    Bytes, DeviceKind, Millis,
    spec::{Speed, Speeds},
};

use super::{class::UnitType, program::MOST_CLASSES, *};

fn units(of: &[(&str, u64)]) -> Capacity {
    let unit = |(model, count): &(&str, u64)| {
        let (device, model) = (DeviceKind::Gpu, (*model).to_owned());
        (UnitType { device, model, memory: Bytes(0) }, *count)
    };
    of.iter().map(unit).collect()
}

fn asks(gpus: u32, speeds: &[(&str, u64)]) -> Resources {
    let speed =
        |(model, milli): &(&str, u64)| ((*model).to_owned(), Speed::from_milli(*milli).unwrap());
    let speed = Speeds(speeds.iter().map(speed).collect());
    Resources { gpus, speed, ..Resources::default() }
}

fn solved(jobs: &[(&Resources, u64)], capacity: &Capacity) -> Vec<Option<Target>> {
    let counts = jobs.iter().map(|(asked, count)| (Class::from(*asked), *count)).collect();
    let mut targets = program::solve(&counts, capacity);
    jobs.iter().map(|(asked, _)| targets.remove(&Class::from(*asked))).collect()
}

fn share(target: &Option<Target>, model: &str) -> u64 {
    target.as_ref().unwrap().shares[model]
}

#[test]
fn crossed_speeds_are_traded_to_the_optimum() {
    // Eight jobs each of two classes on four units of each type. With the part p of the h100s for
    // the first, which is no use for v100s, and all else for the second:
    //   an equal split gives the first (4 + 1) / 4 = 1.25, the second (1 + 2) / 4 = 0.75;
    //   the first gets 4p / 2 of 1.25, the second (2 + (1 - p)) / 2 of 0.75;
    //   they are equal at p = 15/17, where each gets 24/17 = 1.412 of its equal split.
    let (first, second) = (asks(1, &[("h100", 4000)]), asks(1, &[("v100", 2000)]));
    let found = solved(&[(&first, 8), (&second, 8)], &units(&[("h100", 4), ("v100", 4)]));
    let [a, b] = found.as_slice() else { panic!("two classes") };
    assert_eq!((share(a, "h100"), share(a, "v100")), (441, 0));
    assert_eq!((share(b, "h100"), share(b, "v100")), (59, 500));
    let pace_of_first = 4 * share(a, "h100");
    assert_eq!(pace_of_first * 17 / 24, 1249, "24/17 of 1.25, in thousandths");
    // Half a unit a job, for which 4 x 0.441 of work is done.
    assert_eq!(a.as_ref().unwrap().rate, 500 * 1000 / 1765);
}

#[test]
fn units_to_spare_are_nobodys_target() {
    let job = asks(1, &[("h100", 3000)]);
    let found = solved(&[(&job, 2)], &units(&[("h100", 4), ("v100", 4)]));
    assert_eq!(found[0].as_ref().unwrap().aim(&BTreeMap::new()), None);
}

#[test]
fn a_job_is_aimed_at_what_it_is_owed() {
    let (a, b) = (asks(1, &[("h100", 4000)]), asks(1, &[("v100", 2000)]));
    let found = solved(&[(&a, 8), (&b, 8)], &units(&[("h100", 4), ("v100", 4)]));
    let types = |hours: u64| {
        let ran_on = BTreeMap::from([("v100".to_owned(), Millis(hours * 3_600_000))]);
        found[1].as_ref().unwrap().aim(&ran_on).unwrap().types
    };
    assert_eq!(types(0), ["v100"], "a ninth of an hour is not worth a start");
    assert_eq!(types(8), ["h100"], "nothing of its ninth so far");
    assert_eq!(types(2), ["h100", "v100"]);
}

#[test]
fn more_classes_than_the_program_takes_lose_nothing_by_it() {
    let many: Vec<_> = (1..=100).map(|n| asks(1, &[("h100", 1000 + 10 * n)])).collect();
    let jobs: Vec<_> = many.iter().map(|asked| (asked, 1)).collect();
    let found = solved(&jobs, &units(&[("h100", 10), ("v100", 10)]));
    assert_eq!(found.iter().flatten().count(), MOST_CLASSES);
    // Units are left for the others in proportion.
    let used: u64 = found.iter().flatten().flat_map(|target| target.shares.values()).sum();
    assert!(used <= 20 * 1000 * 64 / 100 + 100, "{used}");
}

#[test]
fn a_count_is_kept_to_a_sixteenth() {
    assert_eq!([0, 1, 15, 16, 17, 31, 1000].map(rounded), [0, 1, 15, 16, 16, 30, 960]);
}

#[test]
fn nothing_is_solved_twice() {
    let (group, job) = ("root".parse().unwrap(), asks(1, &[("h100", 4000)]));
    let other = asks(1, &[]);
    let capacity = || units(&[("h100", 1), ("v100", 1)]);
    let mut gavel = Gavel::default();
    for _ in 0..2 {
        gavel.enter(&group, &job);
        gavel.enter(&group, &other);
    }
    assert_eq!(gavel.settle(capacity).len(), 1);
    assert_eq!(gavel.settle(|| panic!("they are known")), []);
    gavel.leave(&group, &job);
    gavel.enter(&group, &job);
    gavel.unsettle();
    assert_eq!(gavel.settle(capacity), [], "all is as it was");
    gavel.unsettle();
    assert_eq!(gavel.settle(|| units(&[("h100", 1), ("v100", 3)])), [group]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whoever asks for what: nobody has more than its time, no type is given away twice, nobody
    /// is below an equal split, and the same question has the same answer.
    #[test]
    fn targets_are_feasible_and_no_worse_than_an_equal_split(
        asked in prop::collection::vec(
            (1u32..9, prop::collection::vec(1u64..10_000, 3), 1u64..40), 1..10),
        counts in prop::collection::vec(1u64..60, 3),
    ) {
        let models = ["a", "b", "c"];
        let capacity = units(&models.iter().zip(&counts).map(|(m, n)| (*m, *n)).collect::<Vec<_>>());
        let mut jobs: BTreeMap<Class, u64> = BTreeMap::new();
        for (gpus, speeds, count) in asked {
            let of: Vec<_> = models.iter().zip(&speeds).map(|(m, s)| (*m, *s)).collect();
            *jobs.entry(Class::from(&asks(gpus, &of))).or_default() += count;
        }
        let targets = program::solve(&jobs, &capacity);
        prop_assert_eq!(&targets, &program::solve(&jobs, &capacity));
        let fits = |class: &Class, count: u64| u64::from(class.gpus) <= count;
        for class in jobs.keys() {
            let any = counts.iter().any(|count| fits(class, *count));
            prop_assert_eq!(any, targets.contains_key(class));
        }
        let total: u64 = counts.iter().sum();
        let served = jobs.iter().filter(|(class, _)| targets.contains_key(class));
        let all: u64 = served.map(|(_, count)| count).sum();
        let mut used = BTreeMap::new();
        for (class, target) in &targets {
            prop_assert!(target.shares.values().sum::<u64>() <= 1003);
            for (model, share) in &target.shares {
                *used.entry(model.as_str()).or_insert(0) += share * u64::from(class.gpus) * jobs[class];
            }
            // The rate is units a job over the pace; an equal split has at least this pace.
            let speed = |model: &str| class.speeds.on(model).milli();
            let of = models.iter().zip(&counts).filter(|(_, n)| fits(class, **n));
            let mean = of.map(|(m, n)| speed(m) * n).sum::<u64>() / total;
            let part = (1000 * total / all / u64::from(class.gpus)).min(1000);
            let equal = mean * part / 1000;
            let pace = 1000 * 1000 * total / all / target.rate;
            prop_assert!(pace + pace / 50 + 10 >= equal, "{pace} is less than {equal}");
        }
        for (model, count) in models.iter().zip(&counts) {
            let given = used.get(model).copied().unwrap_or_default();
            // Rounding to thousandths: half of one for each unit asked for.
            let wanted: u64 = jobs.iter().map(|(c, n)| u64::from(c.gpus) * n).sum();
            prop_assert!(given <= count * 1000 + wanted, "{given} of {count} {model}");
        }
    }
}
