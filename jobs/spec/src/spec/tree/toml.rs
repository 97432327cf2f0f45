//! TOML into the tree. The parser recovers from errors, so a file's mistakes come all at once.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Entry, MAX_DEPTH, MAX_NODES, Malformed, Node, Span, Value};

pub(in crate::spec) fn parse(text: &str) -> Result<Node, Vec<Malformed>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut walk = Walk { nodes: 0 };
    let tree = walk.table(table.get_ref(), 0..text.len(), 0);
    if errors.is_empty() {
        return tree.map_err(|malformed| vec![malformed]);
    }
    Err(errors.iter().map(|error| malformed(error, text, tree.as_ref().ok())).collect())
}

fn malformed(error: &toml::de::Error, text: &str, tree: Option<&Node>) -> Malformed {
    let span = error.span().unwrap_or(text.len()..text.len());
    if error.message() == "duplicate key" {
        let key = text.get(span.clone()).unwrap_or_default().trim_matches(['"', '\'']).to_owned();
        let first = tree.and_then(|tree| tree.only_key(&key, &span));
        Malformed::Duplicate { key, first, again: span }
    } else {
        Malformed::Syntax { what: error.message().replace('\n', ", "), span }
    }
}

struct Walk {
    nodes: usize,
}

impl Walk {
    fn node(&mut self, value: &Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Malformed> {
        let span = value.span();
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Malformed::too_many(span));
        }
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => {
                let number = i64::from_str_radix(number.as_str(), number.radix());
                Value::Int(number.map_err(|_| out_of_range(&span))?)
            }
            DeValue::Float(number) => {
                Value::Float(number.as_str().parse().map_err(|_| out_of_range(&span))?)
            }
            DeValue::Boolean(value) => Value::Bool(*value),
            // RFC 3339 is TOML's own notation of an instant, with or without quotes.
            DeValue::Datetime(instant) => Value::Text(instant.to_string()),
            DeValue::Array(items) => {
                let depth = deeper(depth, &span)?;
                let items = items.iter().map(|item| self.node(item, depth));
                Value::List(items.collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => return self.table(table, span, depth),
        };
        Ok(Node { span, value })
    }

    fn table(&mut self, table: &DeTable<'_>, span: Span, depth: usize) -> Result<Node, Malformed> {
        let depth = deeper(depth, &span)?;
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table {
            entries.push(Entry {
                key: key.get_ref().to_string(),
                key_span: key.span(),
                value: self.node(value, depth)?,
            });
        }
        entries.sort_by_key(|entry| entry.key_span.start);
        Ok(Node { span, value: Value::Table(entries) })
    }
}

fn deeper(depth: usize, span: &Span) -> Result<usize, Malformed> {
    if depth >= MAX_DEPTH { Err(Malformed::too_deep(span.clone())) } else { Ok(depth + 1) }
}

fn out_of_range(span: &Span) -> Malformed {
    Malformed::Syntax { what: "number out of range".into(), span: span.clone() }
}
