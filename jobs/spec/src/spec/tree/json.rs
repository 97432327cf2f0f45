//! JSON into the tree: `serde_json` reads, and its raw values, which are slices of the text,
//! say where each thing stands.

use std::fmt;

use serde::{Deserialize, de};
use serde_json::value::RawValue;

use super::{Entry, MAX_DEPTH, MAX_NODES, Malformed, Node, Span, Value};

pub(in crate::spec) fn parse(text: &str) -> Result<Node, Vec<Malformed>> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| {
        let at = offset(text, error.line(), error.column());
        // The message ends in a line and a column, which the label shows.
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or_default().to_owned();
        vec![Malformed::Syntax { what, span: at }]
    })?;
    let mut walk = Walk { text, nodes: 0, duplicates: Vec::new() };
    match walk.node(raw, 0) {
        Err(malformed) => Err(vec![malformed]),
        Ok(_) if !walk.duplicates.is_empty() => Err(walk.duplicates),
        Ok(node) => Ok(node),
    }
}

/// The byte at a line and column as `serde_json` counts them: lines from 1, columns in bytes.
fn offset(text: &str, line: usize, column: usize) -> Span {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut at = (start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let width = text.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
    at..at + width
}

struct Walk<'t> {
    text: &'t str,
    nodes: usize,
    duplicates: Vec<Malformed>,
}

impl<'t> Walk<'t> {
    fn node(&mut self, raw: &'t RawValue, depth: usize) -> Result<Node, Malformed> {
        let span = self.span(raw);
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Malformed::too_many(span));
        }
        let shape: Shape<'t> = read(raw, &span)?;
        if depth >= MAX_DEPTH && matches!(shape, Shape::List(_) | Shape::Table(_)) {
            return Err(Malformed::too_deep(span));
        }
        let value = match shape {
            Shape::Scalar(value) => value,
            Shape::List(items) => {
                let items = items.into_iter().map(|item| self.node(item, depth + 1));
                Value::List(items.collect::<Result<_, _>>()?)
            }
            Shape::Table(raw) => {
                let mut entries: Vec<Entry> = Vec::with_capacity(raw.len());
                for (key, value) in raw {
                    let key_span = self.span(key);
                    let key: String = read(key, &key_span)?;
                    if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                        let first = Some(first.key_span.clone());
                        self.duplicates.push(Malformed::Duplicate { key, first, again: key_span });
                        continue;
                    }
                    entries.push(Entry { key, key_span, value: self.node(value, depth + 1)? });
                }
                Value::Table(entries)
            }
        };
        Ok(Node { span, value })
    }

    fn span(&self, raw: &RawValue) -> Span {
        let start = raw.get().as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        start..start + raw.get().len()
    }
}

fn read<'t, T: Deserialize<'t>>(raw: &'t RawValue, span: &Span) -> Result<T, Malformed> {
    serde_json::from_str(raw.get()).map_err(|error| Malformed::Syntax {
        what: error.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
        span: span.clone(),
    })
}

/// One level of a document; what lies below is still text.
enum Shape<'t> {
    Scalar(Value),
    List(Vec<&'t RawValue>),
    Table(Vec<(&'t RawValue, &'t RawValue)>),
}

impl<'t> Deserialize<'t> for Shape<'t> {
    fn deserialize<D: de::Deserializer<'t>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'t> de::Visitor<'t> for ShapeVisitor {
    type Value = Shape<'t>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Shape<'t>, E> {
        Ok(Shape::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Shape<'t>, E> {
        Ok(Shape::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Shape<'t>, E> {
        Ok(Shape::Scalar(Value::Int(value)))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Shape<'t>, E> {
        let value = i64::try_from(value).map_err(|_| E::custom("number out of range"))?;
        Ok(Shape::Scalar(Value::Int(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Shape<'t>, E> {
        Ok(Shape::Scalar(Value::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Shape<'t>, E> {
        Ok(Shape::Scalar(Value::Text(value.to_owned())))
    }

    fn visit_seq<A: de::SeqAccess<'t>>(self, mut items: A) -> Result<Shape<'t>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Shape::List(list))
    }

    fn visit_map<A: de::MapAccess<'t>>(self, mut entries: A) -> Result<Shape<'t>, A::Error> {
        let mut table = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            table.push(entry);
        }
        Ok(Shape::Table(table))
    }
}
