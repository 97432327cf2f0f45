//! One tree for every notation: what a spec file says, each key and value with its place in the
//! text. The notations differ in `toml.rs`, `yaml.rs` and `json.rs` and nowhere else; what the
//! words mean is none of this module's business.

use std::ops::Range;

mod json;
mod toml;
mod yaml;

pub(super) use self::{json::parse as json, toml::parse as toml, yaml::parse as yaml};

/// How deep tables and lists may lie within each other.
const MAX_DEPTH: usize = 32;

/// How many values a file may hold, counted after aliases are resolved.
const MAX_NODES: usize = 20_000;

/// Bytes of the text.
pub(super) type Span = Range<usize>;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) value: Value,
}

/// What a file can say.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Span,
    pub(super) value: Node,
}

/// Why a text is not a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Malformed {
    /// It breaks the notation's grammar.
    Syntax { what: String, span: Span },
    /// A table says the same key twice.
    Duplicate { key: String, first: Option<Span>, again: Span },
    /// It is larger or deeper than any spec.
    Unreasonable { what: String, span: Span },
}

impl Malformed {
    fn too_deep(span: Span) -> Self {
        Self::Unreasonable { what: format!("nested more than {MAX_DEPTH} levels deep"), span }
    }

    fn too_many(span: Span) -> Self {
        Self::Unreasonable { what: format!("more than {MAX_NODES} values"), span }
    }
}

impl Node {
    /// The entry that a path of keys leads to.
    pub(super) fn entry(&self, path: &[&str]) -> Option<&Entry> {
        let (key, rest) = path.split_first()?;
        let Value::Table(entries) = &self.value else { return None };
        let entry = entries.iter().find(|entry| entry.key == *key)?;
        if rest.is_empty() { Some(entry) } else { entry.value.entry(rest) }
    }

    /// Takes out the entry that a path of keys leads to. Says whether there was one.
    pub(super) fn prune(&mut self, path: &[String]) -> bool {
        let (Some((key, rest)), Value::Table(entries)) = (path.split_first(), &mut self.value)
        else {
            return false;
        };
        let Some(at) = entries.iter().position(|entry| entry.key == *key) else { return false };
        if rest.is_empty() {
            entries.remove(at);
            return true;
        }
        entries.get_mut(at).is_some_and(|entry| entry.value.prune(rest))
    }

    /// How many tables and lists lie within each other here.
    fn height(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Self::height).max().unwrap_or(0),
            Value::Table(entries) => {
                1 + entries.iter().map(|entry| entry.value.height()).max().unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// Where a key stands that the text holds exactly once, other than at `not`.
    fn only_key(&self, name: &str, not: &Span) -> Option<Span> {
        let mut found = Vec::new();
        self.keys(name, &mut found);
        found.retain(|span| span != not);
        if found.len() == 1 { found.pop() } else { None }
    }

    fn keys(&self, name: &str, found: &mut Vec<Span>) {
        match &self.value {
            Value::List(items) => items.iter().for_each(|item| item.keys(name, found)),
            Value::Table(entries) => {
                for entry in entries {
                    if entry.key == name {
                        found.push(entry.key_span.clone());
                    }
                    entry.value.keys(name, found);
                }
            }
            _ => {}
        }
    }
}
