//! A table whose first line names its columns. Cells are found by name, whatever their order, and
//! what is wrong in one is told with its line.

use std::{collections::BTreeMap, str::FromStr};

use csv::StringRecord;
use trainyard_jobs::Millis;

use super::seconds;
use crate::SimError;

/// A table that was read.
pub(crate) struct Table<'a> {
    file: &'a str,
    at: BTreeMap<String, usize>,
    records: Vec<StringRecord>,
}

/// A line of it.
pub(crate) struct Line<'a> {
    table: &'a Table<'a>,
    record: &'a StringRecord,
}

impl<'a> Table<'a> {
    /// Reads a table that has the columns `needed`.
    pub(crate) fn read(
        file: &'a str,
        text: &str,
        delimiter: u8,
        needed: &[&str],
    ) -> Result<Self, SimError> {
        let trace = |what: String| SimError::Trace { file: file.to_owned(), what };
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(delimiter == b',')
            .trim(csv::Trim::All)
            .comment(Some(b'#'))
            .flexible(true)
            .from_reader(text.as_bytes());
        let header = reader.headers().map_err(|error| trace(error.to_string()))?;
        let at: BTreeMap<_, _> =
            header.iter().enumerate().map(|(i, name)| (name.to_ascii_lowercase(), i)).collect();
        if let Some(missing) = needed.iter().find(|name| !at.contains_key(**name)) {
            return Err(trace(format!(
                "no column `{missing}`; the first line must name {}",
                needed.join(", ")
            )));
        }
        let records = reader.records().collect::<Result<_, _>>();
        Ok(Self { file, at, records: records.map_err(|error| trace(error.to_string()))? })
    }

    pub(crate) fn has(&self, column: &str) -> bool {
        self.at.contains_key(column)
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.records.iter().map(|record| Line { table: self, record })
    }
}

impl<'a> Line<'a> {
    /// A cell, empty where there is none.
    pub(crate) fn get(&self, name: &str) -> &'a str {
        let at = self.table.at.get(name);
        at.and_then(|at| self.record.get(*at)).unwrap_or_default()
    }

    pub(crate) fn wrong(&self, what: impl Into<String>) -> SimError {
        let line = self.record.position().map_or(0, csv::Position::line);
        SimError::Line { file: self.table.file.to_owned(), line, what: what.into() }
    }

    pub(crate) fn seconds(&self, name: &str) -> Result<Millis, SimError> {
        let text = self.get(name);
        let expected = || format!("{name} is `{text}`; expected seconds, not below 0");
        seconds(text).ok_or_else(|| self.wrong(expected()))
    }

    pub(crate) fn whole<T: FromStr>(&self, name: &str) -> Result<Option<T>, SimError> {
        let text = self.get(name);
        if text.is_empty() {
            return Ok(None);
        }
        // Programs that keep numbers as floats write `8.0`.
        let text = text.strip_suffix(".0").unwrap_or(text);
        let expected = || format!("{name} is `{text}`; expected a whole number");
        text.parse().map(Some).map_err(|_| self.wrong(expected()))
    }
}
