//! The one table of who may call which RPC, and what a call may cost. A test holds it against
//! the `.proto` files: an RPC without a row does not get in, and does not pass the gate either.

use std::time::Duration;

use trainyard_jobs::Role;
use trainyard_proto::MAX_MESSAGE_BYTES;

/// Who may call an RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Whoever connects: the request itself carries what proves it.
    pub(crate) anybody: bool,
    /// People with at least this role.
    pub(crate) role: Option<Role>,
    /// Workers.
    pub(crate) worker: bool,
    /// Schedulers.
    pub(crate) scheduler: bool,
}

/// How a call is counted against what its caller may have open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// One request, one answer.
    Call,
    /// A stream of answers, for as long as somebody listens.
    Watch,
    /// A stream of bytes up.
    Upload,
    /// A stream between the cluster's own machines.
    Machine,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// The path of the RPC.
    pub(crate) rpc: &'static str,
    /// Who may call it.
    pub(crate) needs: Needs,
    /// How it is counted.
    pub(crate) kind: Kind,
    /// What it costs of the caller's rate.
    pub(crate) cost: u32,
    /// The most bytes that a request may have, all messages of a stream together.
    pub(crate) most_bytes: u64,
    /// The longest that a request may pause before it is whole.
    pub(crate) pause: Option<Duration>,
    /// It changes something: each call is written down, not denials alone.
    pub(crate) changes: bool,
}

impl Rule {
    /// The RPC's name without the package: `Client/Submit`.
    pub(crate) fn name(&self) -> &'static str {
        self.rpc.strip_prefix("/trainyard.v1.").unwrap_or(self.rpc)
    }

    /// Who may call it, in words.
    pub(crate) fn wanted(&self) -> String {
        let mut wanted = Vec::new();
        if let Some(role) = self.needs.role {
            wanted.push(match role {
                Role::Admin => format!("the role {role}"),
                _ => format!("the role {role} or a higher one"),
            });
        }
        if self.needs.worker {
            wanted.push("a worker's certificate".to_owned());
        }
        if self.needs.scheduler {
            wanted.push("a scheduler's certificate".to_owned());
        }
        wanted.join(", or ")
    }
}

const fn role(role: Role) -> Needs {
    Needs { anybody: false, role: Some(role), worker: false, scheduler: false }
}

const WORKER: Needs = Needs { anybody: false, role: None, worker: true, scheduler: false };
const ANYBODY: Needs = Needs { anybody: true, role: None, worker: false, scheduler: false };
const MACHINE: Needs = Needs { anybody: false, role: None, worker: true, scheduler: true };
const SCHEDULER: Needs = Needs { anybody: false, role: None, worker: false, scheduler: true };

/// A question or a small order.
const SMALL: u64 = 16 << 10;

/// One message of the largest size.
const LARGE: u64 = usize_to_u64(MAX_MESSAGE_BYTES);

/// A bundle with its framing.
const BUNDLE: u64 = (2 << 30) + (64 << 20);

/// How long the bytes of a request may stay away.
const PAUSE: Duration = Duration::from_secs(10);

#[expect(clippy::as_conversions, reason = "a constant, and `From` is not const")]
const fn usize_to_u64(n: usize) -> u64 {
    n as u64
}

const fn call(rpc: &'static str, needs: Needs) -> Rule {
    let (most_bytes, pause) = (SMALL, Some(PAUSE));
    Rule { rpc, needs, kind: Kind::Call, cost: 1, most_bytes, pause, changes: false }
}

const fn change(rpc: &'static str, needs: Needs) -> Rule {
    Rule { changes: true, ..call(rpc, needs) }
}

const fn watch(rpc: &'static str, needs: Needs) -> Rule {
    Rule { kind: Kind::Watch, cost: 5, ..call(rpc, needs) }
}

const fn machine(rpc: &'static str, needs: Needs) -> Rule {
    Rule { kind: Kind::Machine, most_bytes: u64::MAX, pause: None, ..call(rpc, needs) }
}

const VIEWER: Needs = role(Role::Viewer);
const RESEARCHER: Needs = role(Role::Researcher);
const OPERATOR: Needs = role(Role::Operator);
const ADMIN: Needs = role(Role::Admin);

/// Every RPC.
pub(crate) const TABLE: &[Rule] = &[
    Rule { most_bytes: LARGE, ..change("/trainyard.v1.Client/Submit", RESEARCHER) },
    change("/trainyard.v1.Client/Cancel", RESEARCHER),
    call("/trainyard.v1.Client/GetJob", VIEWER),
    Rule { cost: 5, ..call("/trainyard.v1.Client/ListJobs", VIEWER) },
    watch("/trainyard.v1.Client/WatchJob", VIEWER),
    Rule { cost: 20, ..call("/trainyard.v1.Client/Explain", VIEWER) },
    watch("/trainyard.v1.Client/Logs", RESEARCHER),
    Rule { cost: 2, ..call("/trainyard.v1.Client/ListNodes", VIEWER) },
    Rule { cost: 2, ..call("/trainyard.v1.Client/ListModels", VIEWER) },
    call("/trainyard.v1.Client/GetModel", VIEWER),
    watch("/trainyard.v1.Client/ReadModelFile", RESEARCHER),
    call("/trainyard.v1.Client/HasBundle", RESEARCHER),
    Rule {
        kind: Kind::Upload,
        cost: 5,
        most_bytes: BUNDLE,
        ..change("/trainyard.v1.Client/UploadBundle", RESEARCHER)
    },
    Rule { cost: 2, ..call("/trainyard.v1.Client/ClusterStatus", VIEWER) },
    Rule { changes: true, ..machine("/trainyard.v1.Worker/Session", WORKER) },
    change("/trainyard.v1.Worker/ReportStarted", WORKER),
    Rule { most_bytes: LARGE, ..change("/trainyard.v1.Worker/ReportEnded", WORKER) },
    change("/trainyard.v1.Worker/ReportCheckpoint", WORKER),
    machine("/trainyard.v1.Raft/Exchange", SCHEDULER),
    machine("/trainyard.v1.Raft/ArchiveHead", SCHEDULER),
    machine("/trainyard.v1.Raft/TakeArchive", SCHEDULER),
    machine("/trainyard.v1.Cluster/Probe", SCHEDULER),
    change("/trainyard.v1.Cluster/Rejoin", SCHEDULER),
    call("/trainyard.v1.Cluster/Members", VIEWER),
    change("/trainyard.v1.Cluster/AddMember", ADMIN),
    change("/trainyard.v1.Cluster/RemoveMember", ADMIN),
    change("/trainyard.v1.Cluster/ReplaceMember", ADMIN),
    change("/trainyard.v1.Cluster/Transfer", OPERATOR),
    // The whole state: all projects, and digests of all secrets.
    Rule { changes: true, cost: 100, ..watch("/trainyard.v1.Cluster/Snapshot", ADMIN) },
    change("/trainyard.v1.Cluster/ReleaseAttempt", OPERATOR),
    // A secret of 256 bits is not guessed; asking is dear all the same.
    Rule { cost: 5, ..change("/trainyard.v1.Join/Join", ANYBODY) },
    Rule { cost: 5, ..change("/trainyard.v1.Join/Renew", MACHINE) },
    Rule { cost: 5, ..call("/trainyard.v1.Queues/ListQueues", VIEWER) },
    change("/trainyard.v1.Queues/SetQueue", OPERATOR),
    Rule { cost: 2, ..call("/trainyard.v1.Reservations/ListReservations", VIEWER) },
    // Up to 256 names of nodes.
    Rule {
        most_bytes: 2 * SMALL,
        ..change("/trainyard.v1.Reservations/CreateReservation", OPERATOR)
    },
    change("/trainyard.v1.Reservations/DeleteReservation", OPERATOR),
    change("/trainyard.v1.Access/CreateToken", ADMIN),
    call("/trainyard.v1.Access/ListTokens", ADMIN),
    change("/trainyard.v1.Access/RevokeToken", ADMIN),
    watch("/trainyard.v1.Access/Audit", OPERATOR),
    Rule { cost: 100, ..call("/trainyard.v1.Access/VerifyAudit", OPERATOR) },
];

/// The row of an RPC.
pub(crate) fn rule(path: &str) -> Option<&'static Rule> {
    TABLE.iter().find(|rule| rule.rpc == path)
}

#[cfg(test)]
mod tests {
    use trainyard_proto::RPCS;

    use super::*;

    #[test]
    fn every_rpc_has_one_row_and_every_row_an_rpc() {
        for rpc in RPCS {
            let rows = TABLE.iter().filter(|rule| rule.rpc == *rpc).count();
            assert_eq!(rows, 1, "{rpc} needs one row in scheduler/server/src/access/table.rs");
        }
        for rule in TABLE {
            assert!(RPCS.contains(&rule.rpc), "{} is no RPC", rule.rpc);
        }
    }

    #[test]
    fn every_row_lets_somebody_in_and_costs_something() {
        for rule in TABLE {
            let Needs { anybody, role, worker, scheduler } = rule.needs;
            assert!(anybody || role.is_some() || worker || scheduler, "{}", rule.rpc);
            assert!(rule.cost > 0 && rule.most_bytes > 0, "{}", rule.rpc);
        }
    }
}
