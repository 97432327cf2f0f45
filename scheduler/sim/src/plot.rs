//! Drawings of replays, as SVG: GPUs in use over time, how completion times are distributed, and
//! the policies side by side. Text stays text, so that a drawing can be searched and restyled.

use std::path::{Path, PathBuf};

use plotters::{
    coord::Shift,
    prelude::{
        ChartBuilder, Color as _, DrawingArea, IntoDrawingArea as _, IntoLogRange as _, LineSeries,
        Palette as _, Palette99, PathElement, RGBColor, Rectangle, SVGBackend, SeriesLabelPosition,
        WHITE,
    },
};

use trainyard_jobs::WHOLE_GPU;

use crate::{
    Figures, Outcome, SimError,
    num::{count, float},
};

/// Points of a line at most: more are not to be seen.
const POINTS: usize = 2000;

/// The size of a drawing.
const SIZE: (u32, u32) = (960, 540);

/// A replay and the policy's name.
type Named<'a> = (&'a str, &'a Outcome);

/// A surface to draw on.
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What draws one file.
type Draw = fn(&Area<'_>, &[Named<'_>]) -> Result<(), Failed>;

/// One of a policy's figures.
type Measure = fn(&Figures) -> f64;

/// Why a drawing failed; the drawing library's errors carry types of their own.
type Failed = Box<dyn std::error::Error>;

/// Draws all of it into the folder `to`, which is made, and says which files that are.
///
/// # Errors
/// When the folder cannot be written.
pub fn plot(to: &Path, runs: &[(&str, &Outcome)]) -> Result<Vec<PathBuf>, SimError> {
    let failed = |error: std::io::Error| SimError::File {
        doing: "draw into",
        path: to.to_owned(),
        source: error,
    };
    std::fs::create_dir_all(to).map_err(failed)?;
    let drawings: [(&str, Draw); 4] = [
        ("use.svg", draw_use),
        ("queue.svg", draw_queue),
        ("completion.svg", draw_completion),
        ("policies.svg", draw_policies),
    ];
    let mut files = Vec::new();
    for (name, draw) in drawings {
        let mut text = String::new();
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        let drawn = area.fill(&WHITE).map_err(Failed::from);
        let drawn = drawn.and_then(|()| draw(&area, runs));
        let drawn = drawn.and_then(|()| area.present().map_err(Failed::from));
        drawn.map_err(|error| failed(std::io::Error::other(error.to_string())))?;
        drop(area);
        let path = to.join(name);
        std::fs::write(&path, text).map_err(failed)?;
        files.push(path);
    }
    Ok(files)
}

fn colour(at: usize) -> RGBColor {
    let (r, g, b) = Palette99::pick(at).rgb();
    RGBColor(r, g, b)
}

/// GPUs in use over time.
fn draw_use(area: &Area<'_>, runs: &[Named<'_>]) -> Result<(), Failed> {
    let gpus = runs.iter().map(|(_, outcome)| outcome.gpus).max().unwrap_or(1);
    let of = |outcome: &Outcome| {
        let milli = steps(outcome, |moment| moment.used_milli);
        milli.into_iter().map(|(days, used)| (days, used / f64::from(WHOLE_GPU))).collect()
    };
    over_time(area, "GPUs in use", float(gpus), runs, &of)
}

/// Jobs in the queue over time.
fn draw_queue(area: &Area<'_>, runs: &[Named<'_>]) -> Result<(), Failed> {
    let of = |outcome: &Outcome| steps(outcome, |moment| moment.waiting);
    let moments = runs.iter().flat_map(|(_, outcome)| &outcome.usage.timeline);
    let most = moments.map(|moment| moment.waiting).max().unwrap_or(1).max(1);
    over_time(area, "Jobs waiting", float(most), runs, &of)
}

fn over_time(
    area: &Area<'_>,
    title: &str,
    most: f64,
    runs: &[Named<'_>],
    of: &dyn Fn(&Outcome) -> Vec<(f64, f64)>,
) -> Result<(), Failed> {
    let lines: Vec<(&str, Vec<(f64, f64)>)> =
        runs.iter().map(|(name, outcome)| (*name, of(outcome))).collect();
    let ends = lines.iter().filter_map(|(_, line)| line.last());
    let end = ends.map(|(at, _)| *at).fold(0.0, f64::max).max(1e-3);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..end, 0.0..most * 1.05)?;
    chart.configure_mesh().x_desc("days").light_line_style(WHITE).draw()?;
    for (at, (name, line)) in lines.into_iter().enumerate() {
        let colour = colour(at);
        chart
            .draw_series(LineSeries::new(line, &colour))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }
    let mut labels = chart.configure_series_labels();
    labels.position(SeriesLabelPosition::LowerRight).background_style(WHITE.mix(0.8)).draw()?;
    Ok(())
}

/// Means over equal parts of time, in days, as the steps between them.
fn steps(outcome: &Outcome, of: impl Fn(&crate::report::Moment) -> u64) -> Vec<(f64, f64)> {
    let usage = &outcome.usage;
    let begin = usage.timeline.first().map_or(0, |moment| moment.at_ms);
    let span = usage.until_ms.saturating_sub(begin).max(1);
    let width = span.div_ceil(count(POINTS)).max(1);
    let ends = usage.timeline.iter().skip(1).map(|moment| moment.at_ms).chain([usage.until_ms]);
    let mut sums = vec![0_u128; POINTS];
    for (moment, end) in usage.timeline.iter().zip(ends) {
        let mut from = moment.at_ms;
        while from < end {
            let part = (from - begin) / width;
            let until = end.min(begin + (part + 1) * width);
            let sum = usize::try_from(part).ok().and_then(|part| sums.get_mut(part));
            if let Some(sum) = sum {
                *sum += u128::from(of(moment)) * u128::from(until - from);
            }
            from = until;
        }
    }
    let days = |part: usize| float(count(part) * width) / 86_400_000.0;
    let means = sums.iter().enumerate().take_while(|(part, _)| count(*part) * width < span);
    means.map(|(part, sum)| (days(part), crate::num::float_sum(*sum) / float(width))).collect()
}

/// The share of jobs that were done within a time.
fn draw_completion(area: &Area<'_>, runs: &[Named<'_>]) -> Result<(), Failed> {
    let line = |outcome: &Outcome| {
        let mut times: Vec<u64> =
            outcome.fates.iter().filter_map(crate::Fate::completion_ms).collect();
        times.sort_unstable();
        let all = float(count(times.len()).max(1));
        let every = times.len().div_ceil(POINTS).max(1);
        let ranked = times.iter().enumerate();
        let point = |(rank, ms): (usize, &u64)| (float((*ms).max(1000)) / 3_600_000.0, rank);
        let some = ranked
            .map(point)
            .filter(|(_, rank)| rank.is_multiple_of(every) || *rank + 1 == times.len());
        some.map(|(hours, rank)| (hours, float(count(rank) + 1) / all)).collect::<Vec<_>>()
    };
    let lines: Vec<_> = runs.iter().map(|(name, outcome)| (*name, line(outcome))).collect();
    let all = || lines.iter().flat_map(|(_, line)| line).map(|(hours, _)| *hours);
    let least = all().fold(f64::INFINITY, f64::min).min(1.0);
    let most = all().fold(least * 10.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption("Jobs done within a time", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d((least..most).log_scale(), 0.0..1.0)?;
    chart.configure_mesh().x_desc("hours from submission").light_line_style(WHITE).draw()?;
    for (at, (name, line)) in lines.into_iter().enumerate() {
        let colour = colour(at);
        chart
            .draw_series(LineSeries::new(line, &colour))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }
    let mut labels = chart.configure_series_labels();
    labels.position(SeriesLabelPosition::LowerRight).background_style(WHITE.mix(0.8)).draw()?;
    Ok(())
}

/// Mean, median and slowest completion times of the policies, each against the longest.
fn draw_policies(area: &Area<'_>, runs: &[Named<'_>]) -> Result<(), Failed> {
    let figures: Vec<Figures> =
        runs.iter().map(|(name, outcome)| Figures::of(name, outcome)).collect();
    let measures: [(&str, Measure); 5] = [
        ("mean completion", |f| f.avg_jct_s),
        ("median completion", |f| f.p50_jct_s),
        ("p99 completion", |f| f.p99_jct_s),
        ("makespan", |f| f.makespan_s),
        ("p99 unfairness", |f| f.rho_p99),
    ];
    let groups = float(count(measures.len()));
    let mut chart = ChartBuilder::on(area)
        .caption("Policies side by side; less is better", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..groups, 0.0..1.05)?;
    let name = |at: &f64| {
        let measure =
            measures.iter().enumerate().find(|(i, _)| (float(count(*i)) + 0.5 - at).abs() < 0.01);
        measure.map_or_else(String::new, |(_, (name, _))| (*name).to_owned())
    };
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().x_labels(measures.len() * 2).x_label_formatter(&name);
    mesh.y_desc("share of the longest").light_line_style(WHITE).draw()?;
    let width = 0.8 / float(count(runs.len()).max(1));
    for (at, figure) in figures.iter().enumerate() {
        let colour = colour(at);
        let bars = measures.iter().enumerate().map(|(group, (_, of))| {
            let longest = figures.iter().map(of).fold(f64::MIN_POSITIVE, f64::max);
            let left = float(count(at)).mul_add(width, float(count(group)) + 0.1);
            Rectangle::new(
                [(left, 0.0), (left + width * 0.9, of(figure) / longest)],
                colour.filled(),
            )
        });
        chart
            .draw_series(bars)?
            .label(figure.policy.clone())
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 12, y + 4)], colour.filled()));
    }
    let mut labels = chart.configure_series_labels();
    labels.position(SeriesLabelPosition::UpperRight).background_style(WHITE.mix(0.8)).draw()?;
    Ok(())
}

#[cfg(test)]
mod tests;
