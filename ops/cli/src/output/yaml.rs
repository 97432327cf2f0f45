//! Documents as YAML, by way of their JSON form; keys come in alphabetical order.

use std::borrow::Cow;

use saphyr::{Mapping, Scalar, ScalarStyle, Yaml, YamlEmitter};
use serde::Serialize;
use serde_json::Value;

use super::document::unwritable;
use crate::error::CliError;

/// A YAML document with its `---`, so that several may follow each other.
pub(super) fn text<T: Serialize>(document: &T) -> Result<String, CliError> {
    let value = serde_json::to_value(document).map_err(unwritable)?;
    let mut text = String::new();
    YamlEmitter::new(&mut text)
        .dump(&node(&value))
        .map_err(|error| unwritable(format!("{error:?}")))?;
    text.push('\n');
    Ok(text)
}

fn node(value: &Value) -> Yaml<'_> {
    match value {
        Value::Null => Yaml::Value(Scalar::Null),
        Value::Bool(value) => Yaml::Value(Scalar::Boolean(*value)),
        Value::Number(number) => {
            Yaml::Representation(Cow::Owned(number.to_string()), ScalarStyle::Plain, None)
        }
        Value::String(text) => string(text),
        Value::Array(items) => Yaml::Sequence(items.iter().map(node).collect()),
        Value::Object(fields) => Yaml::Mapping(
            fields.iter().map(|(key, value)| (string(key), node(value))).collect::<Mapping<'_>>(),
        ),
    }
}

fn string(text: &str) -> Yaml<'_> {
    Yaml::Value(Scalar::String(Cow::Borrowed(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_tricky_text_read_back() {
        let value = serde_json::json!({
            "big": u64::MAX, "half": 0.5, "text": "yes", "empty": "", "colon": "a: b",
            "digits": "0123", "none": null, "list": [1, [2], {"a": true}], "lines": "a\nb",
        });
        insta::assert_snapshot!(text(&value).unwrap(), @r#"
        ---
        big: 18446744073709551615
        colon: "a: b"
        digits: "0123"
        empty: ""
        half: 0.5
        lines: "a\nb"
        list:
          - 1
          - - 2
          - a: true
        none: ~
        text: "yes"
        "#);
    }
}
