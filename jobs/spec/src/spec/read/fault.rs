//! What serde finds wrong while it fills the spec's types, with the place and the path that the
//! deserializer adds on the way out. Still facts; `explain.rs` puts them into words.

use std::fmt;

use serde::de;

use crate::spec::tree::Span;

/// One thing that does not fit, and where.
#[derive(Debug)]
pub(in crate::spec) struct Fault {
    pub(in crate::spec) what: What,
    /// The innermost place that is to blame.
    pub(in crate::spec) span: Option<Span>,
    /// Keys from the innermost table outwards: of the value, or of the unknown key itself.
    pub(in crate::spec) keys: Vec<String>,
    /// It lies in an item of a list.
    pub(in crate::spec) in_list: bool,
}

/// What does not fit.
#[derive(Debug)]
pub(in crate::spec) enum What {
    UnknownKey { key: String, known: &'static [&'static str] },
    MissingKey { key: &'static str },
    UnknownChoice { choice: String, known: &'static [&'static str] },
    WrongType { expected: String, found: Found },
    Other { message: String },
}

/// What stood there instead.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::spec) enum Found {
    Nothing,
    Bool(bool),
    Integer(String),
    Number(f64),
    Text(String),
    List,
    Table,
    Other(String),
}

impl Fault {
    fn new(what: What) -> Self {
        Self { what, span: None, keys: Vec::new(), in_list: false }
    }

    /// Adds the place, unless a narrower one is known.
    pub(super) fn at(mut self, span: &Span) -> Self {
        self.span.get_or_insert_with(|| span.clone());
        self
    }

    /// Adds the key of the entry that the fault lies in.
    pub(super) fn under(mut self, key: &str) -> Self {
        self.keys.push(key.to_owned());
        self
    }

    /// Says that the fault lies in an item of a list, not in the list itself.
    pub(super) fn in_list(mut self) -> Self {
        self.in_list = true;
        self
    }

    /// The keys from the top of the file inwards.
    pub(super) fn path(&self) -> Vec<String> {
        self.keys.iter().rev().cloned().collect()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.what, f)
    }
}

impl std::error::Error for Fault {}

impl From<de::Unexpected<'_>> for Found {
    fn from(found: de::Unexpected<'_>) -> Self {
        match found {
            de::Unexpected::Unit | de::Unexpected::Option => Self::Nothing,
            de::Unexpected::Bool(value) => Self::Bool(value),
            de::Unexpected::Signed(number) => Self::Integer(number.to_string()),
            de::Unexpected::Unsigned(number) => Self::Integer(number.to_string()),
            de::Unexpected::Float(number) => Self::Number(number),
            de::Unexpected::Str(text) => Self::Text(text.to_owned()),
            de::Unexpected::Seq => Self::List,
            de::Unexpected::Map => Self::Table,
            other => Self::Other(other.to_string()),
        }
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(What::Other { message: message.to_string() })
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(What::WrongType { expected: expected.to_string(), found: found.into() })
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(choice: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownChoice { choice: choice.to_owned(), known })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownKey { key: key.to_owned(), known })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(What::MissingKey { key })
    }
}
