//! Names in certificates: `trainyard://CLUSTER/scheduler/3`, `…/worker/NODE`, `…/person/ROLE/NAME`.

use std::{fmt, str::FromStr};

use trainyard_jobs::{ClusterId, NodeId, Role};

/// Whom a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A member of the replicated scheduler.
    Scheduler(u64),
    /// A worker's agent.
    Worker(NodeId),
    /// Somebody, with the role that the certificate grants.
    Person {
        /// What the bearer may do.
        role: Role,
        /// Who it is, in the audit trail.
        name: String,
    },
}

/// A subject of one cluster, as a certificate carries it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// Who in it.
    pub subject: Subject,
}

/// Text that names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no identity: expected trainyard://CLUSTER/KIND/NAME")]
pub struct InvalidIdentity(String);

pub(crate) const SCHEME: &str = "trainyard://";

/// Longest name of a person, in bytes.
const MAX_NAME: usize = 64;

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheduler(id) => write!(f, "scheduler/{id}"),
            Self::Worker(node) => write!(f, "worker/{node}"),
            Self::Person { role, name } => write!(f, "person/{role}/{name}"),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.cluster, self.subject)
    }
}

impl FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        let invalid = || InvalidIdentity(text.chars().take(200).collect());
        let path = text.strip_prefix(SCHEME).ok_or_else(invalid)?;
        let parts: Vec<&str> = path.split('/').collect();
        let (cluster, subject) = match parts.as_slice() {
            [cluster, "scheduler", id] => {
                (cluster, Subject::Scheduler(id.parse().map_err(|_| invalid())?))
            }
            [cluster, "worker", node] => {
                (cluster, Subject::Worker(node.parse().map_err(|_| invalid())?))
            }
            [cluster, "person", role, name] if is_name(name) => (
                cluster,
                Subject::Person {
                    role: role.parse().map_err(|_| invalid())?,
                    name: (*name).to_owned(),
                },
            ),
            _ => return Err(invalid()),
        };
        Ok(Self { cluster: cluster.parse().map_err(|_| invalid())?, subject })
    }
}

fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@' | '+');
    !text.is_empty() && text.len() <= MAX_NAME && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_its_text() {
        let cluster = "0190a000-0000-7000-8000-000000000001";
        for subject in ["scheduler/3", "worker/0123456789ab", "person/admin/ada@lab.example"] {
            let text = format!("{SCHEME}{cluster}/{subject}");
            assert_eq!(text.parse::<Identity>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nothing_else_names_one() {
        let cluster = "0190a000-0000-7000-8000-000000000001";
        let bad = [
            "",
            "scheduler/x",
            "person/king/ada",
            "person/admin/a b",
            "person/admin/",
            "worker/x/y",
        ];
        for subject in bad {
            assert!(
                format!("{SCHEME}{cluster}/{subject}").parse::<Identity>().is_err(),
                "{subject}"
            );
        }
        assert!("https://example.org/".parse::<Identity>().is_err());
    }
}
