//! The plain driver: a target's corpus as it is, then seeded damage to it, on any Rust. Knows no
//! coverage; libFuzzer does, and finds more in hours. This finds what breaks soon.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use crate::{
    Target, corpus,
    mutate::{Draw, mutate},
};

/// An input that takes longer has hung the target.
const SLOW: Duration = Duration::from_secs(5);

/// What a run does.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Where the sequence of damage begins.
    pub seed: u64,
    /// At most so many damaged inputs.
    pub inputs: u64,
    /// At most so long.
    pub time: Duration,
}

/// Runs a target on its corpus and on damage to it; gives the number of inputs.
///
/// # Errors
/// When an input breaks the target: it names the file that holds the input.
pub fn run(target: &Target, budget: Budget) -> anyhow::Result<u64> {
    let corpus = corpus::read(target.name)?;
    ensure!(!corpus.is_empty(), "{} has no corpus", target.name);
    for (name, input) in &corpus {
        feed(target, input).with_context(|| format!("corpus/{}/{name}", target.name))?;
    }
    let mut draw = Draw::new(budget.seed);
    let begun = Instant::now();
    let mut done = 0;
    while done < budget.inputs && begun.elapsed() < budget.time {
        let pick = |draw: &mut Draw| {
            corpus.get(draw.below(corpus.len())).map_or(&[][..], |(_, input)| input.as_slice())
        };
        let (input, other) = (pick(&mut draw), pick(&mut draw));
        let input = mutate(&mut draw, input, other, target.longest);
        if let Err(error) = feed(target, &input) {
            bail!("{error:#}; the input is kept in {}", keep(target, &input)?.display());
        }
        done += 1;
    }
    Ok(done)
}

fn feed(target: &Target, input: &[u8]) -> anyhow::Result<()> {
    let begun = Instant::now();
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        bail!("{} panicked on an input of {} bytes", target.name, input.len());
    }
    ensure!(begun.elapsed() < SLOW, "{} took {:?}", target.name, begun.elapsed());
    Ok(())
}

/// Keeps an input that broke a target, where no build cleans it away.
fn keep(target: &Target, input: &[u8]) -> anyhow::Result<PathBuf> {
    let folder = std::env::temp_dir().join("trainyard-fuzz");
    fs::create_dir_all(&folder)?;
    let digest = trainyard_jobs::Digest::of(input).to_string();
    let short: String = digest.chars().rev().take(12).collect();
    let path = folder.join(format!("{}-{short}", target.name));
    fs::write(&path, input)?;
    Ok(path)
}
