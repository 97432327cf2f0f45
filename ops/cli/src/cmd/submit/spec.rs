//! From a spec file and `--set` to a checked spec. A value that is set is read as TOML reads
//! it, and as text if it is no TOML value, so that `--set run.recipe=gpt` needs no quotes.

use std::path::Path;

use serde_json::Value;
use trainyard_jobs::{JobSpec, spec::Format};

use crate::error::CliError;

/// Reads a spec; `project` is what `--project` says.
pub(super) fn read(
    path: &Path,
    sets: &[String],
    project: Option<&str>,
) -> Result<JobSpec, CliError> {
    let text = super::read_text(path)?;
    let name = path.display().to_string();
    let wrong = |errors: trainyard_jobs::spec::SpecErrors| CliError::Source(errors.into());
    let spec = JobSpec::read(&name, &text, Format::of_path(path)).map_err(wrong)?;
    let project = project.map(|project| format!("project={project}"));
    let sets: Vec<&str> = project.iter().chain(sets).map(String::as_str).collect();
    if sets.is_empty() {
        return Ok(spec);
    }
    let mut value: Value = serde_json::from_str(&spec.canonical_json())
        .map_err(|error| CliError::internal(format!("cannot read back the spec: {error}")))?;
    for change in &sets {
        set(&mut value, change)?;
    }
    let text = serde_json::to_string_pretty(&value)
        .map_err(|error| CliError::internal(format!("cannot write the spec: {error}")))?;
    JobSpec::read(&format!("{name} with --set"), &text, Format::Json).map_err(wrong)
}

fn set(spec: &mut Value, change: &str) -> Result<(), CliError> {
    let Some((path, text)) = change.split_once('=').filter(|(path, _)| !path.is_empty()) else {
        return Err(CliError::usage(format!("`--set {change}` changes nothing"))
            .help("write --set KEY=VALUE, such as --set limits.time=2h"));
    };
    let mut place = spec;
    for key in path.split('.') {
        if place.is_null() {
            *place = Value::Object(serde_json::Map::new());
        }
        let Value::Object(table) = place else {
            return Err(CliError::usage(format!("`--set {change}`: nothing lies below a value"))
                .help("`yard schema job` describes what a spec holds"));
        };
        place = table.entry(key).or_insert(Value::Null);
    }
    *place = if is_text(path) { Value::String(text.to_owned()) } else { value(text) };
    Ok(())
}

/// The values of these tables are text, whatever they look like.
fn is_text(path: &str) -> bool {
    path.starts_with("run.env.") || path.starts_with("resources.node_labels.")
}

fn value(text: &str) -> Value {
    let read = toml::from_str::<toml::Table>(&format!("value = {text}")).ok();
    let read = read.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    match read {
        None | Some(toml::Value::Datetime(_)) => Value::String(text.to_owned()),
        Some(value) => serde_json::to_value(value).unwrap_or_else(|_| text.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SPEC: &str = "name = 'a'\n[resources]\ndevice = 'cpu'\n[run]\ncommand = ['true']\n";

    fn with(sets: &[&str]) -> Result<JobSpec, CliError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("job.toml");
        fs::write(&path, SPEC).unwrap();
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        read(&path, &sets, None)
    }

    #[test]
    fn values_are_set_wherever_they_lie() {
        let spec = with(&[
            "limits.time=2h",
            "priority=-3",
            "run.env.A=x=y",
            "run.env.B=60",
            "run.command=['a','b']",
        ])
        .unwrap();
        assert_eq!(spec.limits.time.map(|time| time.0), Some(7_200_000));
        assert_eq!(spec.priority, -3);
        assert_eq!(spec.run.env.get("A").map(String::as_str), Some("x=y"));
        assert_eq!(spec.run.env.get("B").map(String::as_str), Some("60"));
        assert_eq!(spec.run.command, ["a", "b"]);
    }

    #[test]
    fn what_is_set_is_checked_like_the_file() {
        for wrong in ["limit.time=2h", "limits.time=soon", "name.x=1", "=", "name"] {
            assert_eq!(with(&[wrong]).unwrap_err().exit().code(), 2, "{wrong}");
        }
    }
}
