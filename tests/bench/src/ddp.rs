//! Data-parallel steps a second: `yard-train` beside Python's `DistributedDataParallel`, on the
//! same libtorch, two ranks with one thread each over Gloo.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::{
    args::Args,
    cluster::scratch,
    process::{self, output},
    progress,
    report::{Row, Section, System},
    rounds::{Figures, order},
};

const WIDTHS: [u32; 3] = [64, 512, 1024];
const BATCH: u32 = 64;
const RANKS: u32 = 2;

/// A trainer and how it is called.
struct Trainer {
    program: PathBuf,
    script: Option<PathBuf>,
}

/// The parts of a rank's report that are used.
#[derive(serde::Deserialize)]
struct RankResult {
    steps_per_s: f64,
    last_loss: f64,
}

impl Trainer {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        match &self.script {
            Some(script) => command.arg(script),
            None => command.arg("bench-ddp"),
        };
        command
    }

    /// What the slowest rank that reports says: ranks move in step.
    async fn run(&self, width: u32, steps: u32, dir: &Path) -> anyhow::Result<RankResult> {
        let numbers = [
            ("--ranks", RANKS),
            ("--width", width),
            ("--batch-size", BATCH),
            ("--steps", steps),
            ("--warmup", (steps / 10).max(5)),
            ("--threads", 1),
        ];
        let mut command = self.command();
        for (flag, value) in numbers {
            command.arg(flag).arg(value.to_string());
        }
        let text = process::run("trainer", &mut command, dir).await?;
        let ranks = text.lines().filter(|line| line.starts_with('{'));
        let ranks: Vec<RankResult> = ranks.map(serde_json::from_str).collect::<Result<_, _>>()?;
        let slower = |a: &RankResult, b: &RankResult| a.steps_per_s.total_cmp(&b.steps_per_s);
        ranks.into_iter().min_by(slower).context("no rank reported")
    }
}

fn ours(program: PathBuf) -> anyhow::Result<(Trainer, String)> {
    if !program.is_file() {
        bail!("it is not built: cargo build --release -p trainyard-train");
    }
    let version = output(Command::new(&program).arg("--version"))?;
    Ok((Trainer { program, script: None }, version))
}

fn python(program: PathBuf) -> anyhow::Result<(Trainer, String)> {
    let script = Path::new("worker/trainer/tests/bench_ddp.py");
    if !script.is_file() {
        bail!("{} is not here: run from the repository's root", script.display());
    }
    let query = "import torch; print('PyTorch', torch.__version__)";
    let version = output(Command::new(&program).args(["-c", query]))
        .context("no Python with PyTorch: make setup brings one, or set YARD_PYTHON")?;
    Ok((Trainer { program, script: Some(script.to_owned()) }, version))
}

/// Steps that take about as long at every width.
fn steps_at(width: u32, steps: u32) -> u32 {
    match width {
        64 => steps.saturating_mul(4),
        512 => steps,
        _ => (steps / 3).max(10),
    }
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Section> {
    let found = [ours(args.yard_train()), python(args.python())];
    let systems = ["yard-train", "python"]
        .iter()
        .zip(&found)
        .map(|(name, found)| System::new(name, found, |(_, version)| version.clone()))
        .collect();
    let dir = scratch(&args.data, "ddp-")?;
    let trainers = found.map(|found| found.ok().map(|(trainer, _)| trainer));
    let mut rows = Vec::new();
    let mut agreement = Vec::new();
    for width in WIDTHS {
        let mut losses = BTreeSet::new();
        let mut figures: Vec<Option<Figures>> =
            trainers.iter().map(|trainer| trainer.as_ref().map(|_| Figures::default())).collect();
        for round in 0..args.rounds {
            for i in order(trainers.len(), round) {
                let trainer = trainers.get(i).and_then(Option::as_ref);
                let (Some(trainer), Some(Some(figures))) = (trainer, figures.get_mut(i)) else {
                    continue;
                };
                let steps = steps_at(width, args.steps);
                match trainer.run(width, steps, dir.path()).await {
                    Ok(RankResult { steps_per_s: rate, last_loss }) => {
                        progress(&format!("ddp: width {width}, system {i}: {rate:.1}/s"));
                        figures.rounds.push(rate);
                        losses.insert(format!("{last_loss:.6}"));
                    }
                    Err(error) => figures.failure = Some(format!("{error:#}")),
                }
            }
        }
        agreement.push(format!("{} at width {width}", Vec::from_iter(losses).join(" and ")));
        rows.push(Row { case: width.to_string(), figures });
    }
    Ok(Section {
        title: "Data-parallel steps".to_owned(),
        unit: "steps/s".to_owned(),
        case: "width".to_owned(),
        systems,
        rows,
        notes: vec![
            format!(
                "A perceptron with momentum, {RANKS} ranks of one thread on the CPU, Gloo over \
                 loopback, {BATCH} samples a rank, {} rounds.",
                args.rounds
            ),
            format!(
                "The loss after the last step, of all that ran (one value means that they agree): \
                 {}.",
                agreement.join(", ")
            ),
        ],
        ..Section::default()
    })
}
