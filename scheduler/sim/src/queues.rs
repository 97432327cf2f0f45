//! Queues of a replay, from a file with a table a queue: its settings as `yard queue set` sets
//! them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use trainyard_jobs::{ProjectName, QueueSpec, queue::ROOT};

use crate::SimError;

/// Reads the settings of queues, each after the one above it.
///
/// # Errors
/// When the file cannot be read, or says what cannot be.
pub fn read_queues(path: &Path) -> Result<Vec<(ProjectName, QueueSpec)>, SimError> {
    let text = std::fs::read_to_string(path).map_err(|source| SimError::File {
        doing: "read the queues",
        path: path.to_owned(),
        source,
    })?;
    parse_queues(&path.display().to_string(), &text)
}

/// Reads the settings of queues from a file's text, each after the one above it.
///
/// # Errors
/// When it says what cannot be.
pub fn parse_queues(file: &str, text: &str) -> Result<Vec<(ProjectName, QueueSpec)>, SimError> {
    let wrong = |what: String| SimError::Queues { file: file.to_owned(), what };
    let mut left: BTreeMap<ProjectName, QueueSpec> =
        toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
    for (name, spec) in &left {
        if let Some(problem) = spec.problem(name) {
            return Err(wrong(format!("{name}: {problem}")));
        }
    }
    let mut order = Vec::with_capacity(left.len());
    let mut placed = BTreeSet::new();
    while !left.is_empty() {
        let ready = |(_, spec): &(&ProjectName, &QueueSpec)| match &spec.parent {
            Some(parent) => parent.as_str() == ROOT || placed.contains(parent),
            None => true,
        };
        let next = left.iter().find(ready).map(|(name, _)| name.clone());
        let Some((name, spec)) = next.and_then(|name| left.remove_entry(&name)) else {
            return Err(wrong(homeless(&left)));
        };
        placed.insert(name.clone());
        order.push((name, spec));
    }
    Ok(order)
}

/// Why these queues have no place in the tree.
fn homeless(left: &BTreeMap<ProjectName, QueueSpec>) -> String {
    let above = |spec: &QueueSpec| spec.parent.clone().filter(|above| !left.contains_key(above));
    let missing = left.iter().find_map(|(name, spec)| Some((name, above(spec)?)));
    match missing {
        Some((name, parent)) => {
            format!("{name}: there is no queue `{parent}` to be below; add `[{parent}]`")
        }
        None => {
            let names: Vec<&str> = left.keys().map(ProjectName::as_str).collect();
            format!("{} would be below themselves; give one another `parent`", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use trainyard_jobs::{Policy, Quota};

    use super::*;

    #[test]
    fn a_queue_stands_after_the_one_above_it() {
        let text = "[a]\nparent = \"lab\"\nweight = 2\n\
            quotas = [{ guaranteed = 4, limit = 8 }]\n[lab]\nparent = \"root\"\n\
            [root]\npolicy = \"las\"\nmin_run = \"10m\"\n";
        let queues = parse_queues("q.toml", text).expect("queues");
        let names: Vec<&str> = queues.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["lab", "a", "root"]);
        let quota = Quota { gpu_type: None, guaranteed: 4, limit: Some(8) };
        assert_eq!((queues[1].1.weight, &queues[1].1.quotas), (Some(2), &vec![quota]));
        assert_eq!(queues[2].1.policy, Some(Policy::Las));
    }

    #[test]
    fn what_cannot_be_is_told() {
        for (text, says) in [
            ("[a]\nparent = \"lab\"", "a: there is no queue `lab`"),
            ("[a]\nparent = \"b\"\n[b]\nparent = \"a\"", "a, b would be below themselves"),
            ("[a]\nweight = 0", "a: `weight` is from 1"),
            ("[a]\nwheight = 1", "unknown field `wheight`"),
            ("[\"A b\"]\nweight = 1", "not a valid name"),
            ("a = 1", "invalid type"),
        ] {
            let error = parse_queues("q.toml", text).expect_err(text).to_string();
            assert!(error.contains(says) && error.contains("q.toml"), "{text}: {error}");
        }
    }
}
