//! The schedulers as members: who votes, who comes and goes, and what each says of itself.

use serde::Serialize;
use trainyard_proto::v1;

use crate::output::{Cell, Look, Row, Tone, human::size};

/// A member.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct MemberView {
    pub(crate) id: u64,
    pub(crate) address: String,
    pub(crate) leader: bool,
    /// `voter`, `learner`, `joining` or `leaving`.
    pub(crate) state: String,
    /// The member whose place it is to take.
    replaces: Option<u64>,
    /// The last log index known to be on its disk, where the leader answered.
    matched: u64,
    version: Option<String>,
    /// The highest feature level that it can apply.
    feature_level: Option<u32>,
    /// Its clock less that of the scheduler that answered.
    clock_offset_ms: Option<i64>,
    disk_free_bytes: Option<u64>,
    disk_total_bytes: Option<u64>,
}

impl MemberView {
    /// A member of a cluster that `leader` leads.
    pub(crate) fn new(member: v1::Member, leader: u64) -> Self {
        Self {
            leader: member.id == leader,
            id: member.id,
            address: member.address,
            state: member.state,
            replaces: super::present(member.replaces),
            matched: member.matched,
            version: super::text(member.version),
            feature_level: Some(member.feature_level).filter(|level| *level > 0),
            clock_offset_ms: member.clock_offset_ms,
            disk_free_bytes: super::present(member.disk_total).map(|_| member.disk_free),
            disk_total_bytes: super::present(member.disk_total),
        }
    }
}

impl Row for MemberView {
    const KIND: &'static str = "Member";
    const LIST: &'static str = "MemberList";

    fn key(&self) -> String {
        self.id.to_string()
    }

    fn titles(wide: bool) -> &'static [&'static str] {
        if wide {
            &[
                "ID",
                "ADDRESS",
                "STATE",
                "ON DISK",
                "VERSION",
                "LEVEL",
                "CLOCK",
                "DISK FREE",
                "REPLACES",
            ]
        } else {
            &["ID", "ADDRESS", "STATE", "ON DISK", "VERSION", "CLOCK", "DISK FREE"]
        }
    }

    fn cells(&self, look: Look) -> Vec<Cell> {
        let state = if self.leader { "leader" } else { self.state.as_str() };
        let clock = self.clock_offset_ms.map(|ms| format!("{ms:+} ms")).unwrap_or_default();
        let version = match &self.version {
            Some(version) => Cell::new(version.as_str()),
            None => Cell::new("no answer").tone(Tone::Bad),
        };
        let mut cells = vec![
            Cell::number(self.id),
            Cell::new(self.address.as_str()),
            Cell::state(state),
            Cell::number(self.matched),
            version,
        ];
        if look.wide {
            let level = self.feature_level.map(|level| level.to_string()).unwrap_or_default();
            cells.push(Cell::number(level));
        }
        cells.push(Cell::number(clock));
        cells.push(Cell::number(self.disk_free_bytes.map(size).unwrap_or_default()));
        if look.wide {
            let old = self.replaces.map(|id| id.to_string()).unwrap_or_default();
            cells.push(Cell::number(old));
        }
        cells
    }
}
