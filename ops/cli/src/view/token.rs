//! Tokens, without their secrets.

use serde::Serialize;
use trainyard_proto::v1;

use crate::output::{
    Cell, Look, Row, Tone,
    human::{ago, short, span},
};

/// A token.
#[derive(Debug, Serialize)]
pub(crate) struct TokenView {
    pub(crate) id: String,
    kind: String,
    pub(crate) role: String,
    /// None: every project.
    projects: Vec<String>,
    name: Option<String>,
    state: String,
    created_unix_ms: u64,
    pub(crate) expires_unix_ms: u64,
    created_by: String,
}

impl From<v1::Token> for TokenView {
    fn from(token: v1::Token) -> Self {
        Self {
            id: token.id,
            kind: token.kind,
            role: token.role,
            projects: token.projects,
            name: super::text(token.name),
            state: token.state,
            created_unix_ms: token.created_ms,
            expires_unix_ms: token.expires_ms,
            created_by: token.created_by,
        }
    }
}

impl Row for TokenView {
    const KIND: &'static str = "Token";
    const LIST: &'static str = "TokenList";

    fn key(&self) -> String {
        self.id.clone()
    }

    fn titles(wide: bool) -> &'static [&'static str] {
        if wide {
            &["ID", "STATE", "ROLE", "PROJECTS", "NAME", "EXPIRES", "CREATED", "BY", "KIND"]
        } else {
            &["ID", "STATE", "ROLE", "PROJECTS", "NAME", "EXPIRES"]
        }
    }

    fn cells(&self, look: Look) -> Vec<Cell> {
        let projects = match self.projects.as_slice() {
            [] if self.kind == "api" => "all".to_owned(),
            projects => projects.join(","),
        };
        let expires = match self.expires_unix_ms.saturating_sub(look.now_ms) {
            0 => ago(look.now_ms, self.expires_unix_ms),
            left => format!("in {}", span(left)),
        };
        let state = match self.state.as_str() {
            "valid" => Tone::Good,
            "revoked" => Tone::Bad,
            _ => Tone::Meta,
        };
        let mut cells = vec![
            Cell::new(short(&self.id, look.id_chars)),
            Cell::new(self.state.as_str()).tone(state),
            Cell::new(self.role.as_str()),
            if look.wide { Cell::new(projects) } else { Cell::cut(&projects, 20) },
            Cell::cut(self.name.as_deref().unwrap_or_default(), 20),
            Cell::new(expires).tone(Tone::Meta),
        ];
        if look.wide {
            cells.extend([
                Cell::new(ago(look.now_ms, self.created_unix_ms)).tone(Tone::Meta),
                Cell::new(self.created_by.as_str()),
                Cell::new(self.kind.as_str()),
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
    fn a_listing_shows_who_may_do_what_until_when() {
        let token = |id: &str, role: &str, projects: &[&str], state: &str| v1::Token {
            id: id.to_owned(),
            kind: if role == "worker" { "join" } else { "api" }.to_owned(),
            role: role.to_owned(),
            projects: projects.iter().map(ToString::to_string).collect(),
            name: if role == "worker" { "" } else { "ada" }.to_owned(),
            created_ms: 9_000_000,
            expires_ms: if state == "expired" { 9_500_000 } else { 13_600_000 },
            created_by: "admin".to_owned(),
            state: state.to_owned(),
        };
        let items = vec![
            TokenView::from(token("000000000001", "researcher", &["a", "b"], "valid")),
            TokenView::from(token("000000000002", "admin", &[], "revoked")),
            TokenView::from(token("111111111111", "worker", &[], "expired")),
        ];
        let list = List { items, more: false, stale: false, empty: String::new() };
        let out = Output { format: Format::Wide, quiet: false, colour: false, colour_err: false };
        let look = Look { now_ms: 10_000_000, colour: false, wide: true, id_chars: 12 };
        insta::assert_snapshot!(out.list(&list, look).unwrap().body);
    }
}
