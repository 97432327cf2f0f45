//! Durable submits a second: three schedulers beside three members of etcd. Both keep a quorum's
//! disks in step before they answer; the same load generator sends the same number of bytes,
//! each client over a connection of its own, straight to the leader.

use std::time::Duration;

use crate::{
    args::Args,
    cluster, progress,
    report::{Row, Section, System},
    rounds::{Figures, order},
};

pub(crate) mod etcd;
mod load;
mod yard;

const CLIENTS: [usize; 3] = [1, 16, 64];
/// Of a job's spec, and of etcd's value.
const BODY: usize = 1024;

/// A system that takes writes.
enum Target {
    Yard(cluster::Cluster),
    Etcd(etcd::Etcd),
}

impl Target {
    async fn load(&mut self, clients: usize, span: Duration) -> anyhow::Result<load::Round> {
        match self {
            Self::Yard(cluster) => {
                cluster.check()?;
                load::run(yard::submitters(cluster, clients).await?, span).await
            }
            Self::Etcd(etcd) => {
                etcd.check()?;
                load::run(etcd.writers(clients).await?, span).await
            }
        }
    }

    fn version(&self) -> String {
        match self {
            Self::Yard(cluster) => cluster.version(),
            Self::Etcd(etcd) => format!("version {}", etcd.version()),
        }
    }
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Section> {
    let yard = cluster::Cluster::start(&args.yard(), &args.data, 3).await.map(Target::Yard);
    let etcd = etcd::Etcd::start(&args.data).await.map(Target::Etcd);
    let systems = vec![
        System::new("trainyard", &yard, Target::version),
        System::new("etcd", &etcd, Target::version),
    ];
    let mut targets = [yard.ok(), etcd.ok()];
    let span = Duration::from_secs_f64(args.seconds.clamp(0.1, 60.0));
    let mut rows = Vec::new();
    for clients in CLIENTS {
        let mut figures: Vec<Option<Figures>> =
            targets.iter().map(|target| target.as_ref().map(|_| Figures::default())).collect();
        for round in 0..args.rounds {
            for i in order(targets.len(), round) {
                let target = targets.get_mut(i).and_then(Option::as_mut);
                let (Some(target), Some(Some(figures))) = (target, figures.get_mut(i)) else {
                    continue;
                };
                match target.load(clients, span).await {
                    Ok(taken) => {
                        progress(&format!(
                            "submit: {clients} clients, system {i}: {:.0}/s",
                            taken.rate
                        ));
                        figures.rounds.push(taken.rate);
                        figures.p50_ms.push(taken.p50_ms);
                        figures.p99_ms.push(taken.p99_ms);
                        figures.errors += taken.errors;
                    }
                    Err(error) => figures.failure = Some(format!("{error:#}")),
                }
            }
        }
        rows.push(Row { case: clients.to_string(), figures });
    }
    Ok(Section {
        title: "Durable submits".to_owned(),
        unit: "submits/s".to_owned(),
        case: "clients".to_owned(),
        systems,
        rows,
        notes: vec![
            format!(
                "Three members each, all on one disk, every answer after a quorum's fsync; {BODY} \
                 bytes a submit (a job's spec; etcd: a value under a new key); {} rounds of {:.1} s.",
                args.rounds,
                span.as_secs_f64()
            ),
            "A submit is checked, deduplicated by its key and queued as a job; etcd's put is a put."
                .to_owned(),
        ],
        ..Section::default()
    })
}
