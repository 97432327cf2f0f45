//! Faults and problems in words: what is wrong, what was expected with an example, the nearest
//! right key, and the table where a key belongs. Words only; nothing is decided here.

use crate::spec::{
    check::Problem,
    error::SpecError,
    schema::Lookup,
    tree::{Node, Span, Value},
};

use super::{
    Format,
    fault::{Fault, Found, What},
    label, mark,
};

/// How alike two keys must be for the one to be taken for the other, from 0 to 1.
const ALIKE: f64 = 0.75;

pub(super) struct Explain<'t> {
    format: Format,
    tree: &'t Node,
    lookup: Lookup,
}

impl<'t> Explain<'t> {
    pub(super) fn new(format: Format, tree: &'t Node) -> Self {
        Self { format, tree, lookup: Lookup::new() }
    }

    /// A fault of the shape.
    pub(super) fn fault(&self, fault: Fault) -> SpecError {
        let path = fault.path();
        let Fault { what, span, in_list, .. } = fault;
        match what {
            What::UnknownKey { key, known } => self.unknown_key(&key, known, &path, span),
            What::MissingKey { key } => self.missing_key(key, path, span),
            What::UnknownChoice { choice, known } => error(
                format!("`{}` cannot be `{}`", dotted(&path), shortened(&choice)),
                span.as_ref().map(|span| ("not a choice".into(), span)),
                Some(match nearest(&choice.to_ascii_lowercase(), known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("write {}", listed(known.iter().copied(), "or")),
                }),
            ),
            What::WrongType { expected, found } => {
                let name = if in_list {
                    format!("an item of `{}`", dotted(&path))
                } else {
                    format!("`{}`", dotted(&path))
                };
                let name = if path.is_empty() { "the spec".to_owned() } else { name };
                let example = self.lookup.example(&path).filter(|_| !in_list);
                self.wrong_type(&name, &expected, &found, example, span)
            }
            What::Other { message } => {
                // The types' own messages end in what to write, after their last colon.
                let (message, help) = match message.rsplit_once(": ") {
                    Some((message, help)) => (message.to_owned(), Some(help.to_owned())),
                    None => (message, None),
                };
                let place = span.as_ref().map(|span| (format!("in `{}`", dotted(&path)), span));
                error(message, place, help)
            }
        }
    }

    /// The keys that the top level must have and has not, other than those in `said`.
    pub(super) fn missing(&self, said: &[SpecError]) -> Vec<SpecError> {
        if !matches!(self.tree.value, Value::Table(_)) {
            return Vec::new();
        }
        let required = self.lookup.required();
        let absent = required.iter().filter(|key| self.tree.entry(&[key]).is_none());
        let errors = absent.map(|key| self.missing_key(key, Vec::new(), None));
        errors.filter(|error| !said.contains(error)).collect()
    }

    /// A problem that the shape cannot say, at its key or at the table that lacks it.
    pub(super) fn problem(&self, problem: &Problem) -> SpecError {
        let keys: Vec<&str> = problem.path.split('.').collect();
        let place = (1..=keys.len()).rev().find_map(|n| self.tree.entry(keys.get(..n)?));
        let span = place.map(|entry| match entry.value.value {
            Value::Table(_) => &entry.key_span,
            _ => &entry.value.span,
        });
        SpecError {
            message: problem.message.clone(),
            labels: span.map(mark).into_iter().collect(),
            help: Some(problem.help.clone()),
        }
    }

    fn unknown_key(
        &self,
        key: &str,
        known: &'static [&'static str],
        path: &[String],
        span: Option<Span>,
    ) -> SpecError {
        let table = path.split_last().map_or("", |(_, table)| table.first().map_or("", |t| t));
        let tables = self.lookup.tables();
        let others = || tables.iter().filter(|(name, _)| name != table);
        let home = others().find(|(_, keys)| keys.iter().any(|other| other == key));
        let here = nearest(key, known.iter().copied());
        let there = || {
            others().find_map(|(home, keys)| {
                Some((home, nearest(key, keys.iter().map(String::as_str))?))
            })
        };
        let help = if let Some((home, _)) = home {
            format!("`{key}` belongs {}", self.place(home, key))
        } else if let Some(near) = here {
            format!("did you mean `{near}`?")
        } else if let Some((home, near)) = there() {
            format!("did you mean `{near}`? it belongs {}", self.place(home, near))
        } else {
            format!("known here are {}", listed(known.iter().copied(), "and"))
        };
        let (within, label) = if table.is_empty() {
            (String::new(), "not a key of the top level".to_owned())
        } else {
            (format!(" in `{table}`"), format!("not a key of `{table}`"))
        };
        error(
            format!("unknown key `{}`{within}", shortened(key)),
            span.as_ref().map(|span| (label, span)),
            Some(help),
        )
    }

    /// Where a key of a table is written.
    fn place(&self, table: &str, key: &str) -> String {
        match (self.format, table.is_empty()) {
            (Format::Toml, true) => "at the top, above the first `[table]`".into(),
            (_, true) => "at the top level".into(),
            (Format::Toml, false) => format!("in `[{table}]`"),
            (_, false) => format!("under `{table}`, as `{table}.{key}`"),
        }
    }

    fn missing_key(&self, key: &str, table: Vec<String>, span: Option<Span>) -> SpecError {
        let name = dotted(&table);
        let path: Vec<String> = table.into_iter().chain([key.to_owned()]).collect();
        let example = self.lookup.example(&path);
        let help = example.map(|example| match (self.format, example.starts_with('{')) {
            (Format::Toml, true) => format!("add a table `[{key}]`"),
            (Format::Toml, false) => format!("write `{key} = {example}`"),
            (Format::Yaml, _) => format!("write `{key}: {example}`"),
            (Format::Json, _) => format!("write `\"{key}\": {example}`"),
        });
        let message = if name.is_empty() {
            format!("`{key}` is missing")
        } else {
            format!("`{name}` lacks `{key}`")
        };
        error(message, span.as_ref().map(|span| (format!("needs `{key}`"), span)), help)
    }

    fn wrong_type(
        &self,
        name: &str,
        expected: &str,
        found: &Found,
        example: Option<String>,
        span: Option<Span>,
    ) -> SpecError {
        let noun = self.noun(expected, found);
        let such_as = example
            .filter(|example| !example.starts_with('{'))
            .filter(|_| !noun.contains("such as") && !noun.contains('`'))
            .map_or_else(String::new, |example| format!(" such as {example}"));
        let message = format!("{name}: expected {noun}{such_as}, found {}", self.stood(found));
        let help = match (expected, found) {
            ("a string", Found::Integer(text)) => Some(format!("put it in quotes: `\"{text}\"`")),
            ("a string", Found::Number(number)) => {
                Some(format!("put it in quotes: `\"{number:?}\"`"))
            }
            ("a string", Found::Bool(value)) => Some(format!("put it in quotes: `\"{value}\"`")),
            ("a sequence", Found::Text(text)) => {
                let words: Vec<String> =
                    text.split_whitespace().map(|word| format!("{word:?}")).collect();
                Some(format!("write it as a list: `[{}]`", shortened(&words.join(", "))))
            }
            _ => None,
        };
        error(message, span.as_ref().map(|span| (format!("expected {noun}"), span)), help)
    }

    /// What serde calls a thing, in the words of the notation.
    fn noun(&self, expected: &str, found: &Found) -> String {
        match expected {
            "a string" => "text".into(),
            "a boolean" => "`true` or `false`".into(),
            "a sequence" => "a list".into(),
            "a map" => self.format.table().into(),
            "i32" => "a whole number".into(),
            "u32" if !matches!(found, Found::Integer(_)) => "a whole number".into(),
            "u32" if matches!(found, Found::Integer(digits) if digits.starts_with('-')) => {
                "a whole number of 0 or more".into()
            }
            "u32" => format!("a whole number up to {}", u32::MAX),
            other if other.starts_with("struct ") => self.format.table().into(),
            other => other.into(),
        }
    }

    fn stood(&self, found: &Found) -> String {
        match found {
            Found::Nothing => "nothing".into(),
            Found::Bool(value) => format!("`{value}`"),
            Found::Integer(digits) => format!("integer {digits}"),
            Found::Number(number) => format!("number {number:?}"),
            Found::Text(text) => format!("text \"{}\"", shortened(text)),
            Found::List => "a list".into(),
            Found::Table => self.format.table().into(),
            Found::Other(other) => other.clone(),
        }
    }
}

fn error(message: String, place: Option<(String, &Span)>, help: Option<String>) -> SpecError {
    let labels = place.map(|(text, span)| label(&text, span)).into_iter().collect();
    SpecError { message, labels, help }
}

fn dotted(path: &[String]) -> String {
    path.join(".")
}

fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::normalized_damerau_levenshtein(word, name), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn listed<'a>(words: impl Iterator<Item = &'a str>, last: &str) -> String {
    let mut words: Vec<String> = words.map(|word| format!("`{word}`")).collect();
    match words.pop() {
        None => "nothing".into(),
        Some(only) if words.is_empty() => only,
        Some(end) => format!("{} {last} {end}", words.join(", ")),
    }
}

fn shortened(text: &str) -> String {
    let mut short: String =
        text.chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(80).is_some() {
        short.push('…');
    }
    short
}
