//! YAML 1.2 into the tree, from the parser's events rather than from its loader: so depth,
//! aliases and duplicate keys are bounded and reported here, each with its place.

use std::{borrow::Cow, collections::BTreeMap};

use saphyr::Scalar;
use saphyr_parser::{Event, Parser, ScalarStyle, StrInput, Tag};

use super::{Entry, MAX_DEPTH, MAX_NODES, Malformed, Node, Span, Value};

type Step<'t> = (Event<'t>, Span);

pub(in crate::spec) fn parse(text: &str) -> Result<Node, Vec<Malformed>> {
    let mut walk = Walk {
        parser: Parser::new_from_str(text),
        offsets: Offsets::of(text),
        anchors: BTreeMap::new(),
        nodes: 0,
        duplicates: Vec::new(),
    };
    match walk.document() {
        Err(malformed) => Err(vec![malformed]),
        Ok(_) if !walk.duplicates.is_empty() => Err(walk.duplicates),
        Ok(node) => Ok(node),
    }
}

struct Walk<'t> {
    parser: Parser<'t, StrInput<'t>>,
    offsets: Offsets,
    /// What `*name` stands for, with the number of values in it.
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
    duplicates: Vec<Malformed>,
}

impl<'t> Walk<'t> {
    fn document(&mut self) -> Result<Node, Malformed> {
        let mut document = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(_) if document.is_some() => {
                    let what = "a second document begins here, a file holds one job".into();
                    return Err(Malformed::Syntax { what, span });
                }
                Event::DocumentStart(_) => {
                    let first = self.next()?;
                    document = Some(self.node(first, 0)?);
                }
                _ => {}
            }
        }
        let nothing = Node { span: 0..0, value: Value::Table(Vec::new()) };
        Ok(document.unwrap_or(nothing))
    }

    fn next(&mut self) -> Result<Step<'t>, Malformed> {
        match self.parser.next_event() {
            None => Ok((Event::StreamEnd, 0..0)),
            Some(Ok((event, span))) => {
                Ok((event, self.offsets.span(span.start.index(), span.end.index())))
            }
            Some(Err(error)) => {
                let at = error.marker().index();
                let span = self.offsets.span(at, at + 1);
                Err(Malformed::Syntax { what: error.info().to_owned(), span })
            }
        }
    }

    fn node(&mut self, (event, span): Step<'t>, depth: usize) -> Result<Node, Malformed> {
        if depth >= MAX_DEPTH {
            return Err(Malformed::too_deep(span));
        }
        let before = self.nodes;
        self.count(1, &span)?;
        let (anchor, node) = match event {
            Event::Alias(id) => {
                let (node, size) = self.anchors.get(&id).cloned().ok_or_else(|| {
                    let what = "an alias of a value that is not complete yet".into();
                    Malformed::Syntax { what, span: span.clone() }
                })?;
                self.count(size, &span)?;
                if depth + node.height() > MAX_DEPTH {
                    return Err(Malformed::too_deep(span));
                }
                return Ok(Node { span, ..node });
            }
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(text, style, tag.as_ref(), &span)?;
                (anchor, Node { span, value })
            }
            Event::SequenceStart(anchor, _) => (anchor, self.list(span, depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.table(span, depth)?),
            _ => {
                return Err(Malformed::Syntax { what: "a value was expected here".into(), span });
            }
        };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn list(&mut self, start: Span, depth: usize) -> Result<Node, Malformed> {
        let mut items = Vec::new();
        loop {
            let step = self.next()?;
            if step.0 == Event::SequenceEnd {
                return Ok(Node { span: start.start..step.1.end, value: Value::List(items) });
            }
            items.push(self.node(step, depth + 1)?);
        }
    }

    fn table(&mut self, start: Span, depth: usize) -> Result<Node, Malformed> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, key_span) = self.next()?;
            let key = match event {
                Event::MappingEnd => {
                    let span = start.start..key_span.end;
                    return Ok(Node { span, value: Value::Table(entries) });
                }
                Event::Scalar(key, ..) => key.into_owned(),
                _ => {
                    let what = "a key must be plain text".into();
                    return Err(Malformed::Syntax { what, span: key_span });
                }
            };
            let step = self.next()?;
            let value = self.node(step, depth + 1)?;
            if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                let first = Some(first.key_span.clone());
                self.duplicates.push(Malformed::Duplicate { key, first, again: key_span });
            } else {
                entries.push(Entry { key, key_span, value });
            }
        }
    }

    fn count(&mut self, nodes: usize, span: &Span) -> Result<(), Malformed> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES { Err(Malformed::too_many(span.clone())) } else { Ok(()) }
    }
}

fn scalar<'t>(
    text: Cow<'t, str>,
    style: ScalarStyle,
    tag: Option<&Cow<'t, Tag>>,
    span: &Span,
) -> Result<Value, Malformed> {
    let scalar = Scalar::parse_from_cow_and_metadata(text, style, tag).ok_or_else(|| {
        Malformed::Syntax { what: "the value is not of its tag's type".into(), span: span.clone() }
    })?;
    Ok(match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(value) => Value::Bool(value),
        Scalar::Integer(value) => Value::Int(value),
        Scalar::FloatingPoint(value) => Value::Float(value.into_inner()),
        Scalar::String(text) => Value::Text(text.into_owned()),
    })
}

/// The parser counts characters, spans count bytes.
struct Offsets(Vec<usize>);

impl Offsets {
    fn of(text: &str) -> Self {
        Self(text.char_indices().map(|(at, _)| at).chain([text.len()]).collect())
    }

    fn span(&self, start: usize, end: usize) -> Span {
        let last = self.0.last().copied().unwrap_or(0);
        let byte = |at: usize| self.0.get(at).copied().unwrap_or(last);
        byte(start)..byte(end).max(byte(start))
    }
}
