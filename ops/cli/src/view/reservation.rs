//! Reservations: which nodes, when, and for whom.

use std::collections::BTreeMap;

use serde::Serialize;
use trainyard_proto::v1;

use crate::output::{
    Cell, Look, Row, Tone,
    human::{ago, plural, span},
};

/// A reservation.
#[derive(Debug, Serialize)]
pub(crate) struct ReservationView {
    name: String,
    state: &'static str,
    maintenance: bool,
    projects: Vec<String>,
    users: Vec<String>,
    from_unix_ms: u64,
    until_unix_ms: u64,
    all_nodes: bool,
    nodes: Vec<String>,
    labels: BTreeMap<String, String>,
    /// How many nodes it is about now.
    covers: u32,
    reason: Option<String>,
    created_unix_ms: u64,
    created_by: String,
}

impl From<v1::Reservation> for ReservationView {
    fn from(reservation: v1::Reservation) -> Self {
        let nodes = reservation.nodes.unwrap_or_default();
        Self {
            name: reservation.name,
            state: if reservation.begun { "active" } else { "ahead" },
            maintenance: reservation.maintenance,
            projects: reservation.projects,
            users: reservation.users,
            from_unix_ms: reservation.from_ms,
            until_unix_ms: reservation.until_ms,
            all_nodes: nodes.all,
            nodes: nodes.names,
            labels: nodes.labels.into_iter().collect(),
            covers: reservation.covers,
            reason: super::text(reservation.reason),
            created_unix_ms: reservation.created_ms,
            created_by: reservation.created_by,
        }
    }
}

impl ReservationView {
    fn purpose(&self) -> String {
        let whom: Vec<&str> = self.projects.iter().chain(&self.users).map(String::as_str).collect();
        match (self.maintenance, whom.is_empty()) {
            (true, _) => "maintenance".to_owned(),
            (false, true) => "others".to_owned(),
            (false, false) => whom.join(","),
        }
    }

    fn selection(&self) -> String {
        if self.all_nodes {
            return "all".to_owned();
        }
        let labels = self.labels.iter().map(|(key, value)| format!("{key}={value}"));
        self.nodes.iter().cloned().chain(labels).collect::<Vec<_>>().join(",")
    }
}

/// An instant from now: `in 2h`, `3m ago`.
fn when(now_ms: u64, at_ms: u64) -> String {
    match at_ms.saturating_sub(now_ms) {
        0 => ago(now_ms, at_ms),
        left => format!("in {}", span(left)),
    }
}

impl Row for ReservationView {
    const KIND: &'static str = "Reservation";
    const LIST: &'static str = "ReservationList";

    fn key(&self) -> String {
        self.name.clone()
    }

    fn titles(wide: bool) -> &'static [&'static str] {
        if wide {
            &["NAME", "STATE", "FOR", "NODES", "BEGINS", "ENDS", "WHICH", "REASON", "CREATED", "BY"]
        } else {
            &["NAME", "STATE", "FOR", "NODES", "BEGINS", "ENDS"]
        }
    }

    fn cells(&self, look: Look) -> Vec<Cell> {
        let tone = if self.state == "active" { Tone::Good } else { Tone::Meta };
        let purpose = self.purpose();
        let mut cells = vec![
            if look.wide { Cell::new(self.name.as_str()) } else { Cell::cut(&self.name, 20) },
            Cell::new(self.state).tone(tone),
            if look.wide { Cell::new(purpose) } else { Cell::cut(&purpose, 16) },
            Cell::new(plural(self.covers, "node")),
            Cell::new(when(look.now_ms, self.from_unix_ms)),
            Cell::new(when(look.now_ms, self.until_unix_ms)),
        ];
        if look.wide {
            cells.extend([
                Cell::cut(&self.selection(), 40),
                Cell::cut(self.reason.as_deref().unwrap_or_default(), 40),
                Cell::new(ago(look.now_ms, self.created_unix_ms)).tone(Tone::Meta),
                Cell::new(self.created_by.as_str()),
            ]);
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, List, Output};

    #[test]
    fn a_listing_shows_what_is_reserved_for_whom_and_when() {
        let reservation = |name: &str, from_ms: u64, projects: &[&str]| v1::Reservation {
            name: name.to_owned(),
            from_ms,
            until_ms: from_ms + 7_200_000,
            nodes: Some(v1::NodeSelection { all: true, ..Default::default() }),
            maintenance: projects.is_empty(),
            projects: projects.iter().map(ToString::to_string).collect(),
            users: Vec::new(),
            reason: "new switches".to_owned(),
            created_ms: 9_000_000,
            created_by: "ada".to_owned(),
            covers: 2,
            begun: from_ms <= 10_000_000,
        };
        let items = vec![
            ReservationView::from(reservation("upgrade", 9_940_000, &[])),
            ReservationView::from(reservation("course", 13_600_000, &["lab", "vision"])),
        ];
        let list = List { items, more: false, stale: false, empty: String::new() };
        let out = Output { format: Format::Wide, quiet: false, colour: false, colour_err: false };
        let look = Look { now_ms: 10_000_000, colour: false, wide: true, id_chars: 12 };
        let body = out.list(&list, look).unwrap().body;
        let cells: Vec<String> = body
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            cells,
            [
                "NAME STATE FOR NODES BEGINS ENDS WHICH REASON CREATED BY",
                "upgrade active maintenance 2 nodes 1m ago in 1h59m all new switches 16m ago ada",
                "course ahead lab,vision 2 nodes in 1h in 3h all new switches 16m ago ada",
            ]
        );
    }
}
