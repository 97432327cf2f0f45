//! The table of workload traces in `tests/bench/RESULTS.md`: Trainyard's policies beside published
//! and reference figures, on traces that lie elsewhere.
//!
//! `cargo run --release -p trainyard-sim --example traces -- FOLDER [RESULTS]` reads
//! `trace1.csv.gz` … `philly82k.csv.gz` and `baselines.csv` of FOLDER, prints the section, and
//! keeps it as `traces.md` in RESULTS and in the page of results beside that folder. `--drawn`
//! instead of a folder replays the drawn workload alone, and says how long that takes.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    time::Instant,
};

use trainyard_jobs::{Millis, Policy, ProjectName, QueueSpec, queue::ROOT};
use trainyard_sim::{Cluster, Figures, Setting, Shape, generate, read, replay};

/// The section's title in the page.
const TITLE: &str = "## Workload traces";

/// Inputs with the clusters that they are replayed on.
const INPUTS: [(&str, &str); 5] = [
    ("trace1", "8x8:v100"),
    ("trace2", "8x8:v100"),
    ("trace3", "8x8:v100"),
    ("trace4", "8x8:v100"),
    ("philly82k", "52x8"),
];

/// Rows of others: what the table calls them, the policy and the source's beginning.
const OTHERS: [(&str, &str, &str); 5] = [
    ("Tiresias-L (published)", "Tiresias_L", "published"),
    ("Themis (published)", "themis", "published"),
    ("log2-LAS, knows nothing (reference simulator)", "las", "refsim R=60s"),
    ("SRSF, true durations (reference simulator)", "srsf", "refsim R=60s"),
    ("Muri-S, shares GPUs (published)", "Muri_S", "published"),
];

/// Rows of ours: what the table calls them, the policy, whether run times are known.
const OURS: [(&str, Policy, bool); 3] = [
    ("**`las`**", Policy::Las, false),
    ("**`srsf`**, true durations", Policy::Srsf, true),
    ("**`auto`**, progress reports off by 10 %", Policy::Auto, false),
];

/// The drawn workload: jobs and a cluster, as `yard sim --generate` takes them.
const DRAWN: (usize, &str) = (100_000, "52x8");

/// The row of what no schedule is below.
const BOUND: &str = "no schedule can be below (mean; see `bound.rs` of `trainyard-sim`)";

/// Mean and slowest completion times in seconds; the latter is no number where nobody says.
type Times = (f64, f64);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let folder = arguments.next().ok_or("give the folder of the traces, or `--drawn`")?;
    if folder.as_os_str() == "--drawn" {
        writeln!(std::io::stdout(), "{:.1} s", drawn()?)?;
        return Ok(());
    }
    let others = baselines(&folder.join("baselines.csv"))?;
    let begun = Instant::now();
    let mut rows: Vec<(String, Vec<Option<Times>>)> = OTHERS
        .iter()
        .map(|(name, policy, source)| {
            let of = |(input, _): &(&str, &str)| others.get(&key(input, policy, source)).copied();
            ((*name).to_owned(), INPUTS.iter().map(of).collect())
        })
        .collect();
    let mut bounds = Vec::new();
    for (name, policy, known) in OURS {
        let mut times = Vec::new();
        bounds.clear();
        for (input, cluster) in INPUTS {
            let figures = run(&folder.join(format!("{input}.csv.gz")), cluster, policy, known)?;
            times.push(Some((figures.avg_jct_s, figures.p99_jct_s)));
            bounds.push(Some((figures.bound_avg_jct_s, f64::NAN)));
        }
        rows.push((name.to_owned(), times));
    }
    rows.push((BOUND.to_owned(), bounds));
    let begun = begun.elapsed().as_secs_f64();
    let section = section(&rows, begun, drawn()?)?;
    std::io::stdout().write_all(section.as_bytes())?;
    match arguments.next() {
        Some(results) => {
            std::fs::write(results.join("traces.md"), &section)?;
            Ok(put(&results.with_file_name("RESULTS.md"), &section)?)
        }
        None => Ok(()),
    }
}

/// Draws and replays a large workload under `auto`. Gives the seconds that it took.
fn drawn() -> Result<f64, Box<dyn Error>> {
    let (jobs, cluster) = (DRAWN.0, Cluster::read(DRAWN.1)?);
    let begun = Instant::now();
    let workload = generate(&Shape { jobs, gpus: cluster.gpus(), ..Shape::default() }, 0)?;
    let outcome = replay(&workload, &cluster, &setting(Policy::Auto, false)?)?;
    let figures = Figures::of("auto", &outcome);
    if figures.finished != figures.jobs {
        return Err(format!("{} drawn jobs of {jobs} ended", figures.finished).into());
    }
    Ok(begun.elapsed().as_secs_f64())
}

fn setting(policy: Policy, known: bool) -> Result<Setting, Box<dyn Error>> {
    let restart_cost = Millis(60_000);
    let spec = QueueSpec {
        policy: Some(policy),
        restart_cost: Some(restart_cost),
        ..QueueSpec::default()
    };
    Ok(Setting {
        queues: vec![(ROOT.parse()?, spec)],
        restart_cost,
        noise: if known { 0.0 } else { 0.1 },
        known_durations: known,
        ..Setting::default()
    })
}

fn run(path: &Path, cluster: &str, policy: Policy, known: bool) -> Result<Figures, Box<dyn Error>> {
    let project: ProjectName = "default".parse()?;
    let workload = read(path, None)?.as_one_project(&project);
    let begun = Instant::now();
    let outcome = replay(&workload, &Cluster::read(cluster)?, &setting(policy, known)?)?;
    let figures = Figures::of(policy.as_str(), &outcome);
    let mut err = std::io::stderr();
    writeln!(
        err,
        "{} {policy}: mean {:.0} s, p99 {:.0} s, {} stops, {:.1} s",
        path.display(),
        figures.avg_jct_s,
        figures.p99_jct_s,
        figures.preemptions,
        begun.elapsed().as_secs_f64()
    )?;
    if figures.finished != figures.jobs {
        return Err(format!("{} jobs of {} ended", figures.finished, figures.jobs).into());
    }
    Ok(figures)
}

fn key(input: &str, policy: &str, source: &str) -> String {
    let source = source.split(':').next().unwrap_or_default();
    format!("{input} {policy} {source}")
}

fn baselines(path: &Path) -> Result<BTreeMap<String, Times>, Box<dyn Error>> {
    let mut reader = csv::Reader::from_path(path)?;
    let mut found = BTreeMap::new();
    for line in reader.deserialize::<BTreeMap<String, String>>() {
        let line = line?;
        let get = |name: &str| line.get(name).map_or("", String::as_str);
        let Ok(mean) = get("avg_jct_s").parse() else { continue };
        let slowest = get("p99_jct_s").parse().unwrap_or(f64::NAN);
        found.insert(key(get("input"), get("policy"), get("source")), (mean, slowest));
    }
    Ok(found)
}

fn section(
    rows: &[(String, Vec<Option<Times>>)],
    took_s: f64,
    drawn_s: f64,
) -> Result<String, std::fmt::Error> {
    let mut text = format!("{TITLE}\n\n| mean (p99) completion, 1000 s |");
    for (input, _) in INPUTS {
        write!(text, " {input} |")?;
    }
    text.push_str("\n| --- |");
    text.push_str(&" ---: |".repeat(INPUTS.len()));
    text.push('\n');
    for (name, times) in rows {
        write!(text, "| {name} |")?;
        for time in times {
            match time {
                Some((mean, slowest)) if slowest.is_nan() => {
                    write!(text, " {} |", thousands(*mean))?
                }
                Some((mean, slowest)) => {
                    write!(text, " {} ({}) |", thousands(*mean), thousands(*slowest))?
                }
                None => text.push_str(" – |"),
            }
        }
        text.push('\n');
    }
    let date = jiff::Zoned::now().strftime("%Y-%m-%d").to_string();
    write!(
        text,
        "\n- Taken {date} with `cargo run --release -p trainyard-sim --example traces -- FOLDER \
         tests/bench/results` in {took_s:.0} s. 8 nodes of 8 GPUs; `philly82k` as one project on 52. \
         60 s are lost at each resume; a gang sits on no more nodes than it needs.\n\
         - The traces are Muri's (SIGCOMM '22, of Microsoft Philly) and Pollux's (OSDI '21, of the \
         same); the figures of others come with them.\n\
         - {} drawn jobs on {} nodes x GPUs, under `auto`, drawn and replayed: {drawn_s:.0} s.\n",
        DRAWN.0, DRAWN.1
    )?;
    Ok(text)
}

fn thousands(seconds: f64) -> String {
    let value = seconds / 1000.0;
    if value < 1000.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// Puts the section into a page: where it was, or at the end.
fn put(page: &Path, section: &str) -> std::io::Result<()> {
    let text = std::fs::read_to_string(page)?;
    let (before, rest) = text.split_once(TITLE).unwrap_or((&text, ""));
    let after = rest.find("\n## ").and_then(|at| rest.get(at..)).unwrap_or_default();
    std::fs::write(page, format!("{}\n\n{section}{after}", before.trim_end()))
}
