//! The documents that programs read: `{"version":1,"kind":…}` around every result. The version
//! rises only when a field changes its meaning or goes away; new fields may come at any time.

use serde::Serialize;

use super::{Cell, Look};
use crate::error::CliError;

/// The version of every document.
pub(crate) const VERSION: u32 = 1;

/// A line of a listing.
pub(crate) trait Row: Serialize {
    /// The kind of one item's document.
    const KIND: &'static str;
    /// The kind of the listing's document.
    const LIST: &'static str;
    /// What names it, alone on a line with `--quiet`.
    fn key(&self) -> String;
    /// The columns' titles.
    fn titles(wide: bool) -> &'static [&'static str];
    /// One cell for each title.
    fn cells(&self, look: Look) -> Vec<Cell>;
}

/// One thing, shown at length.
pub(crate) trait Card: Serialize {
    /// The kind of its document.
    const KIND: &'static str;
    /// What names it, alone on a line with `--quiet`.
    fn key(&self) -> String;
    /// Its text for a person.
    fn draw(&self, look: Look) -> String;
}

/// A listing and what a reader must know of it.
#[derive(Debug)]
pub(crate) struct List<T> {
    /// In the order to be shown.
    pub(crate) items: Vec<T>,
    /// There are more than are shown.
    pub(crate) more: bool,
    /// Answered by one scheduler without quorum.
    pub(crate) stale: bool,
    /// Said when there is nothing to show.
    pub(crate) empty: String,
}

#[derive(Serialize)]
pub(super) struct Items<'a, T> {
    version: u32,
    kind: &'static str,
    items: &'a [T],
    more: bool,
    stale: bool,
}

impl<T: Row> List<T> {
    pub(super) fn document(&self) -> Items<'_, T> {
        let Self { items, more, stale, .. } = self;
        Items { version: VERSION, kind: T::LIST, items, more: *more, stale: *stale }
    }

    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.items.is_empty() {
            notes.push(self.empty.clone());
        }
        if self.more {
            notes.push("there are more; narrow it with --project or raise --limit".to_owned());
        }
        if self.stale {
            notes.push("answered by one scheduler without quorum: may be out of date".to_owned());
        }
        notes
    }
}

#[derive(Serialize)]
pub(super) struct Single<'a, T> {
    version: u32,
    kind: &'static str,
    #[serde(flatten)]
    body: &'a T,
}

/// A document of one thing.
pub(super) const fn single<'a, T: Serialize>(kind: &'static str, body: &'a T) -> Single<'a, T> {
    Single { version: VERSION, kind, body }
}

/// A document over several lines.
pub(super) fn json<T: Serialize>(document: &T) -> Result<String, CliError> {
    serde_json::to_string_pretty(document).map(|text| text + "\n").map_err(unwritable)
}

/// A document on one line.
pub(super) fn jsonl<T: Serialize>(kind: &'static str, body: &T) -> Result<String, CliError> {
    serde_json::to_string(&single(kind, body)).map(|text| text + "\n").map_err(unwritable)
}

/// Lines of comma-separated values below their names. What is no plain value has no such form.
pub(super) fn csv<T: Serialize>(items: &[T]) -> Result<String, CliError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for item in items {
        writer.serialize(item).map_err(unwritable)?;
    }
    let bytes = writer.into_inner().map_err(unwritable)?;
    String::from_utf8(bytes).map_err(unwritable)
}

pub(super) fn unwritable(error: impl std::fmt::Display) -> CliError {
    CliError::internal(format!("cannot write the result as a document: {error}"))
}
