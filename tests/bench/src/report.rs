//! The report: what was measured, on what, beside what; as JSON and, in a fixed layout, as
//! Markdown. Figures are printed as they came out. Each benchmark keeps its last report in a file
//! of its own, and the page of results is made of all of them.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Context as _;

use crate::{
    args::Bench,
    machine::Machine,
    rounds::{Figures, median},
};

/// Raised when the JSON changes its shape.
const SCHEMA: u32 = 1;

/// One run of the benchmarks.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Report {
    schema: u32,
    taken: String,
    command: String,
    machine: Machine,
    pub(crate) sections: Vec<Section>,
}

/// One benchmark.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Section {
    pub(crate) title: String,
    /// What a figure counts, such as `submits/s`.
    pub(crate) unit: String,
    /// What a case is, such as `clients`.
    pub(crate) case: String,
    /// Systems in the table's order, the first is Trainyard.
    pub(crate) systems: Vec<System>,
    pub(crate) rows: Vec<Row>,
    /// Whether a smaller figure is the better one: the ratio is then the peer's to Trainyard's.
    pub(crate) less_is_better: bool,
    /// What was counted besides, such as losses: each must be 0.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub(crate) counts: std::collections::BTreeMap<String, u64>,
    /// How it was measured.
    pub(crate) notes: Vec<String>,
}

/// A system, measured or absent.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct System {
    pub(crate) name: String,
    /// Its version, or why it was not measured.
    pub(crate) state: Result<String, String>,
}

/// One case, with the figures of each system; nothing for one that is absent.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) figures: Vec<Option<Figures>>,
}

impl System {
    pub(crate) fn new<T>(
        name: &str,
        state: &anyhow::Result<T>,
        version: impl Fn(&T) -> String,
    ) -> Self {
        let state = state.as_ref().map(version).map_err(|error| format!("{error:#}"));
        Self { name: name.to_owned(), state }
    }
}

impl Report {
    pub(crate) fn begin(data: &Path) -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let command = match arguments.join(" ") {
            none if none.is_empty() => "make bench".to_owned(),
            some => format!("cargo run --release -p trainyard-bench -- {some}"),
        };
        Self {
            schema: SCHEMA,
            taken: jiff::Zoned::now().strftime("%Y-%m-%d %H:%M %:z").to_string(),
            command,
            machine: Machine::read(data),
            sections: Vec::new(),
        }
    }

    /// The sections, after a line that says when, how and on what they were taken.
    pub(crate) fn markdown(&self) -> String {
        let mut page = String::new();
        for section in &self.sections {
            let _ = write!(page, "\n## {}\n\n{}\n\n", section.title, self.taken());
            section.markdown(&mut page);
        }
        page
    }

    /// When, how and on what it was taken.
    pub(crate) fn taken(&self) -> String {
        let m = &self.machine;
        format!(
            "{} by `{}`: {}, {} cores, {}, Linux {}, {}, load {} before.",
            self.taken, self.command, m.cpu, m.cores, m.memory, m.kernel, m.disk, m.load_before
        )
    }

    /// Keeps this as the last report of the benchmark `name`.
    pub(crate) fn keep(&self, out: &Path, name: &str) -> anyhow::Result<()> {
        fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
        let path = out.join(name).with_extension("json");
        fs::write(&path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The page of results: the last report of each benchmark in `out`, then the notes of those that
/// are not taken beside peers.
pub(crate) fn page(out: &Path) -> anyhow::Result<String> {
    let mut page = HEAD.to_owned();
    for path in files(out, "json")? {
        let bytes = fs::read(&path)?;
        let report: Report = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is not a report", path.display()))?;
        page.push_str(&report.markdown());
    }
    for path in files(out, "md")? {
        page.push('\n');
        page.push_str(&fs::read_to_string(path)?);
    }
    Ok(page)
}

fn files(folder: &Path, extension: &str) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let items = fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?;
    let mut files: Vec<_> = items.filter_map(Result::ok).map(|item| item.path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    Ok(files)
}

const HEAD: &str = "# Benchmarks beside the peers\n\n\
    Written by `make bench` from `results/`; do not edit.\n\n\
    The systems of a table ran on one machine, on loopback, in one run; rounds alternate. A cell is \
    the median of the rounds with their range; a ratio above 1 means that Trainyard did more, or \
    was faster.\n";

impl Section {
    /// What stands for a benchmark that could not be taken at all.
    pub(crate) fn failed(bench: Bench, error: &anyhow::Error) -> Self {
        let title = format!("{bench:?}");
        Self { title, notes: vec![format!("Not measured: {error:#}.")], ..Self::default() }
    }

    fn markdown(&self, page: &mut String) {
        if !self.rows.is_empty() {
            self.table(page);
            page.push('\n');
        }
        for (what, count) in &self.counts {
            let _ = writeln!(page, "- {what}: {count}.");
        }
        for note in &self.notes {
            let _ = writeln!(page, "- {note}");
        }
        for system in &self.systems {
            let _ = match &system.state {
                Ok(version) => writeln!(page, "- {}: {version}.", system.name),
                Err(reason) => writeln!(page, "- {}: absent, {reason}.", system.name),
            };
        }
        self.failures(page);
    }

    /// Rounds that gave no figure; the others of the case stand in the table.
    fn failures(&self, page: &mut String) {
        for row in &self.rows {
            for (system, figures) in self.systems.iter().zip(&row.figures) {
                if let Some(failure) = figures.as_ref().and_then(|f| f.failure.as_ref()) {
                    let (name, case) = (&system.name, &row.case);
                    let _ = writeln!(
                        page,
                        "- {name}, {case} {}: a round failed, {failure}.",
                        self.case
                    );
                }
            }
        }
    }

    fn table(&self, page: &mut String) {
        let peers = || self.systems.iter().skip(1);
        let mut head = vec![self.case.clone()];
        head.extend(self.systems.iter().map(|s| format!("{} ({})", s.name, self.unit)));
        head.extend(peers().map(|peer| format!("ratio to {}", peer.name)));
        let latency = self.rows.iter().any(Row::has_latency);
        if latency {
            head.extend(self.systems.iter().map(|s| format!("{} p50 / p99 ms", s.name)));
        }
        let cpu = self.rows.iter().any(Row::has_cpu);
        if cpu {
            head.extend(self.systems.iter().map(|s| format!("{} CPU µs: daemons + load", s.name)));
        }
        let rule: Vec<&str> =
            (0..head.len()).map(|column| if column == 0 { "---" } else { "---:" }).collect();
        let _ = writeln!(page, "| {} |\n| {} |", head.join(" | "), rule.join(" | "));
        for row in &self.rows {
            let mut cells = vec![row.case.clone()];
            cells.extend(row.figures.iter().map(rate_cell));
            cells.extend((1..self.systems.len()).map(|peer| row.ratio(peer, self.less_is_better)));
            if latency {
                cells.extend(row.figures.iter().map(latency_cell));
            }
            if cpu {
                cells.extend(row.figures.iter().map(cpu_cell));
            }
            let _ = writeln!(page, "| {} |", cells.join(" | "));
        }
    }
}

impl Row {
    fn has_latency(&self) -> bool {
        self.figures.iter().flatten().any(|figures| !figures.p50_ms.is_empty())
    }

    fn has_cpu(&self) -> bool {
        self.figures.iter().flatten().any(|figures| !figures.daemons_cpu_us.is_empty())
    }

    fn ratio(&self, peer: usize, less_is_better: bool) -> String {
        let median = |i: usize| self.figures.get(i)?.as_ref()?.median();
        let pair =
            if less_is_better { (median(peer), median(0)) } else { (median(0), median(peer)) };
        match pair {
            (Some(ours), Some(theirs)) if theirs > 0.0 => format!("{:.2}", ours / theirs),
            _ => "–".to_owned(),
        }
    }
}

fn rate_cell(figures: &Option<Figures>) -> String {
    let Some(figures) = figures else { return "absent".to_owned() };
    let errors =
        if figures.errors == 0 { String::new() } else { format!(", {} failed", figures.errors) };
    match (figures.median(), figures.range()) {
        (Some(median), Some((low, high))) => {
            format!("{} ({}–{}){errors}", plain(median), plain(low), plain(high))
        }
        _ => "failed".to_owned(),
    }
}

fn latency_cell(figures: &Option<Figures>) -> String {
    let ms = |values: &[f64]| median(values).map(|ms| format!("{ms:.1}"));
    let both = figures.as_ref().and_then(|f| Some((ms(&f.p50_ms)?, ms(&f.p99_ms)?)));
    both.map_or_else(|| "–".to_owned(), |(p50, p99)| format!("{p50} / {p99}"))
}

fn cpu_cell(figures: &Option<Figures>) -> String {
    let us = |values: &[f64]| median(values).map(|us| format!("{us:.0}"));
    let both =
        figures.as_ref().and_then(|f| Some((us(&f.daemons_cpu_us)?, us(&f.clients_cpu_us)?)));
    both.map_or_else(|| "–".to_owned(), |(daemons, load)| format!("{daemons} + {load}"))
}

/// Three figures are all that such a measurement carries.
fn plain(value: f64) -> String {
    let decimals = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_peer_is_said_to_be_absent() {
        let figures = |rounds: &[f64]| Figures { rounds: rounds.to_vec(), ..Figures::default() };
        let section = Section {
            title: "Jobs".into(),
            unit: "jobs/s".into(),
            case: "slots".into(),
            systems: vec![
                System::new("trainyard", &Ok("1"), |v| (*v).to_owned()),
                System::new("slurm", &Err::<(), _>(anyhow::anyhow!("not installed")), |()| {
                    String::new()
                }),
                System::new("hq", &Ok("2"), |v| (*v).to_owned()),
            ],
            rows: vec![Row {
                case: "8".into(),
                figures: vec![
                    Some(figures(&[90.0, 110.0, 100.0])),
                    None,
                    Some(Figures { failure: Some("it hung".into()), ..figures(&[50.0]) }),
                ],
            }],
            notes: vec!["As it is.".into()],
            ..Section::default()
        };
        let mut page = String::new();
        section.markdown(&mut page);
        let expected = "\
            | slots | trainyard (jobs/s) | slurm (jobs/s) | hq (jobs/s) | ratio to slurm | ratio to hq |\n\
            | --- | ---: | ---: | ---: | ---: | ---: |\n\
            | 8 | 100 (90.0–110) | absent | 50.0 (50.0–50.0) | – | 2.00 |\n\n\
            - As it is.\n- trainyard: 1.\n- slurm: absent, not installed.\n- hq: 2.\n\
            - hq, 8 slots: a round failed, it hung.\n";
        assert_eq!(page, expected);
    }
}
