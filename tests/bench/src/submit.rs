//! Durable submits a second: three schedulers beside three members of etcd. Both keep a quorum's
//! disks in step before they answer; the same load generator sends the same number of bytes,
//! each client over a connection of its own, straight to the leader. It speaks gRPC over bare
//! HTTP/2, so that as little as possible of the machine goes into asking.

use std::time::Duration;

use crate::{
    args::Args,
    cluster,
    process::cpu,
    progress,
    report::{Row, Section, System},
    rounds::{Figures, order},
};

pub(crate) mod etcd;
mod load;
mod unary;
mod yard;

/// Of a job's spec, and of etcd's value.
const BODY: usize = 1024;
/// Each has a connection of its own.
const MOST_CLIENTS: usize = 1000;

/// A system that takes writes.
enum Target {
    Yard(Box<cluster::Cluster>),
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

    fn cpu(&self) -> f64 {
        match self {
            Self::Yard(cluster) => cluster.cpu(),
            Self::Etcd(etcd) => etcd.cpu(),
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Yard(_) => "trainyard",
            Self::Etcd(_) => "etcd",
        }
    }

    fn version(&self) -> String {
        match self {
            Self::Yard(cluster) => cluster.version(),
            Self::Etcd(etcd) => format!("version {}", etcd.version()),
        }
    }
}

/// One case's rounds of one system, added up.
async fn take(target: &mut Target, clients: usize, span: Duration, figures: &mut Figures) {
    let (daemons, own) = (target.cpu(), cpu("self"));
    match target.load(clients, span).await {
        Ok(taken) => {
            let name = target.name();
            progress(&format!("submit: {clients} clients, {name}: {:.0}/s", taken.rate));
            if let Some(refusal) = taken.refusal {
                progress(&format!("submit: {} failed: {refusal}", taken.errors));
            }
            let each = |seconds: f64| 1e6 * seconds / f64::from(taken.count.max(1));
            figures.daemons_cpu_us.push(each(target.cpu() - daemons));
            figures.clients_cpu_us.push(each(cpu("self") - own));
            figures.rounds.push(taken.rate);
            figures.p50_ms.push(taken.p50_ms);
            figures.p99_ms.push(taken.p99_ms);
            figures.errors += taken.errors;
        }
        Err(error) => figures.failure = Some(format!("{error:#}")),
    }
}

fn wanted(args: &Args, name: &str) -> anyhow::Result<()> {
    let skipped = args.only.as_ref().is_some_and(|only| only != name);
    if skipped { Err(anyhow::anyhow!("not asked for")) } else { Ok(()) }
}

async fn start_yard(args: &Args) -> anyhow::Result<Target> {
    wanted(args, "trainyard")?;
    let cluster = cluster::Cluster::start(&args.yard(), &args.data, 3).await?;
    Ok(Target::Yard(Box::new(cluster)))
}

async fn start_etcd(args: &Args) -> anyhow::Result<Target> {
    wanted(args, "etcd")?;
    etcd::Etcd::start(&args.data).await.map(Target::Etcd)
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Section> {
    let yard = start_yard(args).await;
    let etcd = start_etcd(args).await;
    let systems = vec![
        System::new("trainyard", &yard, Target::version),
        System::new("etcd", &etcd, Target::version),
    ];
    let mut targets = [yard.ok(), etcd.ok()];
    let span = Duration::from_secs_f64(args.seconds.clamp(0.1, 60.0));
    let mut rows = Vec::new();
    for clients in args.clients.iter().map(|count| (*count).clamp(1, MOST_CLIENTS)) {
        let mut figures: Vec<Option<Figures>> =
            targets.iter().map(|target| target.as_ref().map(|_| Figures::default())).collect();
        for round in 0..args.rounds {
            for i in order(targets.len(), round) {
                let target = targets.get_mut(i).and_then(Option::as_mut);
                if let (Some(target), Some(Some(figures))) = (target, figures.get_mut(i)) {
                    take(target, clients, span, figures).await;
                }
            }
        }
        rows.push(Row { case: clients.to_string(), figures });
    }
    let notes = notes(args.rounds, span);
    Ok(Section {
        title: "Durable submits".to_owned(),
        unit: "submits/s".to_owned(),
        case: "clients".to_owned(),
        systems,
        rows,
        notes,
        ..Section::default()
    })
}

fn notes(rounds: u32, span: Duration) -> Vec<String> {
    vec![
        format!(
            "Three members each, all on one disk, every answer after a quorum's fsync; {BODY} \
             bytes a submit (a job's spec; etcd: a value under a new key); {rounds} rounds of \
             {:.1} s. Every client proves itself by a certificate over TLS 1.3, to both systems; \
             etcd's members speak to each other in the clear, Trainyard's do not.",
            span.as_secs_f64()
        ),
        "A submit is checked, deduplicated by its key and queued as a job; etcd's put is a put."
            .to_owned(),
        "CPU: processor time a submit, of all three members and of the load generator, which \
         shares the machine's cores with them."
            .to_owned(),
    ]
}
