//! What growth costs: a scheduler with a million finished and a hundred thousand live jobs. Its
//! memory, the time from its start to its first answer, and the time of what people ask most.
//!
//! The data directory is written by the scheduler's own crates from real commands, without a
//! network (see `fill`); the scheduler that is measured is the release binary on that directory.

mod fill;
mod page;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use trainyard_jobs::Role;
use trainyard_pki::{
    AUTHORITY_LIFE, Authority, Connector, Credentials, Expected, Holder, PkiDir, Subject,
};
use trainyard_proto::v1::{
    CancelRequest, ClusterStatusRequest, GetJobRequest, ListJobsRequest, SubmitRequest,
    client_client::ClientClient,
};

use crate::{
    args::Args,
    cluster::{issue, key, scratch},
    machine::Machine,
    process::{Daemon, free_ports, output},
    progress,
    report::Report,
    rounds::percentile,
};

const CLIENTS: usize = 16;
const START: Duration = Duration::from_secs(120);

/// How many jobs, and of which kind.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Scale {
    finished: u32,
    live: u32,
}

/// Everything that was measured.
#[derive(Debug, serde::Serialize)]
struct Figures {
    machine: Machine,
    version: String,
    scale: Scale,
    /// Seconds that writing the data directory took; none if it was there.
    fill_seconds: Option<f64>,
    archive_bytes: u64,
    snapshot_bytes: u64,
    /// From exec to the first answered `ps`, after each kind of end.
    start_seconds: Vec<Start>,
    memory: Vec<Memory>,
    /// Milliseconds while nothing else is asked.
    idle: Vec<Timed>,
    /// Milliseconds while `CLIENTS` clients submit and cancel.
    busy: Vec<Timed>,
    /// Writes a second meanwhile.
    writes_per_second: f64,
}

#[derive(Debug, serde::Serialize)]
struct Start {
    after: &'static str,
    seconds: f64,
}

#[derive(Debug, serde::Serialize)]
struct Memory {
    when: &'static str,
    rss_mib: u64,
    peak_mib: u64,
}

#[derive(Debug, serde::Serialize)]
struct Timed {
    what: &'static str,
    /// It changes something.
    writes: bool,
    count: usize,
    p50_ms: f64,
    p99_ms: f64,
}

/// Fills, starts, asks, loads, kills and starts again.
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let report = Report::begin(&args.data);
    let scale = Scale { finished: args.finished, live: args.live_jobs };
    let temporary = scratch(&args.data, "scale-")?;
    let dir = args.scale_dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&dir)?;
    let dir = dir.canonicalize()?;
    let data = dir.join("scheduler");
    let fill_seconds = if data.exists() {
        None
    } else {
        let begun = Instant::now();
        let to = data.clone();
        tokio::task::spawn_blocking(move || fill::run(&to, scale)).await??;
        Some(begun.elapsed().as_secs_f64())
    };
    let mut figures = Figures {
        machine: Machine::read(&args.data),
        version: output(Command::new(args.yard()).arg("--version"))?,
        scale,
        fill_seconds,
        archive_bytes: file_bytes(&data, "archive"),
        snapshot_bytes: file_bytes(&data, "snapshot"),
        start_seconds: Vec::new(),
        memory: Vec::new(),
        idle: Vec::new(),
        busy: Vec::new(),
        writes_per_second: 0.0,
    };
    let connector = certificates(&dir)?;
    measure(args, &dir, &connector, &mut figures).await?;
    let mut out = std::io::stdout();
    if args.json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&figures)?)?);
    }
    let text = figures.markdown(&report);
    std::fs::create_dir_all(&args.out)?;
    std::fs::write(args.out.join("scale.md"), &text)?;
    Ok(out.write_all(text.as_bytes())?)
}

/// A certificate authority for the filled cluster, and a way to connect as its administrator.
fn certificates(dir: &Path) -> anyhow::Result<Connector> {
    let authority = Authority::create(fill::CLUSTER.parse()?, AUTHORITY_LIFE)?;
    let person = dir.join("pki");
    let admin = Subject::Person { role: Role::Admin, name: "bench".into() };
    issue(&authority, &person, Holder::Person, admin)?;
    let own = PkiDir::new(dir.join("scheduler").join("pki"));
    own.write_authority(authority.certificate(), &authority.key())?;
    issue(&authority, own.path(), Holder::Node, Subject::Scheduler(1))?;
    Ok(Connector::to(&Credentials::person(&person)?, Expected::AnyScheduler)?)
}

async fn measure(
    args: &Args,
    dir: &Path,
    connector: &Connector,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let scheduler = Scheduler::start(args, dir, connector, "the fill", figures).await?;
    figures.memory.push(scheduler.memory("after the start")?);
    progress("asking");
    let known = scheduler.some_jobs().await?;
    figures.idle = reads(&scheduler.client, &known, 50).await?;
    figures.memory.push(scheduler.memory("after reads")?);
    progress("submitting and cancelling");
    let (busy, rate) = scheduler.load(&known, args.seconds.max(10.0)).await?;
    (figures.busy, figures.writes_per_second) = (busy, rate);
    figures.memory.push(scheduler.memory("after the load below")?);
    drop(scheduler);
    let scheduler = Scheduler::start(args, dir, connector, "SIGTERM", figures).await?;
    figures.memory.push(scheduler.memory("restarted by SIGTERM")?);
    scheduler.kill()?;
    let scheduler = Scheduler::start(args, dir, connector, "SIGKILL", figures).await?;
    figures.memory.push(scheduler.memory("restarted by SIGKILL")?);
    Ok(())
}

struct Scheduler {
    daemon: Daemon,
    client: ClientClient<Channel>,
}

impl Scheduler {
    async fn start(
        args: &Args,
        dir: &Path,
        connector: &Connector,
        after: &'static str,
        figures: &mut Figures,
    ) -> anyhow::Result<Self> {
        progress(&format!("starting after {after}"));
        let port = free_ports(1)?.pop().unwrap_or_default();
        let config = config(dir, port)?;
        let mut command = Command::new(args.yard());
        command.arg("scheduler").arg("--config").arg(config);
        let begun = Instant::now();
        let mut daemon = Daemon::start("scheduler", &mut command, dir)?;
        loop {
            daemon.check()?;
            if let Some(client) = first_answer(port, connector).await {
                figures.start_seconds.push(Start { after, seconds: begun.elapsed().as_secs_f64() });
                return Ok(Self { daemon, client });
            }
            anyhow::ensure!(begun.elapsed() < START, "it did not answer within {START:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn memory(&self, when: &'static str) -> anyhow::Result<Memory> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.daemon.pid()))?;
        let field = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').trim().strip_suffix(" kB")?.parse().ok()
        };
        let mib = |name| field(name).map(|kib| kib >> 10).context("no memory in /proc");
        Ok(Memory { when, rss_mib: mib("VmRSS")?, peak_mib: mib("VmHWM")? })
    }

    fn kill(mut self) -> anyhow::Result<()> {
        self.daemon.kill()
    }

    /// Ids of live and of archived jobs.
    async fn some_jobs(&self) -> anyhow::Result<Vec<String>> {
        let mut ids = Vec::new();
        let mut before = String::new();
        // The newest are live, those behind all live ones are archived.
        let mut client = self.client.clone();
        for all in [false, true] {
            let request = ListJobsRequest { all, limit: 1000, before, ..Default::default() };
            let jobs = client.list_jobs(request).await?.into_inner().jobs;
            ids.extend(jobs.into_iter().map(|job| job.id));
            before = fill::oldest_live().to_string();
        }
        Ok(ids)
    }

    /// Writes and reads at once, for a while.
    async fn load(&self, known: &[String], seconds: f64) -> anyhow::Result<(Vec<Timed>, f64)> {
        let (begun, span) = (Instant::now(), Duration::from_secs_f64(seconds));
        let mut writers = JoinSet::new();
        for _ in 0..CLIENTS {
            writers.spawn(write(self.client.clone(), begun + span));
        }
        let mut busy = reads(&self.client, known, 50).await?;
        let (mut submits, mut cancels) = (Vec::new(), Vec::new());
        while let Some(done) = writers.join_next().await {
            let (more_submits, more_cancels) = done??;
            submits.extend(more_submits);
            cancels.extend(more_cancels);
        }
        let writes = u32::try_from(submits.len() + cancels.len())?;
        let rate = f64::from(writes) / begun.elapsed().as_secs_f64();
        busy.push(timed("submit", true, submits)?);
        busy.push(timed("cancel", true, cancels)?);
        Ok((busy, rate))
    }
}

/// One client's loop: a submit, then the cancel of that job.
async fn write(
    mut client: ClientClient<Channel>,
    until: Instant,
) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let (mut submits, mut cancels) = (Vec::new(), Vec::new());
    let spec_json = fill::spec(u32::MAX)?.canonical_json().into_bytes();
    while Instant::now() < until {
        let sent = Instant::now();
        let request =
            SubmitRequest { key: key(), spec_json: spec_json.clone(), ..Default::default() };
        let job = client.submit(request).await?.into_inner().job;
        submits.push(millis(sent));
        let sent = Instant::now();
        client.cancel(CancelRequest { key: key(), job }).await?;
        cancels.push(millis(sent));
    }
    Ok((submits, cancels))
}

/// What people ask most, each some times.
async fn reads(
    client: &ClientClient<Channel>,
    known: &[String],
    count: usize,
) -> anyhow::Result<Vec<Timed>> {
    let mut client = client.clone();
    let (mut ps, mut all, mut live, mut archived, mut status) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let get = |id: &String| GetJobRequest {
        job: id.get(..11).unwrap_or_default().to_owned(),
        stale: false,
    };
    let nth = |n: usize| known.get(n).context("too few jobs are known");
    for n in 0..count {
        let sent = Instant::now();
        client.list_jobs(ListJobsRequest { limit: 1000, ..Default::default() }).await?;
        ps.push(millis(sent));
        let sent = Instant::now();
        let request = ListJobsRequest { all: true, limit: 100, ..Default::default() };
        client
            .list_jobs(ListJobsRequest { before: fill::oldest_live().to_string(), ..request })
            .await?;
        all.push(millis(sent));
        let sent = Instant::now();
        client.get_job(get(nth(n)?)).await?;
        live.push(millis(sent));
        let sent = Instant::now();
        client.get_job(get(nth(known.len() - 1 - n)?)).await?;
        archived.push(millis(sent));
        let sent = Instant::now();
        client.cluster_status(ClusterStatusRequest {}).await?;
        status.push(millis(sent));
    }
    Ok(vec![
        timed("`ps`, 1000 live jobs", false, ps)?,
        timed("`ps --all --before`, 100 archived jobs", false, all)?,
        timed("a live job by prefix", false, live)?,
        timed("an archived job by prefix", false, archived)?,
        timed("the cluster's status with the state's hash", false, status)?,
    ])
}

async fn first_answer(port: u16, connector: &Connector) -> Option<ClientClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}")).ok()?;
    let channel = endpoint.connect_with_connector(connector.clone()).await.ok()?;
    let mut client = ClientClient::new(channel);
    let ps = ListJobsRequest { limit: 1000, ..Default::default() };
    client.list_jobs(ps).await.ok()?;
    Some(client)
}

fn config(dir: &Path, port: u16) -> anyhow::Result<PathBuf> {
    let file = dir.join("scheduler.toml");
    let text = format!(
        "id = 1\ncluster = \"{}\"\nlisten = \"127.0.0.1:{port}\"\ndata_dir = {:?}\n\
         store = \"file://{}\"\n[peers]\n1 = \"127.0.0.1:{port}\"\n\
         [limits.caller]\nper_second = 1000000\nburst = 1000000\n",
        fill::CLUSTER,
        dir.join("scheduler"),
        dir.join("store").display(),
    );
    std::fs::write(&file, text).with_context(|| format!("cannot write {file:?}"))?;
    Ok(file)
}

/// The size of the largest file whose name begins so.
fn file_bytes(dir: &Path, begins: &str) -> u64 {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let ours = files.filter(|f| f.file_name().to_str().is_some_and(|n| n.starts_with(begins)));
    ours.filter_map(|file| Some(file.metadata().ok()?.len())).max().unwrap_or_default()
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn timed(what: &'static str, writes: bool, mut times: Vec<f64>) -> anyhow::Result<Timed> {
    let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
    let (p50_ms, p99_ms) = p50.zip(p99).with_context(|| format!("nothing came of {what}"))?;
    Ok(Timed { what, writes, count: times.len(), p50_ms, p99_ms })
}
