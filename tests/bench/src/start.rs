//! From a submit to the first instruction of the job's program, on a cluster that does nothing
//! else: what a scheduler puts between a researcher and a GPU that is free.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    args::Args,
    cluster::scratch,
    jobs::slurm::Slurm,
    process::wait_for,
    progress,
    report::{Row, Section, System},
    rounds::{Figures, median, order, percentile},
};

mod yard;

/// A job that has not begun by then never will.
const LIMIT: Duration = Duration::from_secs(30);

/// A cluster that runs programs.
#[async_trait::async_trait(?Send)]
trait Starter {
    /// Submits a job that runs `program` with bash.
    async fn submit(&mut self, program: &str) -> anyhow::Result<()>;

    /// Waits until nothing runs.
    async fn rest(&mut self) -> anyhow::Result<()>;

    fn version(&self) -> String;
}

#[async_trait::async_trait(?Send)]
impl Starter for Slurm {
    async fn submit(&mut self, program: &str) -> anyhow::Result<()> {
        self.batch(&format!("exec /bin/bash -c '{program}'")).map(drop)
    }

    async fn rest(&mut self) -> anyhow::Result<()> {
        wait_for("Slurm to rest", LIMIT, async || Ok(self.is_idle()?.then_some(()))).await
    }

    fn version(&self) -> String {
        Slurm::version(self)
    }
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Section> {
    let yard = yard::Yard::start(&args.yard(), &args.data).await.map(boxed);
    let slurm = Slurm::start(&args.data, 4).await.map(boxed);
    let systems = vec![
        System::new("trainyard", &yard, |cluster| cluster.version()),
        System::new("slurm", &slurm, |cluster| cluster.version()),
    ];
    let mut clusters = [yard.ok(), slurm.ok()];
    let mut figures: Vec<Option<Figures>> =
        clusters.iter().map(|cluster| cluster.as_ref().map(|_| Figures::default())).collect();
    let folder = scratch(&args.data, "start-")?;
    for round in 0..args.rounds {
        for i in order(clusters.len(), round) {
            let cluster = clusters.get_mut(i).and_then(Option::as_mut);
            let (Some(cluster), Some(Some(figures))) = (cluster, figures.get_mut(i)) else {
                continue;
            };
            match starts(cluster.as_mut(), folder.path(), args.starts).await {
                Ok(mut times) => {
                    figures.rounds.extend(median(&times));
                    figures.p50_ms.extend(percentile(&mut times, 50));
                    figures.p99_ms.extend(percentile(&mut times, 99));
                    progress(&format!("start: system {i}: {:.1?} ms", figures.rounds.last()));
                }
                Err(error) => figures.failure = Some(format!("{error:#}")),
            }
        }
    }
    Ok(Section {
        title: "Submit to start".to_owned(),
        unit: "ms".to_owned(),
        case: "cluster".to_owned(),
        systems,
        rows: vec![Row { case: "idle".to_owned(), figures }],
        less_is_better: true,
        notes: vec![
            format!(
                "From before the submit until bash, the job's program, reads the clock; {} jobs a \
                 round one after the other, {} rounds, nothing else runs.",
                args.starts, args.rounds
            ),
            "Trainyard: three schedulers and a worker, a client that is connected, over TLS. \
             Slurm: one controller and a node, `sbatch`, \
             `batch_sched_delay=0,sched_min_interval=0,sched_interval=1`."
                .to_owned(),
        ],
        ..Section::default()
    })
}

/// Milliseconds that each of `count` jobs took to begin.
async fn starts(cluster: &mut dyn Starter, folder: &Path, count: u32) -> anyhow::Result<Vec<f64>> {
    let stamp = folder.join("stamp");
    let program = format!("echo $EPOCHREALTIME > {}", stamp.display());
    let mut times = Vec::new();
    for _ in 0..count {
        cluster.rest().await?;
        let _ = std::fs::remove_file(&stamp);
        let submitted = SystemTime::now().duration_since(UNIX_EPOCH)?;
        cluster.submit(&program).await?;
        let began: f64 = wait_for("the job to begin", LIMIT, async || {
            Ok(std::fs::read_to_string(&stamp).ok().and_then(|text| text.trim().parse().ok()))
        })
        .await?;
        times.push((began - submitted.as_secs_f64()) * 1e3);
    }
    anyhow::ensure!(!times.is_empty(), "no job was asked for");
    Ok(times)
}

fn boxed<S: Starter + 'static>(cluster: S) -> Box<dyn Starter> {
    Box::new(cluster)
}
