//! One line of a rank's output, as log segments carry it: one JSON object a line with the
//! keys `t`, `r`, `e` and `l`, short because there are many.

use serde::{Deserialize, Serialize};

/// A line that a rank wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When it was read from the rank, in nanoseconds since the Unix epoch by the node's clock.
    pub t: u64,
    /// The rank that wrote it, in the whole job.
    pub r: u32,
    /// Whether it came from standard error.
    pub e: bool,
    /// The line, without its end.
    pub l: String,
}

/// A line of a log segment cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the log segment is not a record: {source}")]
pub struct LogError {
    /// Counts from 1.
    pub line: usize,
    /// What is wrong with it.
    pub source: serde_json::Error,
}

impl Record {
    /// Appends the record and a line end to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        // Numbers, a flag and a string always serialize, and a Vec takes every write.
        let _ = serde_json::to_writer(&mut *out, self);
        out.push(b'\n');
    }
}

/// The bytes of a segment that holds `records`.
#[must_use]
pub fn encode<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<u8> {
    let mut out = Vec::new();
    for record in records {
        record.encode(&mut out);
    }
    out
}

/// The records of a segment, one result a line.
pub fn parse(segment: &[u8]) -> impl Iterator<Item = Result<Record, LogError>> {
    segment.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()).map(
        |(i, line)| serde_json::from_slice(line).map_err(|source| LogError { line: i + 1, source }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_reads_back() {
        let records = [
            Record { t: 1, r: 0, e: false, l: "loss \"0.5\"\tok".into() },
            Record { t: 2, r: 31, e: true, l: String::new() },
            Record { t: u64::MAX, r: 1, e: false, l: "ä\u{2028}\r".into() },
        ];
        let bytes = encode(&records);
        assert_eq!(bytes.iter().filter(|b| **b == b'\n').count(), 3);
        assert!(bytes.starts_with(br#"{"t":1,"r":0,"e":false,"l":"loss"#));
        let back: Vec<Record> = parse(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(back, records);
    }

    #[test]
    fn a_torn_line_names_itself() {
        let results: Vec<_> =
            parse(b"{\"t\":1,\"r\":0,\"e\":false,\"l\":\"a\"}\n{\"t\":1,").collect();
        assert!(results[0].is_ok());
        assert_eq!(results[1].as_ref().unwrap_err().line, 2);
    }
}
