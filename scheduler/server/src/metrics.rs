//! Prometheus text on a loopback port: the consensus, the queue, the nodes. Read from the state
//! when asked; nothing is counted on the way of a request.

use std::{fmt::Write as _, net::SocketAddr};

use axum::{Router, extract::State as Extract, routing::get};
use tokio::net::TcpListener;
use trainyard_core::{State, state::NodeState};
use trainyard_jobs::JobPhase;

use crate::replica::Replica;

const PHASES: [JobPhase; 4] =
    [JobPhase::Queued, JobPhase::Running, JobPhase::Finishing, JobPhase::Stopping];

/// Serves `/metrics` until the process ends.
pub(crate) async fn serve(listener: TcpListener, replica: Replica) {
    let app = Router::new().route("/metrics", get(metrics)).with_state(replica);
    let address = listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)));
    if let Err(error) = axum::serve(listener, app).await {
        tracing::warn!(%address, %error, "metrics are not served any more");
    }
}

async fn metrics(Extract(replica): Extract<Replica>) -> String {
    let status = replica.status().borrow().clone();
    let counters = replica.raft.counters();
    let mut text = String::new();
    let consensus = [
        ("leader", "Whether this scheduler leads.", u64::from(status.leader_ready)),
        ("term", "Raft term.", status.term),
        ("commit_index", "Highest committed log index.", status.commit),
        ("applied_index", "Highest applied log index.", status.applied),
        ("log_bytes", "Bytes of entries in the log.", status.log_bytes),
    ];
    for (name, help, value) in consensus {
        family(&mut text, name, help, "gauge", [(String::new(), value)]);
    }
    let totals = [
        ("log_commits_total", "Durable log commits, one fsync each.", counters.log_commits),
        ("commands_applied_total", "Commands applied.", counters.commands_applied),
        ("messages_refused_total", "Peers' messages refused.", counters.messages_refused),
    ];
    for (name, help, value) in totals {
        family(&mut text, name, help, "counter", [(String::new(), value)]);
    }
    replica.look(|state| jobs_and_nodes(&mut text, state));
    text
}

fn jobs_and_nodes(text: &mut String, state: &State) {
    let jobs =
        PHASES.map(|phase| (format!("{{phase=\"{phase}\"}}"), number(state.jobs_in_phase(phase))));
    family(text, "jobs", "Jobs that have not ended.", "gauge", jobs);
    let archived = [(String::new(), state.archive().count)];
    family(text, "jobs_archived", "Jobs in the archive.", "gauge", archived);
    let nodes = [("up", NodeState::Up), ("lost", NodeState::Lost)].map(|(word, wanted)| {
        let count = state.nodes().values().filter(|node| node.state == wanted).count();
        (format!("{{state=\"{word}\"}}"), number(count))
    });
    family(text, "nodes", "Known nodes.", "gauge", nodes);
    let units: usize = state.nodes().values().map(|node| node.inventory.devices.len()).sum();
    let taken: usize = state.nodes().values().map(|node| node.owners.len()).sum();
    let units = [("known", units), ("allocated", taken)]
        .map(|(word, count)| (format!("{{state=\"{word}\"}}"), number(count)));
    family(text, "device_units", "Device units.", "gauge", units);
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn family<const N: usize>(
    text: &mut String,
    name: &str,
    help: &str,
    kind: &str,
    samples: [(String, u64); N],
) {
    let _ = writeln!(text, "# HELP trainyard_{name} {help}\n# TYPE trainyard_{name} {kind}");
    for (labels, value) in samples {
        let _ = writeln!(text, "trainyard_{name}{labels} {value}");
    }
}
