//! An attempt's life under this agent. It begins wherever the attempt's directory says that it
//! stands, so adopting an attempt and starting one are the same walk.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use nix::sys::signal::Signal;
use tokio::{
    sync::{oneshot, watch},
    task::spawn_blocking,
    time::{sleep, timeout},
};
use trainyard_jobs::{AttemptRef, FileEntry, RankExit};
use trainyard_proto::{convert::exit_message, v1::EndedReport};
use trainyard_store::Store;

use super::{
    ShimProgram, Trainer, artifacts, checkpoints, figures, launch,
    logs::Shipper,
    order::Work,
    prepare::prepare,
    registry::{Entry, Registry},
};
use crate::{
    durable,
    metrics::Counters,
    reconcile::Stage,
    report::Reporter,
    shim::{ExitRecord, FORMAT, RankEnd},
};

/// How long the report of an end waits for logs and checkpoints to be stored: devices must not
/// be held for ever by a store that is away.
const DELIVERY: Duration = Duration::from_secs(30);
/// Beyond the grace, how long a shim may take before it is killed itself.
const SHIM_PATIENCE: Duration = Duration::from_secs(20);

/// How often a file of the shim is looked for.
const POLL: Duration = Duration::from_millis(20);

/// What supervising needs of the agent.
pub(crate) struct Context {
    pub store: Store,
    pub reporter: Reporter,
    pub registry: Arc<Registry>,
    pub trainer: Trainer,
    pub shim: ShimProgram,
    pub cgroup: bool,
    pub counters: Counters,
}

/// Takes the attempt from where it stands to its end, and delivers what it leaves.
pub(crate) async fn supervise(context: Arc<Context>, entry: Arc<Entry>) {
    let adopted = entry.dir.was_launched();
    let (ended, ends) = watch::channel(false);
    let (delivered, delivery) = watch::channel(false);
    let lead = lead(&context, &entry, &ended, delivery);
    match &entry.order.work {
        Err(_) => lead.await,
        Ok(work) => {
            let deliver = async {
                deliver(&context, &entry, work, adopted, ends).await;
                delivered.send_replace(true);
            };
            tokio::join!(lead, deliver);
        }
    }
    tracing::info!(attempt = %entry.order.attempt, "nothing is left to deliver");
    context.registry.advance(&entry, Stage::Settled);
}

/// Delivers what the ranks write while they run.
async fn deliver(
    context: &Context,
    entry: &Entry,
    work: &Work,
    adopted: bool,
    ends: watch::Receiver<bool>,
) {
    let log = entry.dir.shim().log();
    let shipper = Shipper {
        store: &context.store,
        counters: &context.counters,
        attempt: &entry.order.attempt,
        node: work.group_rank,
        log: &log,
    };
    let figures = async {
        if work.has_rank_0() {
            figures::follow(entry, ends.clone()).await;
        }
    };
    let checkpoints = checkpoints::upload(context, entry, work.group_rank, ends.clone());
    tokio::join!(shipper.run(adopted, ends.clone()), checkpoints, figures);
}

/// Launches the ranks unless they were, waits for their end and reports it.
async fn lead(
    context: &Context,
    entry: &Entry,
    ended: &watch::Sender<bool>,
    mut delivery: watch::Receiver<bool>,
) {
    let attempt = &entry.order.attempt;
    let ends = async {
        let record = match start(context, entry).await {
            Ok(gone) => wait(entry, gone).await,
            Err(message) => not_started(entry, message),
        };
        entry.set_shim(None);
        tracing::info!(%attempt, ?record, "the ranks have ended");
        context.registry.advance(entry, Stage::Ended);
        ended.send_replace(true);
        if entry.order.work.is_ok() {
            // Its sender outlives this task, or the agent ends.
            let _ = timeout(DELIVERY, delivery.wait_for(|done| *done)).await;
        }
        end_report(context, entry, record).await
    };
    let (report, ()) = tokio::join!(ends, report_started(context, entry));
    context.reporter.ended(attempt, report).await;
}

/// Reports the start once the ranks run; never if they do not come to that.
async fn report_started(context: &Context, entry: &Entry) {
    let dir = entry.dir.shim();
    let mut stage = entry.stage();
    while !dir.started().exists() {
        if stage >= Stage::Ended {
            return;
        }
        sleep(POLL).await;
        stage = entry.stage();
    }
    context.reporter.started(&entry.order.attempt).await;
}

type Gone = oneshot::Receiver<()>;

/// Starts the ranks, or finds them as they are. Gives what tells the shim's end.
async fn start(context: &Context, entry: &Entry) -> Result<Gone, String> {
    let dir = entry.dir.shim().clone();
    if entry.dir.was_launched() {
        entry.set_shim(launch::live_shim(&dir).map(|shim| shim.pid));
        return launch::watch(&dir, None).map_err(|error| error.to_string());
    }
    let work = entry.order.work.as_ref().map_err(Clone::clone)?;
    let attempt = &entry.order.attempt;
    let preparing =
        prepare(&context.store, &context.trainer, context.cgroup, attempt, work, &entry.dir);
    let plan = tokio::select! {
        biased;
        () = entry.stopped() => return Err("stopped before its ranks were started".into()),
        plan = preparing => plan?,
    };
    let program = context.shim.clone();
    // Not to be torn apart by the agent's end: what has a plan counts as started.
    let launched = spawn_blocking(move || {
        let child = launch::launch(&dir, &plan, &program)?;
        let pid = i32::try_from(child.id()).ok();
        launch::watch(&dir, Some(child)).map(|gone| (pid, gone))
    });
    let launched = launched.await.map_err(|error| error.to_string())?;
    let (pid, gone) = launched.map_err(|error| format!("cannot launch the shim: {error}"))?;
    entry.set_launched();
    entry.set_shim(pid);
    tracing::info!(%attempt, shim = pid, "ranks launched");
    Ok(gone)
}

/// Records that the ranks never ran, so that no later agent starts them.
fn not_started(entry: &Entry, message: String) -> ExitRecord {
    tracing::warn!(attempt = %entry.order.attempt, message, "the ranks were not started");
    let record = ExitRecord::not_started(message);
    let path = entry.dir.shim().exit();
    // A shim that was launched after all has the last word.
    if path.exists() {
        return record;
    }
    if let Err(error) = durable::write_json(&path, &record) {
        tracing::error!(attempt = %entry.order.attempt, %error, "cannot record the end");
    }
    record
}

/// Waits for the shim's end, and brings it about when the attempt is to stop.
async fn wait(entry: &Entry, mut gone: Gone) -> ExitRecord {
    tokio::select! {
        _ = &mut gone => {}
        () = entry.stopped() => stop(entry, &mut gone).await,
    }
    let dir = entry.dir.clone();
    let outcome = spawn_blocking(move || launch::outcome(&dir)).await.ok().flatten();
    outcome.unwrap_or_else(|| vanished(entry))
}

async fn stop(entry: &Entry, gone: &mut Gone) {
    let dir = entry.dir.shim();
    let grace = entry.order.work.as_ref().map_or(Duration::ZERO, |w| w.spec.stop_grace().into());
    let signalled = async {
        // A shim that was just launched has not said yet who it is.
        while !launch::signal_shim(dir, Signal::SIGTERM) {
            sleep(POLL).await;
        }
        sleep(grace + SHIM_PATIENCE).await;
        tracing::error!(attempt = %entry.order.attempt, "the shim does not end: killed");
        launch::signal_shim(dir, Signal::SIGKILL);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = gone => {}
        () = signalled => {}
    }
}

/// Nobody saw the ranks end.
fn vanished(entry: &Entry) -> ExitRecord {
    let ranks = entry.order.work.as_ref().map_or(&[][..], |work| &work.ranks);
    let end = |(rank, _): &(u32, _)| RankEnd { rank: *rank, exit: RankExit::Vanished };
    ExitRecord {
        format: FORMAT,
        ranks: ranks.iter().map(end).collect(),
        first_failure: None,
        time_limit: false,
        start_error: None,
    }
}

/// The report of the end. Its ranks stand in the order in which they ended.
async fn end_report(context: &Context, entry: &Entry, record: ExitRecord) -> EndedReport {
    let succeeded = record.start_error.is_none()
        && !record.time_limit
        && !record.ranks.is_empty()
        && record.ranks.iter().all(|end| end.exit.is_success());
    let has_rank_0 = entry.order.work.as_ref().is_ok_and(Work::has_rank_0);
    let (mut files, mut figures) = (Vec::new(), BTreeMap::new());
    let mut start_error = record.start_error.unwrap_or_default();
    if has_rank_0 {
        figures = figures::last(&entry.dir);
        if succeeded {
            match artifacts::upload(context, entry).await {
                Ok(stored) => files = stored,
                Err(message) => start_error = format!("cannot store the artifacts: {message}"),
            }
        }
    }
    EndedReport {
        ranks: record.ranks.iter().map(|end| exit_message(end.rank, end.exit)).collect(),
        start_error,
        artifacts: files.iter().map(|file: &FileEntry| file.into()).collect(),
        metrics: figures.into_iter().collect(),
        time_limit: record.time_limit,
        first_failure: record.first_failure.map(|end| end.rank),
        ..message(&context.reporter, &entry.order.attempt)
    }
}

fn message(reporter: &Reporter, attempt: &AttemptRef) -> EndedReport {
    EndedReport {
        node: reporter.node(),
        session: reporter.session(),
        attempt: Some(attempt.into()),
        ..EndedReport::default()
    }
}
