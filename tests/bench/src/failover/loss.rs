//! A worker dies with all that runs on it: how long after its grace its job is queued again,
//! counted from the scheduler's last contact with it.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tonic::transport::Channel;
use trainyard_proto::v1::{
    CancelRequest, GetJobRequest, ListNodesRequest, client_client::ClientClient,
};

use super::{ranks, yard};
use crate::{
    cluster::Cluster,
    process::{stop_shims, wait_for},
};

/// Short, so that the benchmark is; the figure does not count it.
const GRACE: Duration = Duration::from_secs(3);
const SETTINGS: &str = "node_grace = \"3s\"";
const SOON: Duration = Duration::from_secs(60);
const WORKERS: u32 = 2;

/// Kills the worker of a one-rank job `times` times; gives what each requeue took beyond the
/// grace, in milliseconds.
pub(super) async fn run(program: &Path, data: &Path, times: u32) -> anyhow::Result<Vec<f64>> {
    let mut cluster = Cluster::start_with(program, data, 3, SETTINGS).await?;
    for number in 1..=WORKERS {
        cluster.add_worker_named(&format!("worker-{number}"), 1, number).await?;
    }
    let mut client = yard::client(&cluster, &yard::spec(&yard::TICKING, 1, false)?)?;
    let mut leader = cluster.leader().await?;
    let mut spans = Vec::new();
    for _ in 0..times {
        // A job of its own each time: one whose nodes are lost in a row waits longer and longer.
        let (_, job) = client.write().await?;
        let (attempts, holder) = running(&mut leader, &cluster, &job).await?;
        cluster.daemon(&holder)?.kill()?;
        let last_contact = last_contact(&mut leader, &holder).await?;
        end_ranks(&cluster, &holder);
        let queued = wait_for("the job to be queued again", SOON, async || {
            let job = get(&mut leader, &job).await?;
            let over = job.phase == "queued" || job.attempts.len() > attempts;
            Ok(over.then(Instant::now))
        })
        .await?;
        let beyond = queued.duration_since(last_contact).saturating_sub(GRACE);
        spans.push(beyond.as_secs_f64() * 1e3);
        let key = crate::cluster::key();
        leader.cancel(CancelRequest { job: job.clone(), key }).await?;
        cluster.restart("worker", &holder)?;
    }
    Ok(spans)
}

/// How many attempts there are, and the worker of the last, once its rank runs.
async fn running(
    leader: &mut ClientClient<Channel>,
    cluster: &Cluster,
    id: &str,
) -> anyhow::Result<(usize, String)> {
    wait_for("the job to run", SOON, async || {
        let job = get(leader, id).await?;
        let Some(place) = job.attempts.last().and_then(|a| a.placements.first()) else {
            return Ok(None);
        };
        let runs = job.phase == "running"
            && ranks::running(&cluster.worker_data(&place.node)).keys().any(|(of, _)| of == id);
        Ok(runs.then(|| (job.attempts.len(), place.node.clone())))
    })
    .await
}

async fn get(
    leader: &mut ClientClient<Channel>,
    job: &str,
) -> anyhow::Result<trainyard_proto::v1::Job> {
    let request = GetJobRequest { job: job.to_owned(), stale: true };
    leader.get_job(request).await?.into_inner().job.context("no job in the answer")
}

/// When the leader heard last of a worker that is dead.
async fn last_contact(leader: &mut ClientClient<Channel>, worker: &str) -> anyhow::Result<Instant> {
    let nodes = leader.list_nodes(ListNodesRequest { stale: true }).await?.into_inner().nodes;
    let now = Instant::now();
    let is_it = |name: Option<&str>| name == Some(worker);
    let Some(node) = nodes.iter().find(|n| is_it(n.inventory.as_ref().map(|i| i.name.as_str())))
    else {
        bail!("the cluster does not list {worker}")
    };
    now.checked_sub(Duration::from_millis(node.seen_ms_ago))
        .context("heard before this machine ran")
}

/// Ends a dead worker's shim and ranks.
fn end_ranks(cluster: &Cluster, worker: &str) {
    let data = cluster.worker_data(worker);
    let ranks = ranks::running(&data);
    stop_shims(&data);
    for pid in ranks.into_values() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}
