//! The schedulers of a cluster, each as it sees itself.

use serde::Serialize;
use trainyard_proto::v1;

use crate::output::{
    Card, Cell, Look, Tone,
    human::{short, size},
    table::{grid, labelled},
};

/// A cluster and its schedulers.
#[derive(Debug, Serialize)]
pub(crate) struct ClusterView {
    cluster: Option<String>,
    leader: Option<u64>,
    epoch: u64,
    feature_level: u32,
    nodes: u32,
    queued: u32,
    running: u32,
    archived: u64,
    schedulers: Vec<SchedulerView>,
}

/// One scheduler, or the address at which none answered.
#[derive(Debug, Serialize)]
struct SchedulerView {
    id: Option<u64>,
    address: String,
    role: String,
    term: u64,
    commit: u64,
    applied: u64,
    /// Entries that others have committed and this one has not applied.
    lag: u64,
    first_index: u64,
    last_index: u64,
    log_bytes: u64,
    snapshot_index: u64,
    state_hash: Option<String>,
    /// The log index that the hash is of.
    state_hash_index: u64,
    version: Option<String>,
    /// `voter`, `learner`, `joining` or `leaving`, as the leader says.
    member: Option<String>,
    /// The highest feature level that it can apply.
    feature_level: Option<u32>,
    /// Its clock less the leader's.
    clock_offset_ms: Option<i64>,
    disk_free_bytes: Option<u64>,
    disk_total_bytes: Option<u64>,
    alarms: Vec<String>,
    problem: Option<String>,
}

/// What asking one address brought.
pub(crate) struct Asked {
    /// Where it was asked.
    pub(crate) address: String,
    /// Its id, where others know it.
    pub(crate) id: Option<u64>,
    /// The answer, or why there is none.
    pub(crate) answer: Result<v1::ClusterStatusAnswer, String>,
}

impl ClusterView {
    /// Puts the answers together.
    pub(crate) fn new(asked: Vec<Asked>) -> Self {
        let answers: Vec<v1::ClusterStatusAnswer> =
            asked.iter().filter_map(|asked| asked.answer.clone().ok()).collect();
        let commit = answers.iter().map(|a| a.commit).max().unwrap_or_default();
        // Of those who believe to lead, the one of the highest term does.
        let leader = answers.iter().filter(|a| a.role == "leader").max_by_key(|a| a.term);
        let best = leader.or_else(|| answers.iter().max_by_key(|a| a.applied));
        let base = best.cloned().unwrap_or_default();
        let mut schedulers: Vec<_> = asked
            .into_iter()
            .map(|asked| {
                let id = asked.id.or_else(|| Some(asked.answer.as_ref().ok()?.id));
                let member = base.members.iter().find(|m| Some(m.id) == id).cloned();
                SchedulerView::new(asked, commit, member.unwrap_or_default())
            })
            .collect();
        schedulers.sort_by(|a, b| (a.id, &a.address).cmp(&(b.id, &b.address)));
        Self {
            leader: leader.map(|leader| leader.id),
            cluster: super::text(base.cluster),
            epoch: base.epoch,
            feature_level: base.feature_level,
            nodes: base.nodes,
            queued: base.queued,
            running: base.running,
            archived: base.archived,
            schedulers,
        }
    }

    /// Whether somebody leads.
    pub(crate) const fn has_leader(&self) -> bool {
        self.leader.is_some()
    }

    /// Two schedulers that have applied the same entries and hold different states, if any.
    pub(crate) fn divergence(&self) -> Option<String> {
        let hashed = || self.schedulers.iter().filter(|s| s.state_hash.is_some());
        hashed().find_map(|a| {
            let b = hashed().find(|b| {
                b.state_hash_index == a.state_hash_index && b.state_hash != a.state_hash
            })?;
            Some(format!(
                "schedulers at {} and {} hold different states at index {}: stop submitting and \
                 keep both data directories",
                a.address, b.address, a.state_hash_index
            ))
        })
    }

    /// What needs an operator.
    pub(crate) fn alarms(&self) -> impl Iterator<Item = String> {
        let of = |s: &SchedulerView| {
            let id = s.id.map_or_else(|| s.address.clone(), |id| id.to_string());
            s.alarms.iter().map(move |alarm| format!("scheduler {id}: {alarm}")).collect::<Vec<_>>()
        };
        self.schedulers.iter().flat_map(of)
    }
}

impl SchedulerView {
    fn new(asked: Asked, commit: u64, member: v1::Member) -> Self {
        let (answer, problem) = match asked.answer {
            Ok(answer) => (answer, None),
            Err(problem) => {
                let role = "unreachable".to_owned();
                (v1::ClusterStatusAnswer { role, ..Default::default() }, Some(problem))
            }
        };
        Self {
            id: asked.id.or_else(|| super::present(answer.id)),
            address: asked.address,
            lag: if problem.is_none() { commit.saturating_sub(answer.applied) } else { 0 },
            role: match (answer.role.as_str(), member.state.as_str()) {
                ("follower", "learner" | "joining") => "learner".to_owned(),
                _ => answer.role,
            },
            term: answer.term,
            commit: answer.commit,
            applied: answer.applied,
            first_index: answer.first_index,
            last_index: answer.last_index,
            log_bytes: answer.log_bytes,
            snapshot_index: answer.snapshot_index,
            state_hash: super::text(answer.state_hash),
            state_hash_index: answer.state_hash_index,
            version: super::text(answer.version),
            member: super::text(member.state),
            feature_level: Some(answer.supported_level).filter(|level| *level > 0),
            clock_offset_ms: member.clock_offset_ms,
            disk_free_bytes: super::present(answer.disk_total).map(|_| answer.disk_free),
            disk_total_bytes: super::present(answer.disk_total),
            alarms: answer.alarms,
            problem,
        }
    }

    fn cells(&self, look: Look) -> Vec<Cell> {
        let id = self.id.map(|id| id.to_string()).unwrap_or_default();
        let mut cells =
            vec![Cell::number(id), Cell::new(self.address.as_str()), Cell::state(&self.role)];
        if let Some(problem) = self.problem.as_ref().filter(|_| look.wide) {
            cells.extend((0..9).map(|_| Cell::number("")));
            cells.extend([Cell::new(""), Cell::new(problem.as_str())]);
            return cells;
        }
        let number = |value: u64| {
            let text = if self.problem.is_some() { String::new() } else { value.to_string() };
            Cell::number(text)
        };
        cells.push(number(self.term));
        if look.wide {
            cells.push(number(self.commit));
        }
        cells.extend([number(self.applied), number(self.lag)]);
        cells.extend([Cell::number(size(self.log_bytes)), number(self.snapshot_index)]);
        let hash = self.state_hash.as_deref().unwrap_or_default();
        let hash = hash.strip_prefix("sha256:").unwrap_or(hash);
        cells.push(
            Cell::new(if look.wide { hash.to_owned() } else { short(hash, 8) }).tone(Tone::Meta),
        );
        if look.wide {
            let entries = self.last_index.saturating_add(1).saturating_sub(self.first_index);
            cells.insert(7, Cell::number(entries));
            let clock = self.clock_offset_ms.map(|ms| format!("{ms:+} ms")).unwrap_or_default();
            cells.push(Cell::number(clock));
            cells.push(Cell::number(self.disk_free_bytes.map(size).unwrap_or_default()));
            cells.push(Cell::new(self.version.as_deref().unwrap_or_default()));
        }
        cells
    }
}

impl Card for ClusterView {
    const KIND: &'static str = "ClusterStatus";

    fn key(&self) -> String {
        self.cluster.clone().unwrap_or_default()
    }

    fn draw(&self, look: Look) -> String {
        let answered = self.schedulers.iter().filter(|s| s.problem.is_none()).count();
        let leader = match self.leader {
            Some(id) => format!("scheduler {id}"),
            None => Tone::Bad.paint("none: the cluster takes no changes", look.colour),
        };
        let jobs =
            format!("{} running, {} queued, {} nodes", self.running, self.queued, self.nodes);
        let head = [
            ("cluster", self.cluster.clone().unwrap_or_default()),
            ("leader", leader),
            ("answered", format!("{answered} of {} schedulers", self.schedulers.len())),
            ("jobs", if answered > 0 { jobs } else { String::new() }),
            ("epoch", format!("{}, feature level {}", self.epoch, self.feature_level)),
        ];
        let titles: &[&str] = if look.wide {
            &[
                "ID",
                "ADDRESS",
                "ROLE",
                "TERM",
                "COMMIT",
                "APPLIED",
                "LAG",
                "ENTRIES",
                "LOG",
                "SNAPSHOT",
                "STATE",
                "CLOCK",
                "DISK FREE",
                "VERSION",
            ]
        } else {
            &["ID", "ADDRESS", "ROLE", "TERM", "APPLIED", "LAG", "LOG", "SNAP", "STATE"]
        };
        let rows = self.schedulers.iter().map(|scheduler| scheduler.cells(look));
        labelled(&head, look) + "\n" + &grid(titles, rows, look)
    }
}
