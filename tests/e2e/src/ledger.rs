//! What must hold when a test's faults are over, whatever they were: a job that trained through
//! them still has the ranks that it had, every acknowledged job exists once and ran to its end, one
//! model version is registered, and replicas at the same index have the same state.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, ensure};

use crate::{
    Cluster, specs, until,
    view::{Job, List, Member},
};

const SOON: Duration = Duration::from_secs(30);
const ENDED: Duration = Duration::from_secs(60);

/// A job that trains through the faults, and what it was when they began.
#[derive(Debug)]
pub struct Ledger {
    job: String,
    ranks: Vec<(u32, i32)>,
    acknowledged: BTreeSet<String>,
}

/// Two ranks on two nodes that count until they are told to end, and leave a model.
fn counting(cluster: &Cluster) -> String {
    let go = cluster.client().join("go").display().to_string();
    let script = format!(
        "i=0; while [ ! -e {go} ]; do echo \"rank=$RANK tick=$i.\"; i=$((i+1)); sleep 0.05; done; \
         echo \"rank=$RANK last=$i.\"; [ $RANK != 0 ] || echo 1 > $YARD_ARTIFACT_DIR/weights"
    );
    let spec = specs::shell(&script)
        .replace("gpus = 2", "gpus = 2\nmax_ranks_per_node = 1")
        .replace("name = \"shell\"", "name = \"counting\"");
    format!("{spec}[register]\nmodel = \"counting\"\n")
}

impl Ledger {
    /// Starts the job and waits until it runs.
    pub fn open(cluster: &Cluster) -> anyhow::Result<Self> {
        let job = cluster.submit(&counting(cluster))?;
        let running = |found: &Job| found.phase == "running";
        cluster.job_when(&job, "the counting job to run", SOON, running)?;
        let ranks = cluster.wait_for_ranks(2, SOON)?;
        Ok(Self { acknowledged: BTreeSet::from([job.clone()]), job, ranks })
    }

    /// The job that counts.
    #[must_use]
    pub fn job(&self) -> &str {
        &self.job
    }

    /// Adds jobs that were acknowledged and must run to their end.
    pub fn acknowledged(&mut self, jobs: impl IntoIterator<Item = String>) {
        self.acknowledged.extend(jobs);
    }

    /// The ranks are the processes that they were.
    pub fn check_ranks(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let now = cluster.ranks_of(&self.job);
        ensure!(now == self.ranks, "ranks {:?} became {now:?}", self.ranks);
        Ok(())
    }

    /// Ends the job and checks everything. All schedulers must be up.
    pub fn close(self, cluster: &Cluster) -> anyhow::Result<()> {
        self.check_ranks(cluster)?;
        cluster.write("go", "")?;
        for job in &self.acknowledged {
            let done = |found: &Job| found.phase == "succeeded";
            cluster.job_when(job, &format!("{job} to succeed"), ENDED, done)?;
        }
        let counted = cluster.job(&self.job)?;
        ensure!(counted.attempts.len() == 1, "a healthy job was started again: {counted:#?}");
        check_count(&cluster.run(&["logs", &self.job])?.ok()?.stdout, 2)?;
        let versions = cluster.models()?;
        let of_it = versions.iter().filter(|version| version.lineage.job == self.job).count();
        ensure!(of_it == 1, "one run, {of_it} versions: {versions:#?}");
        let all: List<Job> = cluster.json(&["ps", "--all"])?;
        let known: BTreeSet<String> = all.items.into_iter().map(|job| job.id).collect();
        ensure!(
            known == self.acknowledged,
            "lost: {:?}, unasked: {:?}",
            self.acknowledged.difference(&known).collect::<Vec<_>>(),
            known.difference(&self.acknowledged).collect::<Vec<_>>()
        );
        check_hashes(cluster)
    }
}

/// All members are level, and have the same state.
pub fn check_hashes(cluster: &Cluster) -> anyhow::Result<()> {
    let hashes: BTreeSet<_> = until("the replicas to be level", SOON, || {
        let status = cluster.status()?;
        ensure!(status.schedulers.len() == cluster.members(), "not all answer");
        ensure!(status.schedulers.iter().all(|one| one.state_hash.is_some()), "not all are up");
        // A hash may be older than what is applied: it says itself of which index it is.
        let of = |one: &Member| (one.applied, one.state_hash_index);
        let level: BTreeSet<_> = status.schedulers.iter().map(of).collect();
        let hashes = status.schedulers.into_iter().map(|one| one.state_hash).collect();
        Ok((level.len() == 1).then_some(hashes))
    })?;
    ensure!(hashes.len() == 1, "equal index, different states: {hashes:?}");
    Ok(())
}

/// The counts of the first `ranks` ranks are all there in `logs`, up to the last.
pub fn check_count(logs: &str, ranks: u32) -> anyhow::Result<()> {
    for rank in 0..ranks {
        let mark = format!("rank={rank} ");
        let (mut ticks, mut last) = (0, None);
        for line in logs.lines().filter_map(|line| Some(line.split_once(&mark)?.1)) {
            if let Some(number) = line.strip_prefix("last=") {
                last = Some(number.trim_end_matches('.').parse::<usize>()?);
            } else {
                ensure!(
                    line == format!("tick={ticks}."),
                    "tick {ticks} of rank {rank} is {line:?}"
                );
                ticks += 1;
            }
        }
        let last = last.with_context(|| format!("rank {rank} did not tell its last tick"))?;
        ensure!(last == ticks, "rank {rank} told {ticks} of {last} ticks");
    }
    Ok(())
}
