//! Names that people give: checked once, when they enter.

use std::{borrow::Borrow, fmt, str::FromStr};

use crate::text::serde_as_text;

/// The longest name, in characters.
pub const MAX_NAME: usize = 63;

/// A text cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a valid name: use 1 to {MAX_NAME} of a-z, 0-9, `-`, `_` and `.`, starting with a letter or digit"
)]
pub struct InvalidName {
    text: String,
}

/// Whether `text` may name a job, project, node, model or reservation.
#[must_use]
pub fn is_valid_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    let head = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    head && text.len() <= MAX_NAME && text.bytes().all(inner)
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if is_valid_name(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidName { text: text.chars().take(2 * MAX_NAME).collect() })
                }
            }
        }

        serde_as_text!($name, |name| name.as_str());

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "pattern": "^[a-z0-9][a-z0-9._-]{0,62}$",
                })
            }
        }
    };
}

name! {
    /// What a researcher calls a job. Need not be unique.
    JobName
}
name! {
    /// The queue that a job counts against.
    ProjectName
}
name! {
    /// A worker node's name, unique in the cluster.
    NodeName
}

/// Sorts and hashes as its text does.
impl Borrow<str> for NodeName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

name! {
    /// A registered model; its versions are numbered from 1.
    ModelName
}
name! {
    /// A reservation of nodes, unique in the cluster.
    ReservationName
}
