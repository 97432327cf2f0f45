//! What people may do, as one ladder: each role may do all that the one before it may.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Text that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a role: expected viewer, researcher, operator or admin")]
pub struct InvalidRole(String);

/// What a person may do, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks at jobs, nodes and models of its projects.
    Viewer,
    /// Also submits and cancels in its projects, and reads their logs and artifacts.
    Researcher,
    /// Also looks at and acts on every project, drains nodes, reads the audit trail.
    Operator,
    /// Everything, tokens and members too.
    Admin,
}

impl Role {
    /// Every role, from least to most.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Researcher, Self::Operator, Self::Admin];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Researcher => "researcher",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        let named = Self::ALL.into_iter().find(|role| role.as_str() == text);
        named.ok_or_else(|| InvalidRole(text.chars().take(40).collect()))
    }
}
