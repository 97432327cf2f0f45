//! The time without a leader: from its SIGKILL to the next acknowledged write of a client that
//! retries by itself, and the gap in acknowledgements when it is stopped in good order, beside
//! etcd. And what faults may cost besides: nothing of ranks and jobs, and a lost worker's job a
//! grace and a little more.

use std::time::{Duration, Instant};

use crate::{
    args::Args,
    progress,
    report::{Row, Section, System},
    rounds::{Figures, percentile},
};

mod client;
mod etcd;
mod loss;
mod ranks;
mod yard;

/// The load runs so long before a leader is stopped in good order, and so long after.
const BEFORE: Duration = Duration::from_millis(100);
const AFTER: Duration = Duration::from_millis(600);
/// The pause between two writes of that load.
const REST: Duration = Duration::from_millis(3);

/// A system whose leader dies.
trait Peer {
    /// One write of the client that retries.
    async fn write(&mut self) -> anyhow::Result<()>;
    /// Who leads, by the client's last answer.
    fn leader(&self) -> usize;
    fn kill(&mut self, member: usize) -> anyhow::Result<()>;
    /// Starts a member again and waits until it has all that the leader has.
    async fn restart(&mut self, member: usize) -> anyhow::Result<()>;
    /// Stops a leader in good order under load; the longest gap between two acknowledgements.
    async fn transfer(&mut self, member: usize, rest: Duration) -> anyhow::Result<Duration>;
    fn version(&self) -> String;
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Section> {
    let mut section = Section {
        title: "Failover".to_owned(),
        unit: "ms".to_owned(),
        case: "what happens".to_owned(),
        less_is_better: true,
        ..Section::default()
    };
    let started = yard::Yard::start(&args.yard(), &args.data).await;
    section.systems.push(System::new("trainyard", &started, Peer::version));
    let mut ours = [None, None];
    if let Ok(mut yard) = started {
        ours = faults(&mut yard, "trainyard", args.kills, args.transfers).await;
        section.counts.insert("healthy ranks stopped".to_owned(), yard.stopped_ranks());
        let acknowledged = u64::try_from(yard.acknowledged())?;
        section.counts.insert("jobs acknowledged".to_owned(), acknowledged);
        section.counts.insert("jobs lost or doubled".to_owned(), yard.lost_jobs().await?);
    }
    let mut all = vec![ours];
    for (name, settings) in [("etcd", &[][..]), ("etcd, elections as ours", &etcd::TUNED[..])] {
        let started = etcd::Keeper::start(&args.data, settings).await;
        section.systems.push(System::new(name, &started, Peer::version));
        all.push(match started {
            Ok(mut keeper) => faults(&mut keeper, name, args.peer_kills, args.peer_kills).await,
            Err(_) => [None, None],
        });
    }
    let losses = loss::run(&args.yard(), &args.data, args.losses).await;
    let case = |what: &str, figures| Row { case: what.to_owned(), figures };
    let (mut kills, mut transfers) = (Vec::new(), Vec::new());
    for [kill, transfer] in all {
        kills.push(kill);
        transfers.push(transfer);
    }
    section.rows = vec![
        case("SIGKILL of the leader", kills),
        case("SIGTERM to the leader", transfers),
        case("requeue beyond the grace", vec![Some(figures(losses)), None, None]),
    ];
    section.notes = notes(args);
    Ok(section)
}

/// Kills, then transfers.
async fn faults(
    peer: &mut impl Peer,
    name: &str,
    kills: u32,
    transfers: u32,
) -> [Option<Figures>; 2] {
    let mut killed = Vec::new();
    let mut failed = None;
    for number in 0..kills {
        match kill(peer, number).await {
            Ok(span) => killed.push(span.as_secs_f64() * 1e3),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
        if number % 20 == 19 {
            progress(&format!("failover: {name}: {} leaders killed", number + 1));
        }
    }
    let first = finish(killed, failed.take());
    let mut gaps = Vec::new();
    for _ in 0..transfers {
        match transfer(peer).await {
            Ok(span) => gaps.push(span.as_secs_f64() * 1e3),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    progress(&format!("failover: {name}: {} leaders stopped", gaps.len()));
    [Some(first), Some(finish(gaps, failed))]
}

/// One death of a leader: the time to the next acknowledgement.
async fn kill(peer: &mut impl Peer, number: u32) -> anyhow::Result<Duration> {
    peer.write().await?;
    let leader = peer.leader();
    // Deaths fall at all times between two heartbeats.
    tokio::time::sleep(Duration::from_millis(u64::from(number * 37 % 200))).await;
    let killed = Instant::now();
    peer.kill(leader)?;
    peer.write().await?;
    let span = killed.elapsed();
    peer.restart(leader).await?;
    Ok(span)
}

async fn transfer(peer: &mut impl Peer) -> anyhow::Result<Duration> {
    peer.write().await?;
    let leader = peer.leader();
    let gap = peer.transfer(leader, REST).await?;
    // The client of single writes finds the new leader.
    peer.write().await?;
    peer.restart(leader).await?;
    Ok(gap)
}

fn finish(spans: Vec<f64>, failed: Option<anyhow::Error>) -> Figures {
    match failed {
        Some(error) => Figures { failure: Some(format!("{error:#}")), ..figures(Ok(spans)) },
        None => figures(Ok(spans)),
    }
}

fn figures(spans: anyhow::Result<Vec<f64>>) -> Figures {
    match spans {
        Ok(rounds) => {
            let mut sorted = rounds.clone();
            let p50_ms = percentile(&mut sorted, 50).into_iter().collect();
            let p99_ms = percentile(&mut sorted, 99).into_iter().collect();
            Figures { rounds, p50_ms, p99_ms, ..Figures::default() }
        }
        Err(error) => Figures { failure: Some(format!("{error:#}")), ..Figures::default() },
    }
}

fn notes(args: &Args) -> Vec<String> {
    vec![
        format!(
            "Three members each on one machine. Ours: {} kills, {} stops in good order; etcd: {} of \
             each. Every system is asked by the same client, over its members in turn, with pauses \
             of 20 to 100 ms between rounds, and each killed member is back and level before the next \
             dies.",
            args.kills, args.transfers, args.peer_kills
        ),
        "SIGKILL: from the kill to the next acknowledged write. SIGTERM: the longest span between \
         two acknowledgements of a client that writes every 3 ms."
            .to_owned(),
        "etcd as it ships: heartbeats every 100 ms, elections after 1000 to 2000 ms of silence; \
         «elections as ours»: `--heartbeat-interval 100 --election-timeout 500`."
            .to_owned(),
        format!(
            "Requeue: {} times a worker is killed with its shim and ranks; counted from the \
             leader's last contact with it plus a grace of 3 s.",
            args.losses
        ),
        "Ranks are compared by process id, jobs by key: four ranks on two workers run through \
         all kills and stops."
            .to_owned(),
    ]
}
