//! Trainyard under faults: three schedulers, two workers with ranks that nothing may disturb, and
//! jobs that are submitted meanwhile and must each exist once, and run to their end.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde_json::json;
use tonic::{Status, transport::Channel};
use trainyard_jobs::JobSpec;
use trainyard_proto::v1::{
    ClusterStatusAnswer, ClusterStatusRequest, ListJobsRequest, SubmitRequest,
    client_client::ClientClient,
};

use super::{
    Peer,
    client::{CONNECT, Client, Member},
    ranks,
};
use crate::{cluster::Cluster, process::wait_for};

const SCHEDULERS: usize = 3;
const SOON: Duration = Duration::from_secs(30);
/// All jobs that were submitted while leaders died have run by then.
const RUN: Duration = Duration::from_secs(120);

/// One scheduler, asked for submits of the same spec.
pub(super) struct Submitter {
    client: ClientClient<Channel>,
    spec: Vec<u8>,
}

impl Member for Submitter {
    async fn write(&mut self, key: &str) -> Result<String, Status> {
        let request = SubmitRequest {
            key: key.to_owned(),
            spec_json: self.spec.clone(),
            bundle: String::new(),
            commit: String::new(),
        };
        Ok(self.client.submit(request).await?.into_inner().job)
    }
}

/// A spec on `ranks` CPU slots; if it is `spread`, one a node at most, and before the others: what
/// is measured is what faults do to it, and the planner must not stop it for a shorter job.
pub(super) fn spec(command: &[&str], ranks: u32, spread: bool) -> anyhow::Result<Vec<u8>> {
    let mut resources = json!({ "gpus": ranks, "device": "cpu" });
    if let (true, Some(fields)) = (spread, resources.as_object_mut()) {
        fields.insert("max_ranks_per_node".to_owned(), json!(1));
    }
    let spec: JobSpec = serde_json::from_value(json!({
        "name": "failover", "resources": resources, "run": { "command": command },
        "priority": i32::from(spread),
    }))?;
    Ok(spec.canonical_json().into_bytes())
}

/// What a rank does that trains for as long as the benchmark takes.
pub(super) const TICKING: [&str; 3] = ["sh", "-c", "while :; do echo tick; sleep 0.5; done"];

/// A client of all schedulers of a cluster.
pub(super) fn client(cluster: &Cluster, spec: &[u8]) -> anyhow::Result<Client<Submitter>> {
    let members = cluster.addresses().iter().map(|address| {
        let channel = cluster.channel(address, CONNECT)?;
        Ok(Submitter { client: ClientClient::new(channel), spec: spec.to_vec() })
    });
    Ok(Client::new(members.collect::<anyhow::Result<_>>()?))
}

/// The cluster, and what it has to account for in the end.
pub(super) struct Yard {
    cluster: Cluster,
    short: Client<Submitter>,
    waiting: Client<Submitter>,
    /// Acknowledged jobs by key.
    acknowledged: BTreeMap<String, String>,
    /// Those of them that must run to their end.
    ending: BTreeSet<String>,
    /// The ranks that nothing may disturb.
    ranks: BTreeMap<(String, String), i32>,
    watched: BTreeSet<String>,
}

impl Yard {
    pub(super) async fn start(program: &Path, data: &Path) -> anyhow::Result<Self> {
        let mut cluster = Cluster::start(program, data, SCHEDULERS).await?;
        cluster.add_worker_named("worker-1", 3, 1).await?;
        cluster.add_worker_named("worker-2", 3, 2).await?;
        let short = client(&cluster, &spec(&["/bin/true"], 1, false)?)?;
        // Two of six slots are free, so that these wait; a node could hold them if it were empty.
        let waiting = client(&cluster, &spec(&["/bin/true"], 3, false)?)?;
        let mut yard = Self {
            cluster,
            short,
            waiting,
            acknowledged: BTreeMap::new(),
            ending: BTreeSet::new(),
            ranks: BTreeMap::new(),
            watched: BTreeSet::new(),
        };
        let mut training = client(&yard.cluster, &spec(&TICKING, 2, true)?)?;
        for _ in 0..2 {
            let (key, job) = training.write().await?;
            yard.watched.insert(job.clone());
            yard.acknowledged.insert(key, job);
        }
        yard.ranks = wait_for("the ranks to run", SOON, async || {
            let found = yard.watched_ranks();
            Ok((found.len() == 4).then_some(found))
        })
        .await?;
        Ok(yard)
    }

    fn watched_ranks(&self) -> BTreeMap<(String, String), i32> {
        let mut ranks = ranks::running(self.cluster.folder());
        ranks.retain(|(job, _), _| self.watched.contains(job));
        ranks
    }

    /// Those of the watched ranks that do not run any more as the process that they were.
    pub(super) fn stopped_ranks(&self) -> u64 {
        let now = self.watched_ranks();
        let gone = self.ranks.iter().filter(|(rank, pid)| now.get(*rank) != Some(*pid)).count();
        u64::try_from(gone).unwrap_or(u64::MAX)
    }

    /// Acknowledged jobs that do not exist, keys that made more than one, jobs that nobody knows.
    /// Waits first until those that can run have ended well.
    pub(super) async fn lost_jobs(&mut self) -> anyhow::Result<u64> {
        let listed = wait_for("the submitted jobs to succeed", RUN, async || {
            let phases = self.phases().await?;
            let done = |job: &String| phases.get(job).is_none_or(|phase| phase == "succeeded");
            Ok(self.ending.iter().all(done).then_some(phases))
        })
        .await?;
        let told: BTreeSet<&String> = self.acknowledged.values().collect();
        let listed: BTreeSet<&String> = listed.keys().collect();
        Ok(u64::try_from(told.symmetric_difference(&listed).count())?)
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    async fn phases(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let mut leader = self.cluster.leader().await?.max_decoding_message_size(usize::MAX);
        let all = ListJobsRequest { all: true, limit: 1_000_000, ..ListJobsRequest::default() };
        let answer = leader.list_jobs(all).await?.into_inner();
        ensure!(!answer.more, "the listing is cut");
        Ok(answer.jobs.into_iter().map(|job| (job.id, job.phase)).collect())
    }

    async fn status(&self, number: usize) -> anyhow::Result<ClusterStatusAnswer> {
        let address = self.cluster.addresses().get(number).context("no such scheduler")?;
        let mut client = self.cluster.connect(address).await?;
        Ok(client.cluster_status(ClusterStatusRequest {}).await?.into_inner())
    }
}

/// The name of a scheduler's daemon.
pub(super) fn daemon(number: usize) -> String {
    format!("scheduler-{}", number + 1)
}

impl Peer for Yard {
    async fn write(&mut self) -> anyhow::Result<()> {
        let (key, job) = self.short.write().await?;
        self.ending.insert(job.clone());
        self.acknowledged.insert(key, job);
        Ok(())
    }

    fn leader(&self) -> usize {
        self.short.at()
    }

    fn kill(&mut self, member: usize) -> anyhow::Result<()> {
        self.cluster.daemon(&daemon(member))?.kill()
    }

    async fn restart(&mut self, member: usize) -> anyhow::Result<()> {
        self.cluster.restart("scheduler", &daemon(member))?;
        let leader = self.status(self.short.at()).await?;
        wait_for("a scheduler to catch up", SOON, async || {
            let status = self.status(member).await.ok();
            let caught_up = |s: &ClusterStatusAnswer| s.leader != 0 && s.applied >= leader.commit;
            Ok(status.filter(caught_up).map(drop))
        })
        .await
    }

    async fn transfer(&mut self, member: usize, rest: Duration) -> anyhow::Result<Duration> {
        // The first is about who leads.
        let (key, job) = self.waiting.write().await?;
        self.acknowledged.insert(key, job);
        let leading = self.cluster.daemon(&daemon(member))?;
        let mut asked = None;
        let begun = Instant::now();
        let over = || match asked {
            None if begun.elapsed() > super::BEFORE => {
                // An error shows as a daemon that does not end.
                let _ = leading.terminate();
                asked = Some(Instant::now());
                false
            }
            None => false,
            Some(at) => at.elapsed() > super::AFTER,
        };
        let (gap, told) = self.waiting.longest_gap(rest, over).await?;
        self.acknowledged.extend(told);
        wait_for("the scheduler to end", SOON, async || Ok(leading.has_ended()?.then_some(())))
            .await?;
        Ok(gap)
    }

    fn version(&self) -> String {
        self.cluster.version()
    }
}
