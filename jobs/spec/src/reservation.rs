//! Reservations of nodes: for a span of time nobody runs on them (maintenance), or only the jobs
//! of some projects and users do.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Millis, NodeName, ProjectName, Timestamp};

/// The longest reservation, and the furthest ahead that one may begin: a leap year.
pub const LONGEST: Millis = Millis(366 * 86_400_000);

/// The most nodes that one reservation names. Labels name more.
pub const MOST_NODES: usize = 256;

/// The most labels that it asks for.
const MOST_LABELS: usize = 16;

/// The longest label, key and value, in bytes.
const LONGEST_LABEL: usize = 256;

/// The most projects, and the most users, that one is for.
const MOST_FOR: usize = 64;

/// The longest name of a user, in bytes.
const LONGEST_USER: usize = 128;

/// The longest reason, in characters.
const LONGEST_REASON: usize = 200;

/// A reservation of nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationSpec {
    /// When it begins.
    pub from: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// Which nodes.
    pub nodes: NodeSelection,
    /// What for.
    pub purpose: Purpose,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Some of the nodes, those too that join later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeSelection {
    /// Every node.
    All,
    /// Those of these names.
    Names(BTreeSet<NodeName>),
    /// Those that carry all of these labels.
    Labels(BTreeMap<String, String>),
}

/// What nodes are reserved for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Nobody runs there.
    Maintenance,
    /// Only these jobs run there.
    For {
        /// Those of these projects, and of the queues below them.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        projects: BTreeSet<ProjectName>,
        /// Those that these principals submitted.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        users: BTreeSet<String>,
    },
}

impl NodeSelection {
    /// Whether a node is one of them.
    #[must_use]
    pub fn covers(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::All => true,
            Self::Names(names) => names.contains(name),
            Self::Labels(asked) => asked.iter().all(|(key, value)| labels.get(key) == Some(value)),
        }
    }

    fn problem(&self) -> Option<String> {
        match self {
            Self::All => None,
            Self::Names(names) if names.is_empty() => Some("no node is named".into()),
            Self::Names(names) if names.len() > MOST_NODES => Some(format!(
                "{} nodes are named and {MOST_NODES} is the most: choose them by label",
                names.len()
            )),
            Self::Names(_) => None,
            Self::Labels(labels) if labels.is_empty() => {
                Some("no label is named: reserve all nodes, or some by name".into())
            }
            Self::Labels(labels) if labels.len() > MOST_LABELS => {
                Some(format!("nodes are chosen by at most {MOST_LABELS} labels"))
            }
            Self::Labels(labels) => {
                let long = |(key, value): (&String, &String)| key.len() + value.len();
                let longest = labels.iter().map(long).max();
                longest
                    .is_some_and(|bytes| bytes > LONGEST_LABEL)
                    .then(|| format!("a label has at most {LONGEST_LABEL} bytes"))
            }
        }
    }
}

impl Purpose {
    /// Whether a job may run there: one of a project whose `queues` (its own and those above)
    /// these are, submitted by `user`.
    pub fn admits<'a>(
        &self,
        mut queues: impl Iterator<Item = &'a ProjectName>,
        user: &str,
    ) -> bool {
        match self {
            Self::Maintenance => false,
            Self::For { projects, users } => {
                users.contains(user) || queues.any(|queue| projects.contains(queue))
            }
        }
    }

    fn problem(&self) -> Option<String> {
        let Self::For { projects, users } = self else { return None };
        if projects.is_empty() && users.is_empty() {
            return Some("it is for nobody: name a project or a user, or `--maintenance`".into());
        }
        if projects.len() > MOST_FOR || users.len() > MOST_FOR {
            return Some(format!("it is for at most {MOST_FOR} projects and as many users"));
        }
        let odd = |user: &&String| {
            user.is_empty() || user.len() > LONGEST_USER || user.chars().any(char::is_control)
        };
        let user = users.iter().find(odd)?;
        let text: String = user.chars().filter(|c| !c.is_control()).take(40).collect();
        Some(format!("`{text}` is no user's name: those have 1 to {LONGEST_USER} characters"))
    }
}

impl ReservationSpec {
    /// Whether it holds at some time from `from` on and before `until`.
    #[must_use]
    pub fn meets(&self, from: Timestamp, until: Timestamp) -> bool {
        self.from < until && self.until > from
    }

    /// Whether it has begun and not ended.
    #[must_use]
    pub fn holds_at(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }

    /// What it is for, in words.
    #[must_use]
    pub fn what_for(&self) -> String {
        let Purpose::For { projects, users } = &self.purpose else { return "maintenance".into() };
        let users = users.iter().map(String::as_str);
        let all: Vec<&str> = projects.iter().map(ProjectName::as_str).chain(users).collect();
        let (shown, more) = all.split_at(all.len().min(3));
        let more = if more.is_empty() { "" } else { ", …" };
        format!("{}{more}", shown.join(", "))
    }

    /// What is wrong with it at `now`, if anything. Whether its nodes exist is the state's to say.
    #[must_use]
    pub fn problem(&self, now: Timestamp) -> Option<String> {
        if self.until <= self.from {
            return Some("it would end before it begins: give it a duration".into());
        }
        if self.until <= now {
            let ago = now.since(self.until);
            return Some(format!(
                "it would have ended {ago} ago: begin it later, or make it longer"
            ));
        }
        if self.from.since(now) > LONGEST {
            return Some(format!("it would begin more than {LONGEST} from now"));
        }
        if self.until.since(self.from) > LONGEST {
            return Some(format!("it would last longer than {LONGEST}"));
        }
        if self.reason.chars().count() > LONGEST_REASON || self.reason.contains(char::is_control) {
            return Some(format!("a reason is one line of at most {LONGEST_REASON} characters"));
        }
        self.nodes.problem().or_else(|| self.purpose.problem())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const NOW: Timestamp = Timestamp(100 * HOUR);

    fn spec(change: impl FnOnce(&mut ReservationSpec)) -> ReservationSpec {
        let mut spec = ReservationSpec {
            from: Timestamp(NOW.0 + HOUR),
            until: Timestamp(NOW.0 + 3 * HOUR),
            nodes: NodeSelection::All,
            purpose: Purpose::Maintenance,
            reason: "new switches".into(),
        };
        change(&mut spec);
        spec
    }

    fn problem(change: impl FnOnce(&mut ReservationSpec)) -> Option<String> {
        spec(change).problem(NOW)
    }

    #[test]
    fn what_cannot_be_is_named() {
        assert_eq!(problem(|_| ()), None);
        assert_eq!(problem(|s| s.from = Timestamp(0)), None, "it may have begun");
        let says = |change: &dyn Fn(&mut ReservationSpec), what: &str| {
            let problem = problem(change).unwrap_or_default();
            assert!(problem.contains(what), "{problem:?} does not say {what:?}");
        };
        says(&|s| s.until = s.from, "before it begins");
        says(&|s| (s.from, s.until) = (Timestamp(0), Timestamp(98 * HOUR)), "ended 2h ago");
        says(&|s| s.until = Timestamp(u64::MAX), "last longer");
        let late = Timestamp(u64::MAX - HOUR);
        says(&|s| (s.from, s.until) = (late, Timestamp(u64::MAX)), "from now");
        says(&|s| s.reason = "x".repeat(201), "200 characters");
        says(&|s| s.reason = "a\nb".into(), "one line");
        says(&|s| s.nodes = NodeSelection::Names(BTreeSet::new()), "no node");
        says(&|s| s.nodes = NodeSelection::Labels(BTreeMap::new()), "no label");
        let many = (0..=MOST_NODES).map(|n| format!("n{n}").parse().unwrap()).collect();
        says(&|s| s.nodes = NodeSelection::Names(BTreeSet::clone(&many)), "by label");
        let nobody = Purpose::For { projects: BTreeSet::new(), users: BTreeSet::new() };
        says(&|s| s.purpose = nobody.clone(), "for nobody");
        let users = BTreeSet::from([String::new()]);
        let odd = Purpose::For { projects: BTreeSet::new(), users };
        says(&|s| s.purpose = odd.clone(), "no user's name");
    }

    #[test]
    fn nodes_are_chosen_by_name_by_label_or_all() {
        let labels = BTreeMap::from([("rack".to_owned(), "a".to_owned())]);
        assert!(NodeSelection::All.covers("n1", &BTreeMap::new()));
        let named = NodeSelection::Names(["n1".parse().unwrap()].into());
        assert!(named.covers("n1", &labels) && !named.covers("n2", &labels));
        let labelled = NodeSelection::Labels(labels.clone());
        assert!(labelled.covers("n1", &labels) && !labelled.covers("n1", &BTreeMap::new()));
    }

    #[test]
    fn projects_below_and_users_are_admitted() {
        let lab: ProjectName = "lab".parse().unwrap();
        let vision: ProjectName = "vision".parse().unwrap();
        let users = BTreeSet::from(["ada".to_owned()]);
        let purpose = Purpose::For { projects: BTreeSet::from([lab.clone()]), users };
        assert!(purpose.admits([&lab, &vision].into_iter(), "bob"));
        assert!(!purpose.admits([&vision].into_iter(), "bob"));
        assert!(purpose.admits([&vision].into_iter(), "ada"));
        assert!(!Purpose::Maintenance.admits([&lab].into_iter(), "ada"));
        assert_eq!(spec(|s| s.purpose = purpose.clone()).what_for(), "lab, ada");
    }

    #[test]
    fn it_reads_back_as_it_was_written() {
        let spec = spec(|s| s.nodes = NodeSelection::Names(["n1".parse().unwrap()].into()));
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<ReservationSpec>(&json).unwrap(), spec);
        let bytes = rmp_serde::to_vec_named(&spec).unwrap();
        assert_eq!(rmp_serde::from_slice::<ReservationSpec>(&bytes).unwrap(), spec);
    }
}
