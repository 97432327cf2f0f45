//! The linear program: max-min fairness that knows how fast jobs are where (section 4.1 of the
//! paper). First the least of what jobs get, over what an equal split would give them, is made as
//! large as can be; then the sum. Floating point ends here: what comes out is in thousandths.

use std::{cmp::Reverse, collections::BTreeMap};

use microlp::{ComparisonOp, OptimizationDirection, Problem, Variable};
use trainyard_jobs::DeviceKind;

use super::{
    class::{Capacity, Class, UnitType},
    target::Target,
};

/// The classes that one program takes, those of most jobs first. The others count as if all types
/// were alike, and what an equal split gives them is not given away.
pub(super) const MOST_CLASSES: usize = 64;

/// The types of units that one program takes, those of most units first.
const MOST_TYPES: usize = 16;

/// How far below its optimum the least may fall for the sum's sake: solvers are not exact.
const SLACK: f64 = 1e-6;

/// A type of which more than this part is used has no units to spare.
const FULL: f64 = 0.999;

/// A job's least share on a type that is told from none.
const LEAST: u64 = 5;

/// One class in a program.
struct Row<'a> {
    class: &'a Class,
    jobs: f64,
    units: f64,
    /// How fast its jobs are on each type; none where they may not run.
    speeds: Vec<Option<f64>>,
    /// What an equal split gives each of its jobs.
    equal: f64,
}

/// One program: all of one kind of device.
struct Program<'a> {
    rows: Vec<Row<'a>>,
    types: Vec<(&'a UnitType, f64)>,
    /// Units a job, over all jobs.
    each: f64,
}

/// What each class should have.
pub(super) fn solve(jobs: &BTreeMap<Class, u64>, units: &Capacity) -> BTreeMap<Class, Target> {
    let devices = [DeviceKind::Cpu, DeviceKind::Gpu];
    let programs = devices.into_iter().filter_map(|device| Program::of(device, jobs, units));
    programs.flat_map(|program| program.targets()).collect()
}

fn float(count: u64) -> f64 {
    u32::try_from(count).unwrap_or(u32::MAX).into()
}

/// Through its decimal text: no cast, and the same everywhere.
fn thousandths(value: f64) -> u64 {
    format!("{:.0}", (value * 1e3).clamp(0.0, 1e15)).parse().unwrap_or_default()
}

impl<'a> Program<'a> {
    fn of(device: DeviceKind, jobs: &'a BTreeMap<Class, u64>, units: &'a Capacity) -> Option<Self> {
        let mut types: Vec<_> = units.iter().filter(|(unit, _)| unit.device == device).collect();
        types.sort_by_key(|(unit, count)| (Reverse(**count), *unit));
        types.truncate(MOST_TYPES);
        let types: Vec<_> = types.into_iter().map(|(unit, count)| (unit, float(*count))).collect();
        let total: f64 = types.iter().map(|(_, count)| count).sum();
        let served = |class: &Class| types.iter().any(|(unit, count)| class.takes(unit, *count));
        let mut classes: Vec<_> = jobs.iter().filter(|(class, _)| served(class)).collect();
        let all: f64 = classes.iter().map(|(_, count)| float(**count)).sum();
        classes.sort_by_key(|(class, count)| (Reverse(**count), *class));
        classes.truncate(MOST_CLASSES);
        let inside: f64 = classes.iter().map(|(_, count)| float(**count)).sum();
        if inside <= 0.0 {
            return None;
        }
        let each = total / all;
        let rows = classes
            .into_iter()
            .map(|(class, count)| Row::of(class, float(*count), each, total, &types));
        let rows = rows.collect();
        let types = types.iter().map(|(unit, count)| (*unit, count * inside / all)).collect();
        Some(Self { rows, types, each })
    }

    /// The jobs of each class at work on each type, in the mean over time.
    fn at_work(&self) -> Option<Vec<Vec<f64>>> {
        let first = self.run(None)?;
        let gains = self.rows.iter().zip(&first).map(|(row, jobs)| row.gain(jobs));
        let least = gains.fold(f64::INFINITY, f64::min);
        Some(self.run(Some(least * (1.0 - SLACK))).unwrap_or(first))
    }

    /// Makes the least gain as large as can be, or if that is known, the sum of all.
    fn run(&self, least: Option<f64>) -> Option<Vec<Vec<f64>>> {
        let mut problem = Problem::new(OptimizationDirection::Maximize);
        let bounds = least.map_or((0.0, f64::INFINITY), |least| (least, least));
        let level = problem.add_var(if least.is_none() { 1.0 } else { 0.0 }, bounds);
        let mut used: Vec<Vec<(Variable, f64)>> = vec![Vec::new(); self.types.len()];
        let mut found = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let mut vars = Vec::new();
            for (speed, used) in row.speeds.iter().zip(&mut used) {
                let worth = speed.map(|speed| speed / row.equal);
                let sum = worth.filter(|_| least.is_some()).unwrap_or_default();
                vars.push(worth.map(|worth| {
                    let var = problem.add_var(sum, (0.0, row.jobs));
                    used.push((var, row.units));
                    (var, worth / row.jobs)
                }));
            }
            let some = || vars.iter().flatten();
            let gain: Vec<_> = some().copied().chain([(level, -1.0)]).collect();
            problem.add_constraint(gain, ComparisonOp::Ge, 0.0);
            let whole: Vec<_> = some().map(|(var, _)| (*var, 1.0)).collect();
            problem.add_constraint(whole, ComparisonOp::Le, row.jobs);
            found.push(vars);
        }
        for (used, (_, count)) in used.into_iter().zip(&self.types) {
            problem.add_constraint(used, ComparisonOp::Le, *count);
        }
        let solution = problem.solve().ok()?.into_solution().ok()?;
        let value = |var: &Option<(Variable, f64)>| {
            var.map_or(0.0, |(var, _)| solution.var_value(var).max(0.0))
        };
        Some(found.iter().map(|vars| vars.iter().map(value).collect()).collect())
    }

    fn targets(&self) -> Vec<(Class, Target)> {
        let Some(at_work) = self.at_work() else { return Vec::new() };
        let mut spare: Vec<f64> = self.types.iter().map(|(_, count)| count * FULL).collect();
        for (row, jobs) in self.rows.iter().zip(&at_work) {
            for (spare, jobs) in spare.iter_mut().zip(jobs) {
                *spare -= jobs * row.units;
            }
        }
        let rows = self.rows.iter().zip(&at_work);
        rows.map(|(row, jobs)| (row.class.clone(), self.target(row, jobs, &spare))).collect()
    }

    fn target(&self, row: &Row<'_>, jobs: &[f64], spare: &[f64]) -> Target {
        let rate = thousandths(self.each / row.pace(jobs).max(1e-9)).max(1);
        let (each, shares) = (thousandths(self.each), BTreeMap::new());
        let mut target = Target { rate, each, shares, open: Default::default() };
        let mut scarce = false;
        for (at, (unit, _)) in self.types.iter().enumerate() {
            if row.speeds.get(at).copied().flatten().is_none() {
                continue;
            }
            let share = thousandths(jobs.get(at).copied().unwrap_or_default() / row.jobs);
            let shares = target.shares.entry(unit.model.clone()).or_default();
            *shares += if share < LEAST { 0 } else { share };
            if spare.get(at).is_some_and(|spare| *spare > 0.0) {
                target.open.insert(unit.model.clone());
            } else {
                scarce = true;
            }
        }
        if !scarce || target.shares.len() < 2 {
            // Wherever it goes, nobody is kept from anything.
            target.shares.clear();
        }
        target
    }
}

impl<'a> Row<'a> {
    fn of(class: &'a Class, jobs: f64, each: f64, total: f64, types: &[(&UnitType, f64)]) -> Self {
        let speed = |(unit, count): &(&UnitType, f64)| {
            class.takes(unit, *count).then(|| float(class.speeds.on(&unit.model).milli()) / 1e3)
        };
        let speeds: Vec<Option<f64>> = types.iter().map(speed).collect();
        let mean = speeds.iter().zip(types).map(|(s, (_, count))| s.unwrap_or(0.0) * count / total);
        let units = f64::from(class.gpus.max(1));
        let equal = mean.sum::<f64>() * (each / units).min(1.0);
        Self { class, jobs, units, speeds, equal }
    }

    /// How fast each of its jobs goes on, in the mean over time.
    fn pace(&self, jobs: &[f64]) -> f64 {
        let of_type = |(speed, jobs): (&Option<f64>, &f64)| speed.unwrap_or(0.0) * jobs;
        self.speeds.iter().zip(jobs).map(of_type).sum::<f64>() / self.jobs
    }

    /// The same over what an equal split would give.
    fn gain(&self, jobs: &[f64]) -> f64 {
        self.pace(jobs) / self.equal
    }
}
