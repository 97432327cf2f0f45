//! `yard cluster audit`: what was done and denied, as JSON lines, oldest first. Every scheduler
//! keeps its own record, so every one is asked; what one has exported, the others can read too.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tonic::Status;
use trainyard_jobs::Millis;
use trainyard_proto::v1;

use super::cluster;
use crate::{
    app::App,
    client::{self, Cluster},
    endpoint::Endpoint,
    error::CliError,
    exit::Exit,
    output::{Format, human},
};

/// How long a scheduler may take to begin its answer.
const BEGIN: Duration = Duration::from_secs(5);

/// How long it may pause, or take to read every segment again.
const PAUSE: Duration = Duration::from_secs(60);

/// Which records.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Of the last 15m, 2h, 30d; all when left out
    #[arg(long, value_name = "TIME")]
    since: Option<Millis>,
    /// Of one principal: a name, worker/NODE, token/ID
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    principal: String,
    /// About one job
    #[arg(long, value_name = "JOB", default_value = "", hide_default_value = true)]
    job: String,
    /// Read every record again and say whether all is as it was written
    #[arg(long, conflicts_with_all = ["since", "principal", "job"])]
    verify: bool,
}

/// Where a record stands.
#[derive(Debug, Deserialize)]
struct Place {
    time_ms: u64,
    scheduler: u64,
    seq: u64,
}

/// One scheduler's record, as it was found.
#[derive(Debug, Clone, Serialize)]
struct Chain {
    scheduler: u64,
    segments: u64,
    records: u64,
    last: u64,
    head: String,
    /// Its own scheduler compared the end.
    complete: bool,
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Verdict {
    whole: bool,
    chains: Vec<Chain>,
    unreachable: Vec<String>,
}

/// Prints the trail, or checks it.
pub(crate) async fn run(app: &App, args: AuditArgs) -> Result<Exit, CliError> {
    let cluster = app.cluster()?;
    let (endpoints, unreachable) = cluster::everybody(&cluster).await;
    if args.verify {
        return verify(app, &cluster, &endpoints, unreachable).await;
    }
    let since_ms = args.since.map_or(0, |span| human::now_ms().saturating_sub(span.0));
    let job = if args.job.is_empty() { args.job } else { app.places.job(&args.job)? };
    let request = v1::AuditRequest { since_ms, principal: args.principal, job };
    let mut records: BTreeMap<(u64, u64, u64), String> = BTreeMap::new();
    let mut damaged = BTreeSet::new();
    for endpoint in &endpoints {
        let lines = read(&cluster, endpoint, &request)
            .await
            .map_err(|status| CliError::refused("read the audit trail", &status))?;
        for line in lines {
            match serde_json::from_str::<Place>(&line) {
                Ok(at) => {
                    records.insert((at.time_ms, at.scheduler, at.seq), line);
                }
                Err(_) => {
                    damaged.insert(line);
                }
            }
        }
    }
    for line in records.into_values().chain(damaged.iter().cloned()) {
        app.out.result(&format!("{line}\n"))?;
    }
    if !damaged.is_empty() {
        app.out.note("some records are damaged: `yard cluster audit --verify` says which");
    }
    for address in unreachable {
        app.out.note(&format!("{address} does not answer: its newest records are not here"));
    }
    Ok(Exit::Done)
}

async fn read(
    cluster: &Cluster,
    endpoint: &Endpoint,
    request: &v1::AuditRequest,
) -> Result<Vec<String>, Status> {
    let call = async |mut access: client::AccessService| access.audit(request.clone()).await;
    let mut stream = cluster.ask_access(endpoint, &call, BEGIN).await?;
    let mut lines = Vec::new();
    let late = |_| Status::deadline_exceeded(format!("{endpoint} stopped in the middle"));
    while let Some(chunk) = timeout(PAUSE, stream.message()).await.map_err(late)?? {
        lines.extend(chunk.lines);
    }
    Ok(lines)
}

async fn verify(
    app: &App,
    cluster: &Cluster,
    endpoints: &[Endpoint],
    unreachable: Vec<String>,
) -> Result<Exit, CliError> {
    let mut chains: BTreeMap<u64, Chain> = BTreeMap::new();
    for endpoint in endpoints {
        let call = async |mut access: client::AccessService| {
            access.verify_audit(v1::VerifyAuditRequest {}).await
        };
        let answer = cluster
            .ask_access(endpoint, &call, PAUSE)
            .await
            .map_err(|status| CliError::refused("verify the audit trail", &status))?;
        for chain in answer.chains {
            // A scheduler's own word is the fullest.
            if chain.own || !chains.contains_key(&chain.scheduler) {
                chains.insert(chain.scheduler, Chain::from(chain));
            }
        }
    }
    let whole = chains.values().all(|chain| chain.problems.is_empty());
    let verdict = Verdict { whole, chains: chains.into_values().collect(), unreachable };
    match app.out.format {
        Format::Table | Format::Wide => say(app, &verdict)?,
        _ => app.out.result(&app.out.document("AuditVerdict", &verdict)?)?,
    }
    Ok(if whole { Exit::Done } else { Exit::Internal })
}

fn say(app: &App, verdict: &Verdict) -> Result<(), CliError> {
    for chain in &verdict.chains {
        let Chain { scheduler, records, segments, .. } = chain;
        let state = match (chain.problems.is_empty(), chain.complete) {
            (false, _) => "damaged",
            (true, true) => "whole",
            (true, false) => "whole as far as it was exported",
        };
        app.out.result(&format!(
            "scheduler {scheduler}: {records} records in {segments} segments, {state}\n"
        ))?;
        for problem in &chain.problems {
            app.out.result(&format!("  {problem}\n"))?;
        }
    }
    for address in &verdict.unreachable {
        app.out.note(&format!("{address} does not answer: the end of its record is not known"));
    }
    Ok(())
}

impl From<v1::AuditChain> for Chain {
    fn from(chain: v1::AuditChain) -> Self {
        Self {
            scheduler: chain.scheduler,
            segments: chain.segments,
            records: chain.records,
            last: chain.last,
            head: chain.head,
            complete: chain.own,
            problems: chain.problems,
        }
    }
}
