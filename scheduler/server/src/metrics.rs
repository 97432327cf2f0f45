//! Prometheus text: the consensus, the queue, the nodes, who was refused. Read from the state when
//! asked; nothing is counted on the way of a request. Over TLS to who shows a certificate of the
//! cluster; in plaintext only to this machine, if the configuration says so.

use std::{fmt::Write as _, sync::Arc, time::SystemTime};

use axum::{Router, extract::State as Extract, routing::get};
use tokio::net::TcpListener;
use trainyard_core::{State, state::NodeState};
use trainyard_jobs::JobPhase;
use trainyard_pki::{Clients, PkiError, Protocol, TlsPort};

use crate::{pki::Pki, replica::Replica};

const PHASES: [JobPhase; 4] =
    [JobPhase::Queued, JobPhase::Running, JobPhase::Finishing, JobPhase::Stopping];

/// Serves `/metrics` until the process ends.
///
/// # Errors
/// When TLS cannot be set up.
pub(crate) fn start(listener: TcpListener, replica: Replica) -> Result<(), PkiError> {
    let plaintext = replica.config.metrics_plaintext;
    let tls = replica.pki.credentials.server(Clients::Known, Protocol::Http1)?;
    let counters = Arc::clone(&replica.pki.metrics_port);
    let app = Router::new().route("/metrics", get(metrics)).with_state(replica);
    if plaintext {
        tokio::spawn(axum::serve(listener, app).into_future());
    } else {
        let port = TlsPort::metrics(listener, tls, counters);
        tokio::spawn(axum::serve(port, app).into_future());
    }
    Ok(())
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
    family(
        &mut text,
        "audit_records_lost_total",
        "Records of the audit trail that could not be written.",
        "counter",
        [(String::new(), replica.audit.lost())],
    );
    let denials = replica.audit.denials().into_iter();
    let denials = denials.map(|(code, count)| (format!("{{code=\"{code}\"}}"), count));
    family(&mut text, "requests_denied_total", "Requests denied.", "counter", denials);
    connections(&mut text, &replica.pki);
    replica.look(|state| jobs_and_nodes(&mut text, state));
    text
}

fn connections(text: &mut String, pki: &Pki) {
    let ports = [("main", &pki.port), ("metrics", &pki.metrics_port)];
    let served = ports.map(|(port, counters)| (format!("{{port=\"{port}\"}}"), counters.served()));
    family(text, "connections_total", "Connections served.", "counter", served);
    let refused = ports.iter().flat_map(|(port, counters)| {
        let label = move |reason| format!("{{port=\"{port}\",reason=\"{reason}\"}}");
        counters.refused().map(|(reason, count)| (label(reason), count))
    });
    let help = "Connections closed before they were served.";
    family(text, "connections_refused_total", help, "counter", refused);
    let left = pki.credentials.valid_until().and_then(|t| t.duration_since(SystemTime::now()).ok());
    let left = [(String::new(), left.unwrap_or_default().as_secs())];
    family(text, "certificate_seconds_left", "Life left in the certificate.", "gauge", left);
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

fn family(
    text: &mut String,
    name: &str,
    help: &str,
    kind: &str,
    samples: impl IntoIterator<Item = (String, u64)>,
) {
    let _ = writeln!(text, "# HELP trainyard_{name} {help}\n# TYPE trainyard_{name} {kind}");
    for (labels, value) in samples {
        let _ = writeln!(text, "trainyard_{name}{labels} {value}");
    }
}
