//! Which nodes are lost. A node is called lost a full grace after the later of its last contact
//! and this leader's beginning. When many fall silent together the leader suspects itself: it
//! holds and hands the leadership on, because a cut-off leader must not declare everybody dead.

use std::time::Duration;

use trainyard_core::{Command, State, state::NodeState};
use trainyard_jobs::{NodeId, SessionId};
use trainyard_probe::planted;

use super::contacts::Contacts;

/// Fewer silent nodes than this are never suspicious.
const SUSPICIOUS: usize = 3;

/// How many graces a leader holds before it believes what it sees. It hands on once in four
/// such spans, so that every member gets its turn and leadership does not circle.
const HOLD: u32 = 5;

/// One leader's watch over its nodes, from the beginning of its term. Times are of one monotonic
/// clock.
#[derive(Debug, Clone)]
pub struct Watch {
    grace: Duration,
    began: Duration,
    last_look: Duration,
}

/// A node that has been silent for longer than the grace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silent {
    /// The node.
    pub node: NodeId,
    /// The life of its agent that fell silent.
    pub session: SessionId,
    /// For how long.
    pub silent_for: Duration,
}

/// What a look found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The nodes to call lost.
    pub lost: Vec<Silent>,
    /// All nodes that are silent.
    pub silent: usize,
    /// The nodes that count as up.
    pub up: usize,
    /// So many fell silent together that this leader may be the one that is cut off.
    pub suspects_itself: bool,
}

impl Silent {
    /// Calls the node lost, unless it was heard under another session meanwhile.
    #[must_use]
    pub fn command(&self) -> Command {
        Command::MarkLost { node: self.node.clone(), session: self.session }
    }
}

impl Watch {
    /// Begins to watch.
    #[must_use]
    pub const fn new(grace: Duration, now: Duration) -> Self {
        Self { grace, began: now, last_look: now }
    }

    /// Looks at who is silent. To be called every heartbeat.
    pub fn look(&mut self, state: &State, contacts: &Contacts, now: Duration) -> Verdict {
        // A leader that was itself stopped for a while heard nobody, and nobody is to blame.
        if now.saturating_sub(self.last_look) > self.grace / 2 {
            self.began = now;
        }
        self.last_look = now;
        let up: Vec<_> =
            state.nodes().values().filter(|node| node.state == NodeState::Up).collect();
        let silent = up.iter().map(|node| {
            let heard = contacts.get(&node.id).filter(|live| live.session == node.session);
            let since = heard.map_or(self.began, |live| live.seen.max(self.began));
            Silent {
                node: node.id.clone(),
                session: node.session,
                silent_for: now.saturating_sub(since),
            }
        });
        let grace = if planted("node lost without grace") { self.grace / 10 } else { self.grace };
        let mut lost: Vec<_> = silent.filter(|node| node.silent_for > grace).collect();
        let (silent, up) = (lost.len(), up.len());
        let suspects_itself = silent >= SUSPICIOUS && silent.saturating_mul(5) > up;
        if suspects_itself {
            lost.retain(|node| node.silent_for >= self.grace.saturating_mul(HOLD));
        }
        Verdict { lost, silent, up, suspects_itself }
    }
}

/// When a member last handed the leadership on because too many nodes were silent. Outlives its
/// terms.
#[derive(Debug, Clone, Copy, Default)]
pub struct HandedOn(Option<Duration>);

impl HandedOn {
    /// Whether another member should look now, unless this one let others look not long ago.
    pub fn ask(&mut self, grace: Duration, now: Duration) -> bool {
        let span = grace.saturating_mul(HOLD).saturating_mul(4);
        let due = self.0.is_none_or(|at| now.saturating_sub(at) > span);
        if due {
            self.0 = Some(now);
        }
        due
    }
}
