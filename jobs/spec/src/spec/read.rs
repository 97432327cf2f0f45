//! From a file's text to a checked spec. A file is read again without what was wrong until
//! nothing is, so that all of its errors come at once. Reading the file itself is the caller's.

use std::{fmt, path::Path};

use miette::LabeledSpan;

use super::{
    JobSpec,
    error::{SpecError, SpecErrors},
    tree::{self, Malformed, Node, Span},
};

mod de;
mod explain;
mod fault;

use explain::Explain;
use fault::{Fault, What};

/// The largest spec file, in bytes.
pub const MAX_TEXT: usize = 1 << 20;

/// More errors than these are not listed.
const MAX_ERRORS: usize = 20;

/// How a spec file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// TOML 1.
    #[default]
    Toml,
    /// YAML 1.2, one document.
    Yaml,
    /// JSON.
    Json,
}

impl Format {
    /// The format that a file's name tells: `.yaml`, `.yml`, `.json`, otherwise TOML.
    #[must_use]
    pub fn of_path(path: &Path) -> Self {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match ending.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Self::Yaml,
            "json" => Self::Json,
            _ => Self::Toml,
        }
    }

    /// What a table is called in this notation.
    const fn table(self) -> &'static str {
        match self {
            Self::Toml => "a table",
            Self::Yaml => "a mapping",
            Self::Json => "an object",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Toml => "TOML",
            Self::Yaml => "YAML",
            Self::Json => "JSON",
        })
    }
}

impl JobSpec {
    /// Reads a spec and checks it. `name` is the file's name, for messages.
    ///
    /// # Errors
    /// All that is wrong with the file, as far as it can be told, in the order of the text.
    pub fn read(name: &str, text: &str, format: Format) -> Result<Self, SpecErrors> {
        if text.len() > MAX_TEXT {
            let message = format!("the file is larger than {} KiB, no spec is", MAX_TEXT >> 10);
            let error = SpecError { message, labels: Vec::new(), help: None };
            return Err(SpecErrors::new(name, "", vec![error]));
        }
        let tree = match format {
            Format::Toml => tree::toml(text),
            Format::Yaml => tree::yaml(text),
            Format::Json => tree::json(text),
        };
        let result = match tree {
            Ok(tree) => spec(tree, format),
            Err(found) => Err(found.iter().map(|found| malformed(found, format)).collect()),
        };
        result.map_err(|mut errors| {
            errors.sort_by_key(SpecError::offset);
            errors.truncate(MAX_ERRORS);
            SpecErrors::new(name, text, errors)
        })
    }
}

fn spec(mut tree: Node, format: Format) -> Result<JobSpec, Vec<SpecError>> {
    let whole = tree.clone();
    let mut faults: Vec<Fault> = Vec::new();
    let mut pruned: Vec<Vec<String>> = Vec::new();
    let spec = loop {
        let fault = match serde::Deserialize::deserialize(&tree) {
            Ok(spec) => break Some(spec),
            Err(fault) => fault,
        };
        let path = fault.path();
        let ours = matches!(&fault.what, What::MissingKey { key } if pruned.iter().any(|gone| {
            gone.split_last().is_some_and(|(last, table)| last == key && table == path)
        }));
        if !ours {
            faults.push(fault);
        }
        if faults.len() >= MAX_ERRORS || !tree.prune(&path) {
            break None;
        }
        pruned.push(path);
    };
    let explain = Explain::new(format, &whole);
    let mut errors: Vec<SpecError> = faults.into_iter().map(|fault| explain.fault(fault)).collect();
    let spec: Option<JobSpec> = spec;
    errors.extend(explain.missing(&errors));
    let Some(spec) = spec else { return Err(errors) };
    if let Err(invalid) = spec.check() {
        // A table that was not read in full cannot be judged as a whole.
        let judged = |path: &str| {
            let table = path.split('.').next().unwrap_or_default();
            pruned.iter().all(|gone| gone.first().is_none_or(|gone| gone != table))
        };
        let problems = invalid.problems.iter().filter(|problem| judged(&problem.path));
        errors.extend(problems.map(|problem| explain.problem(problem)));
    }
    if errors.is_empty() { Ok(spec) } else { Err(errors) }
}

fn malformed(malformed: &Malformed, format: Format) -> SpecError {
    match malformed {
        Malformed::Syntax { what, span } => SpecError {
            message: format!("this is not {format}: {what}"),
            labels: vec![mark(span)],
            help: None,
        },
        Malformed::Unreasonable { what, span } => SpecError {
            message: format!("no job spec is like this: {what}"),
            labels: vec![mark(span)],
            help: None,
        },
        Malformed::Duplicate { key, first, again } => {
            let mut labels = vec![label("said again here", again)];
            labels.extend(first.as_ref().map(|first| label("said here first", first)));
            SpecError {
                message: format!("duplicate key `{key}`"),
                labels,
                help: Some("keep one of them".into()),
            }
        }
    }
}

fn label(text: &str, span: &Span) -> LabeledSpan {
    LabeledSpan::at(span.clone(), text)
}

/// Marks a place that needs no words.
fn mark(span: &Span) -> LabeledSpan {
    LabeledSpan::new_with_span(None, span.clone())
}

#[cfg(test)]
mod tests;
