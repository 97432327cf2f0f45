//! An attempt's life under this agent. It begins wherever the attempt's directory says that it
//! stands, so adopting an attempt and starting one are the same walk.

use std::{io, sync::Arc, time::Duration};

use nix::sys::signal::Signal;
use tokio::{
    sync::{oneshot, watch},
    task::spawn_blocking,
    time::{sleep, timeout},
};
use trainyard_store::Store;

use super::{
    Mps, Network, Pins, ShimProgram, Trainer, checkpoints,
    end::{end_report, not_started},
    figures, launch,
    logs::Shipper,
    order::Work,
    prepare::prepare,
    registry::{Entry, Registry},
};
use crate::{ending, metrics::Counters, reconcile::Stage, report::Reporter, shim::ExitRecord};

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
    pub mps: Option<Mps>,
    pub pins: Pins,
    pub network: Network,
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
        context.pins.release(attempt);
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
    let preparing = prepare(context, attempt, work, &entry.dir);
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

/// Waits for the shim's end, and brings it about when the attempt is to stop.
async fn wait(entry: &Entry, mut gone: Gone) -> ExitRecord {
    let asked = tokio::select! {
        _ = &mut gone => false,
        () = entry.stopped() => {
            stop(entry, &mut gone).await;
            true
        }
    };
    let asked = asked || entry.dir.has_stop_wish();
    let dir = entry.dir.clone();
    let record = spawn_blocking(move || launch::outcome(&dir)).await.ok().flatten();
    if let Some(record) = record.as_ref().filter(|record| record.stopped && !asked) {
        tracing::warn!(attempt = %entry.order.attempt, ?record, "stopped from outside");
    }
    ending::judged(record, asked, &entry.order)
}

async fn stop(entry: &Entry, gone: &mut Gone) {
    let dir = entry.dir.shim();
    let grace = entry.order.work.as_ref().map_or(Duration::ZERO, |w| w.spec.stop_grace().into());
    let recorded = entry.dir.clone();
    let recorded = spawn_blocking(move || recorded.record_stop_wish()).await;
    if let Err(error) = recorded.unwrap_or_else(|error| Err(io::Error::other(error))) {
        // The ranks must end all the same; only the next agent would call them lost.
        tracing::error!(attempt = %entry.order.attempt, %error, "the stop is not on record");
    }
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
